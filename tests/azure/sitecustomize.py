"""Debian 12's azure-cli (2.45) beside Debian 12's own, older azure-sdk: for tests, and for whoever puts this folder on PYTHONPATH.

The CLI names one version of each of Azure's APIs. Where the SDK that is installed has no module for that version, the newest one that
it has (and that is no preview) is taken in its place: clients say in each request which version they mean, so nothing else changes.
"""
import builtins
import pathlib
import re
import sys

PROFILES = "azure.cli.core.profiles._shared"
VERSION_FOLDER = re.compile(r"v(\d{4})_(\d\d)_(\d\d)$")


def versions_in(package):
    """The versions ("2022-08-01") that an SDK package has modules for; none when it is not installed. Looks at folders only: importing
    a package here would import parts of the CLI before their time."""
    folders = (pathlib.Path(place, *package.split(".")) for place in sys.path)
    found = (VERSION_FOLDER.match(entry.name) for folder in folders if folder.is_dir() for entry in folder.iterdir())
    return sorted({"-".join(match.groups()) for match in found if match})


def fitting(package, version):
    there = versions_in(package)
    if not isinstance(version, str) or version in there:
        return version
    not_newer = [one for one in there if one <= version]
    return not_newer[-1] if not_newer else version


def adapt(profiles):
    """Changes the table of the profile "latest": resource type -> a version, or one version for each group of operations."""
    table = profiles.AZURE_API_PROFILES["latest"]
    for resource_type, versions in table.items():
        package = getattr(resource_type, "import_prefix", "")
        if not package:
            continue
        if isinstance(versions, profiles.SDKProfile):
            versions.profile.update({group: fitting(package, version) for group, version in versions.profile.items()})
        else:
            table[resource_type] = fitting(package, versions)


def watch_imports():
    """Adapts the table as soon as the CLI has loaded it; nothing is imported that the CLI would not import itself."""
    plain_import = builtins.__import__

    def watching_import(name, *rest, **named):
        module = plain_import(name, *rest, **named)
        profiles = sys.modules.get(PROFILES)
        if profiles is not None and hasattr(profiles, "AZURE_API_PROFILES"):
            builtins.__import__ = plain_import
            adapt(profiles)
        return module

    builtins.__import__ = watching_import


if any(pathlib.Path(argument).name in ("az", "azure.cli") or argument.endswith("azure/cli/__main__.py") for argument in sys.orig_argv):
    watch_imports()

"""Runs the end-to-end tests of this folder, one after the other, and prints a line for each."""
import importlib
import os
import pathlib
import sys
import time
import traceback

import site_under_test

MODULES = ["test_demo", "test_survival", "test_refused_boot", "test_guest_state", "test_confinement", "test_up", "test_azure_login", "test_azure_cli"]


def collect(wanted):
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        tests = [(name, function) for name, function in vars(module).items() if name.startswith("test_") and callable(function)]
        chosen = [(name, function) for name, function in tests if not wanted or any(text in f"{module_name}.{name}" for text in wanted)]
        if chosen:
            yield module_name, module, chosen


def main():
    arguments = sys.argv[1:]
    if "-l" in arguments:
        for module_name, _, tests in collect([a for a in arguments if a != "-l"]):
            for name, _ in tests:
                print(f"{module_name}.{name}")
        return 0
    passed, failed = [], []
    for module_name, module, tests in collect(arguments):
        site = None
        try:
            print(f"\n== {module_name}: {module.__doc__.strip().splitlines()[0]}", flush=True)
            site = site_under_test.Site(module_name)
            site.up()
        except Exception:
            traceback.print_exc()
            failed += [f"{module_name}.{name}" for name, _ in tests]
            if site:
                site.show_logs()
                site.remove()
            continue
        for name, function in tests:
            started = time.monotonic()
            try:
                function(site)
                passed.append(name)
                print(f"  ok    {name} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception:
                failed.append(f"{module_name}.{name}")
                print(f"  FAIL  {name} ({time.monotonic() - started:.1f} s)", flush=True)
                traceback.print_exc()
                site.show_logs()
        left = site.remove()
        if left:
            failed.append(f"{module_name}: left behind {left}")
            print(f"  FAIL  left behind after 'down --stop-vms': {left}", flush=True)
    for name in failed:
        print(f"failed: {name}")
    print(f"\n{len(passed)} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    os.chdir(pathlib.Path(__file__).parent)
    sys.exit(main())

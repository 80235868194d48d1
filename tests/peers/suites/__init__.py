"""What the peers' suites share: outcomes, the program under test, and how a case is run."""

import dataclasses
import enum
import os
import pathlib
import shutil
import signal
import subprocess
import time


class SuiteError(Exception):
    """The suite cannot run at all: sources or tools are missing."""


class Outcome(enum.Enum):
    PASS = "pass"
    SKIP = "skip"
    FAIL = "fail"
    TIMEOUT = "timeout"


@dataclasses.dataclass(frozen=True)
class Program:
    """A vTPM and its manufacturer under the names a report uses."""

    name: str
    tpm: pathlib.Path
    setup: pathlib.Path


def find_folder(sources, names, marker):
    """The first of NAMES under SOURCES that holds MARKER, or SOURCES itself."""
    for candidate in [sources / name for name in names] + [sources]:
        if (candidate / marker).exists():
            return candidate.resolve()
    raise SuiteError(f"no {names[0]} in {sources} (looked for {marker} in it)")


def require_tools(tools):
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise SuiteError(f"missing: {', '.join(missing)}; install them with scripts/install-deps peers")


def copy_source(source, target):
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(".git", "*.o", "*.log", "*.trs"))
    return target


def run_case(command, cwd, environment, log, limit=600):
    """Runs one case in a process group of its own; whatever it left behind in that group is ended. Exit 77 is a skip."""
    started = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(timeout=limit)
            outcome = {0: Outcome.PASS, 77: Outcome.SKIP}.get(code, Outcome.FAIL)
        except subprocess.TimeoutExpired:
            outcome = Outcome.TIMEOUT
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    return outcome, time.monotonic() - started


def run_tool(command, cwd, log, environment=None):
    """Runs a preparation step; its failure ends the suite with the last lines of its output."""
    with open(log, "ab") as output:
        code = subprocess.call(command, cwd=cwd, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
                               stdout=output, stderr=subprocess.STDOUT)
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SuiteError(f"{' '.join(map(str, command))} failed ({code}):\n{tail}")

"""The integration tests of tpm2-tools: Debian's tools through tpm2-abrmd against the vTPM over TCP."""

import os
import pathlib

from . import copy_source, find_folder, require_tools, run_case


class Suite:
    @staticmethod
    def find_source(sources):
        return find_folder(sources, ["tpm2-tools-5.4", "tpm2-tools"], "test/integration/helpers.sh")

    def __init__(self, source, work, program, logs):
        self._source, self._work, self._program, self._logs = source, work, program, logs

    def prepare(self):
        require_tools(["tpm2", "tpm2-abrmd", "dbus-run-session", "ss", "expect", "xxd", "python3"])
        self._tree = copy_source(self._source, self._work / "tpm2-tools")
        tools = self._tree / "tools"
        tools.mkdir(exist_ok=True)  # the sources of the tools are there; the suite wants the programs beside them
        for tool in pathlib.Path("/usr/bin").glob("tpm2*"):
            (tools / tool.name).symlink_to(tool)
        (tools / "python").symlink_to("/usr/bin/python3")
        (tools / self._program.tpm.name).symlink_to(self._program.tpm)  # the suite looks for the bare name in ss's output

    def cases(self):
        return sorted(path.stem for path in (self._source / "test/integration/tests").glob("*.sh"))

    def run(self, case):
        tree = str(self._tree)
        environment = {
            "TPM2_SIM": self._program.tpm.name, "TPM2_ABRMD": "tpm2-abrmd", "srcdir": tree, "abs_srcdir": tree, "abs_builddir": tree,
            "PYTHON": "python3", "TPM2TOOLS_TEST_PERSISTENT": "",
            "PATH": f"{tree}/tools:{tree}/test/integration:{os.environ['PATH']}",
        }
        script = f"test/integration/tests/{case}.sh"
        return run_case(["dbus-run-session", "--", "bash", script], self._tree, environment, self._logs / f"{case}.log")

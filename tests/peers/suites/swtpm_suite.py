"""swtpm's own tests. Scripts that take the program from the environment; nothing of swtpm is built."""

import os
import pathlib
import re
import shutil

from . import copy_source, find_folder, require_tools, run_case


class Suite:
    @staticmethod
    def find_source(sources):
        return find_folder(sources, ["swtpm-0.7.1", "swtpm"], "tests/test_tpm2_init")

    def __init__(self, source, work, program, logs):
        self._source, self._work, self._program, self._logs = source, work, program, logs

    def prepare(self):
        require_tools(["swtpm_ioctl", "swtpm_bios", "swtpm_cert", "socat", "expect", "certtool", "ss", "gawk", "xxd"])
        self._tree = copy_source(self._source, self._work / "swtpm")
        (self._tree / "tests/test_config").write_text("TSS_USER=tss\nTSS_GROUP=tss\n")  # what its configure would write
        # some cases look for the programs where swtpm's build would leave them
        for name, target in {"swtpm": self._program.tpm, "swtpm_setup": self._program.setup}.items():
            self._place(name, target)
        for name in ("swtpm_localca", "swtpm_cert", "swtpm_ioctl", "swtpm_bios"):
            self._place(name, pathlib.Path("/usr/bin") / name)
        self._importer = self._place_importer()

    def _place(self, name, target):
        folder = self._tree / "src" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)

    def cases(self):
        # the list of its tests/Makefile.am: words of the TESTS variable
        listed = re.findall(r"^\s+(test_[a-z0-9_]+(?:\.test)?)\b", (self._source / "tests/Makefile.am").read_text(), re.M)
        return [case for case in dict.fromkeys(listed) if os.access(self._source / "tests" / case, os.X_OK)]

    def _place_importer(self):
        """Laid out as libtool leaves a program in its build tree, which a case knows: a script, and the program in .libs."""
        folder = self._tree / "importer"
        (folder / ".libs").mkdir(parents=True)
        shutil.copy(pathlib.Path(__file__).parent / "swtpm-with-import", folder / "swtpm")
        shutil.copy(self._program.tpm, folder / ".libs/swtpm")
        return folder / "swtpm"

    def _executable(self, case):
        """Ours imports first where the case brings state files that swtpm made."""
        scripts = [self._source / "tests" / name for name in (case, f"_{case}")]
        text = "".join(script.read_text() for script in scripts if script.exists())
        brings_state = self._program.name == "ours" and re.search("data/tpm2?state", text)
        return self._importer if brings_state else self._program.tpm

    def run(self, case):
        tests = self._tree / "tests"
        environment = {
            "abs_top_testdir": str(tests), "abs_top_builddir": str(self._tree), "abs_top_srcdir": str(self._tree),
            "SWTPM_EXE": str(self._executable(case)), "BOOTSEAL_SWTPM": str(self._program.tpm),
            "BOOTSEAL_SWTPM_SETUP": str(self._program.setup), "SWTPM_SETUP": str(self._program.setup),
            "SWTPM_IOCTL": "/usr/bin/swtpm_ioctl", "SWTPM_CERT": "/usr/bin/swtpm_cert", "SWTPM_BIOS": "/usr/bin/swtpm_bios",
        }
        return run_case([f"./{case}"], tests, environment, self._logs / f"{case}.log", limit=300)

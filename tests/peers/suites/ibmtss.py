"""The regression test of the IBM TSS (reg.sh), module by module, each on a TPM of its own."""

import os
import re
import shutil
import socket
import stat
import subprocess
import time

from . import SuiteError, copy_source, find_folder, require_tools, run_case, run_tool

# Its powerup speaks the simulator's platform protocol. A power cycle of the vTPM is CMD_INIT on the control channel; the
# original stays for the calls that test its own help.
POWERUP = """#!/bin/sh
[ $# -gt 0 ] && exec "$(dirname "$0")/powerup.simulator" "$@"
exec /usr/bin/swtpm_ioctl -i --tcp "$TPM_SERVER_NAME:$TPM_PLATFORM_PORT"
"""
NOT_RUN = {
    34: "commands of Nuvoton's chips",
    40: "under development upstream",
    51: "event logs of upstream's own machines",
}


class Suite:
    @staticmethod
    def find_source(sources):
        return find_folder(sources, ["ibmtss-2.4.0", "ibmtss"], "utils/reg.sh")

    def __init__(self, source, work, program, logs):
        self._source, self._work, self._program, self._logs = source, work, program, logs

    def prepare(self):
        require_tools(["autoreconf", "libtoolize", "make", "gcc", "swtpm_ioctl"])
        built = self._logs.parent / "built"
        if not (built / "utils/powerup.simulator").exists():
            shutil.rmtree(built, ignore_errors=True)
            log = self._logs.parent / "build.log"
            copy_source(self._source, built)
            run_tool(["autoreconf", "-i"], built, log)
            run_tool(["./configure", "--disable-tpm-1.2", "--disable-hwtpm", "--disable-rmtpm", "--disable-shared"], built, log)
            run_tool(["make", f"-j{os.cpu_count()}"], built, log)
            powerup = built / "utils/powerup"
            powerup.rename(built / "utils/powerup.simulator")
            powerup.write_text(POWERUP)
            powerup.chmod(powerup.stat().st_mode | stat.S_IXUSR)
            self._fit_to_a_vtpm(built)
        self._utils = copy_source(built, self._work / "ibmtss") / "utils"

    @staticmethod
    def _fit_to_a_vtpm(built):
        """What the suite expects of a TPM chip alone: a vendor's root above the EK certificate, and no TPM_RC_RETRY after a
        password was changed (libtpms answers it once, where a resource manager would repeat the command)."""
        for name in ("testcredential.sh", "testunseal.sh"):
            path = built / "utils/regtests" / name
            text = re.sub(r"^\s*\$\{PREFIX\}createek \S*( \$\{CALG\[i\]\})? -root certificates/rootcerts\.txt > run\.out$", "true > run.out",
                          path.read_text(), flags=re.M)
            text = text.replace(" -root certificates/rootcerts.txt", "")
            text = re.sub(r"^(\s*)(\$\{PREFIX\}create -hp 80000001 -si -pwdp kkk)( > run\.out)$", r"\1\2\3 || \2\3", text, flags=re.M)
            path.write_text(text)

    def cases(self):
        numbers = {int(n) for n in re.findall(r'^\s*echo "-(\d+) ', (self._source / "utils/reg.sh").read_text(), re.M)}
        return [f"module-{n}" for n in sorted(numbers - set(NOT_RUN))]

    def run(self, case):
        number = case.removeprefix("module-")
        state = self._work / f"state-{number}"
        state.mkdir()
        command_port, control_port = free_ports()
        environment = {
            "TPM_SERVER_NAME": "127.0.0.1", "TPM_INTERFACE_TYPE": "socsim", "TPM_SERVER_TYPE": "raw",
            "TPM_COMMAND_PORT": str(command_port), "TPM_PLATFORM_PORT": str(control_port), "CRYPTOLIBRARY": "openssl",
            "OPENSSL_ENABLE_SHA1_SIGNATURES": "1",
        }
        log = self._logs / f"tpm-{number}.log"
        with open(log, "wb") as output:
            tpm = subprocess.Popen(
                [self._program.tpm, "socket", "--tpm2", "--server", f"type=tcp,port={command_port}", "--ctrl",
                 f"type=tcp,port={control_port}", "--tpmstate", f"dir={state}", "--flags", "not-need-init"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            wait_for_listener(tpm, command_port, log)
            return run_case(["bash", "-c", f"./startup > /dev/null && ./reg.sh -{number}"], self._utils, environment,
                            self._logs / f"{case}.log", limit=900)
        finally:
            tpm.kill()
            tpm.wait()


def free_ports():
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def wait_for_listener(process, port, log, limit=10):
    """Waits until the port listens, by the kernel's table: a connection would be the TPM's one client."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    anywhere = f"00000000:{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with open("/proc/net/tcp", encoding="ascii") as table:
            text = table.read()
        if wanted in text or anywhere in text:
            return
        if process.poll() is not None:
            raise SuiteError(f"{process.args[0]} ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)
    raise SuiteError(f"{process.args[0]} does not listen on {port} after {limit} s")

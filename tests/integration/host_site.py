"""hostd with the real vaultd, guestd and QEMU, in a folder of its own; the test is the control plane."""
import base64
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(name):
    """The program in BOOTSEAL_BIN, or the newest one of the build folders."""
    if "BOOTSEAL_BIN" in os.environ:
        return pathlib.Path(os.environ["BOOTSEAL_BIN"]) / name
    found = sorted(ROOT.glob(f"build/*/bin/{name}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"{name} is not built: set BOOTSEAL_BIN")
    return found[-1]


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def wait_until(condition, limit, what):
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < deadline, f"not within {limit} s: {what}")
        time.sleep(0.05)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("daemon", timeout=150)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Host:
    def __init__(self, *options):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="bsh-", dir="/tmp"))
        self.home.chmod(0o711)
        self.programs = self.home / "bin"
        self.programs.mkdir(mode=0o755)
        for name in ("bootseal-vaultd", "bootseal-guestd", "bootseal-hostd", "bootseal-netd"):
            shutil.copy2(program(name), self.programs / name)
        self.environment = dict(os.environ, BOOTSEAL_HOME=str(self.home), BOOTSEAL_RUN=str(self.home / "run"), BOOTSEAL_BIN=str(self.programs))
        self.options = list(options)
        self.daemons = {}
        self.start_vaultd()
        self.start_hostd()
        self.host_id = self.hostd("GET", "/v1/host")["hostId"]
        disk = self.home / "images/blank/1.0.0/disk.qcow2"
        disk.parent.mkdir(parents=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "64M"], check=True)
        for path in [self.home / "images", disk.parent.parent, disk.parent]:
            path.chmod(0o755)
        disk.chmod(0o644)
        self.image = disk

    # -- daemons ----------------------------------------------------------------------------------------------------------------
    def _start(self, name, arguments, **options):
        log = open(self.home / f"{name}.log", "ab")
        self.daemons[name] = subprocess.Popen([self.programs / f"bootseal-{name}", *arguments], env=self.environment, stdin=subprocess.DEVNULL, stderr=log, **options)

    def start_vaultd(self):
        read_end, write_end = os.pipe()
        os.write(write_end, b"a passphrase for tests only")
        os.close(write_end)
        self._start("vaultd", ["--passphrase-fd", str(read_end)], pass_fds=[read_end])
        os.close(read_end)
        self._wait_for("vaultd", "/v1/ca")

    def start_hostd(self):
        self._start("hostd", ["--accelerator", "tcg", *self.options])
        self._wait_for("hostd", "/v1/host")

    def _wait_for(self, name, path):
        def answers():
            check(self.daemons[name].poll() is None, f"{name} ended: {(self.home / f'{name}.log').read_text()[-2000:]}")
            try:
                return self.call(name, "GET", path)
            except (OSError, http.client.HTTPException):
                return None

        wait_until(answers, 60, f"{name} answers")

    def kill(self, name):
        self.daemons[name].send_signal(signal.SIGKILL)
        self.daemons[name].wait()

    def call(self, daemon, method, path, body=None):
        connection = UnixConnection(self.home / "run" / f"{daemon}.sock")
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if reply.status >= 400:
            error = json.loads(text)["error"]
            raise Refused(reply.status, error["code"], error["message"])
        if not text:
            return None
        return json.loads(text) if "json" in reply.getheader("Content-Type", "") else text.decode(errors="replace")

    def hostd(self, method, path, body=None):
        return self.call("hostd", method, path, body)

    # -- virtual machines -------------------------------------------------------------------------------------------------------
    def place(self, vm, epoch=1):
        self.call("vaultd", "PUT", f"/v1/placements/{vm}", {"hostId": self.host_id, "epoch": epoch})

    def assignment(self, vm, action="none", epoch=1, security="TrustedLaunch"):
        trusted = security == "TrustedLaunch"
        return {
            "vmId": vm, "name": "blank", "epoch": epoch, "image": {"disk": str(self.image), "name": "blank"},
            "hardware": {"cpus": 1, "memoryMiB": 256},
            "security": {"type": security, "secureBoot": trusted, "vtpm": trusted, "template": "MicrosoftUefiCertificateAuthority"},
            "os": {"computerName": "blank", "adminUsername": "admin", "sshKeys": ["ssh-ed25519 AAAA test"]},
            "power": {"requestId": str(uuid.uuid4()), "action": action},
        }

    def put(self, vm, **options):
        body = self.assignment(vm, **options)
        self.hostd("PUT", f"/v1/vms/{vm}", body)
        return body["power"]["requestId"]

    def status(self, vm):
        return self.hostd("GET", f"/v1/vms/{vm}")

    def wait_request(self, vm, request, limit=60):
        def done():
            power = self.status(vm).get("powerRequest", {})
            return power if power.get("requestId") == request and power["state"] != "Running" else None

        return wait_until(done, limit, f"the power request of {vm} is done")

    def start(self, vm):
        done = self.wait_request(vm, self.put(vm, action="start"))
        check(done["state"] == "Succeeded", done)
        return self.status(vm)

    def wait_stopped(self, vm, limit=500):
        return wait_until(lambda: (lambda status: status if status["power"] == "Stopped" else None)(self.status(vm)), limit, f"{vm} is stopped")

    def guest_state(self, vm):
        return self.home / "hostd/vms" / vm / "guest-state.vmgs"

    def processes(self):
        found = {}
        for folder in pathlib.Path("/proc").iterdir():
            if folder.name.isdigit() and alive(folder.name):
                try:
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.home) in command:
                    found[int(folder.name)] = command
        return found

    def close(self):
        for name, process in self.daemons.items():
            if process.poll() is None:
                process.terminate()
                process.wait()
        left = {pid: command for pid, command in self.processes().items() if pid != os.getpid()}
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.home, ignore_errors=True)
        return left

    def show_logs(self):
        for log in sorted(self.home.glob("*.log")):
            print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]))

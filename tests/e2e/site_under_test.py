"""One Bootseal site in a folder of its own, driven by the programs that a user would run."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BOOTSEAL_BIN", ROOT / "out/bin"))
CACHE = pathlib.Path(os.environ.get("BOOTSEAL_TEST_CACHE", ROOT / "build/e2e"))
BOOT_LIMIT = 300  # seconds for a whole boot under emulation on a busy machine


class CommandFailed(Exception):
    def __init__(self, arguments, result):
        self.exit_code = result.returncode
        self.stdout = result.stdout
        self.stderr = result.stderr
        super().__init__(f"{' '.join(map(str, arguments))} -> exit {result.returncode}\n{result.stdout}{result.stderr}")


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def wait_until(condition, limit, what):
    """Polls a condition; returns its first true value."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.1)


def run(arguments, **options):
    options.setdefault("timeout", 600)
    result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, stdin=options.pop("stdin", subprocess.DEVNULL), **options)
    if result.returncode != 0:
        raise CommandFailed(arguments, result)
    return result.stdout


class Site:
    def __init__(self, name):
        self.name = name
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="bs-", dir="/tmp"))
        self.home.chmod(0o711)
        self.environment = dict(os.environ, BOOTSEAL_HOME=str(self.home), BOOTSEAL_LISTEN="127.0.0.1:0", PATH=f"{BIN}:{os.environ['PATH']}")
        self.environment.pop("BOOTSEAL_RUN", None)

    # -- the program ------------------------------------------------------------------------------------------------------------
    def cli(self, *arguments, **options):
        return run([BIN / "bootseal", *arguments], env=self.environment, **options)

    def cli_json(self, *arguments, **options):
        return json.loads(self.cli(*arguments, "-o", "json", **options))

    def cli_fails(self, *arguments, **options):
        try:
            output = self.cli(*arguments, **options)
        except CommandFailed as failure:
            return failure
        raise AssertionError(f"bootseal {' '.join(arguments)} should have failed and printed {output}")

    def up(self):
        return self.cli("up")

    def remove(self):
        """Stops everything, removes the folder; returns processes that were left behind."""
        try:
            self.cli("down", "--stop-vms", timeout=240)
        except Exception as problem:  # the processes below are what counts
            print(f"  down: {problem}")
        left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.home, ignore_errors=True)
        return [f"{pid} {command}" for pid, command in left.items()]

    def processes(self):
        """pid -> command line of every process that belongs to this site."""
        found = {}
        for folder in pathlib.Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (folder / "environ").read_bytes()
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state != "Z" and (str(self.home) in command or f"BOOTSEAL_HOME={self.home}".encode() in environment.split(b"\0")):
                found[int(folder.name)] = command
        return found

    def show_logs(self):
        for log in sorted((self.home / "log").glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-25:]
            print(f"  --- {log.name}\n" + "\n".join(f"  | {line[:300]}" for line in tail))

    # -- processes --------------------------------------------------------------------------------------------------------------
    def daemon_pid(self, daemon):
        return int((self.home / "run" / f"{daemon}.pid").read_text().split()[0])

    def kill_daemon(self, daemon):
        """SIGKILL, then waits until another process has taken its place and answers."""
        old = self.daemon_pid(daemon)
        os.kill(old, signal.SIGKILL)

        def back():
            try:
                return self.daemon_pid(daemon) != old and self.cli("status")
            except (CommandFailed, OSError, ValueError, IndexError):
                return False

        wait_until(back, 60, f"{daemon} is back after SIGKILL")

    def daemon_call(self, daemon, method, path, body=None):
        """A call on a daemon's own socket, as root may make it."""
        arguments = ["curl", "-sS", "--fail-with-body", "--unix-socket", self.home / "run" / f"{daemon}.sock", "-X", method, f"http://daemon{path}"]
        if body is not None:
            arguments += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        text = run(arguments)
        return json.loads(text) if text else None

    # -- virtual machines -------------------------------------------------------------------------------------------------------
    def vm(self, name):
        return self.cli_json("vm", "show", name)

    def view(self, name):
        return self.vm(name)["properties"]["instanceView"]

    def attestation(self, name):
        return self.view(name).get("attestation") or {}

    def vm_id(self, name):
        return self.vm(name)["properties"]["vmId"]

    def guest_state_file(self, name):
        return self.home / "hostd/vms" / self.vm_id(name) / "guest-state.vmgs"

    def process_of(self, name, which):
        return self.view(name)["processes"][which]

    def wait_power(self, name, state, limit=BOOT_LIMIT):
        code = f"PowerState/{state}"
        return wait_until(lambda: any(s["code"] == code for s in self.view(name)["statuses"]), limit, f"{name} is {code}")

    def wait_healthy(self, name, after=""):
        """Waits for a Healthy verdict whose evidence is newer than `after`."""

        def healthy():
            verdict = self.attestation(name)
            if verdict.get("status") == "Unhealthy":
                raise AssertionError(f"{name} is Unhealthy: {verdict['reasons']}")
            return verdict.get("status") == "Healthy" and verdict.get("evidenceTime", "") > after

        wait_until(healthy, BOOT_LIMIT, f"{name} is Healthy")
        return self.attestation(name)

    def wait_outcome(self, name, limit=BOOT_LIMIT):
        finished = ("Booted", "Refused", "NothingToBoot", "DidNotBoot")
        return wait_until(lambda: (lambda boot: boot if boot.get("outcome") in finished else None)(self.view(name).get("boot") or {}), limit,
                          f"{name} has a boot outcome")

    def shell(self, name, command, until, limit=120):
        """Types a command on the serial console; returns the text up to and with the line that holds `until`."""
        return self.cli("vm", "console", name, "--send", command + "\n", "--until", until, "--timeout", str(limit), timeout=limit + 30)

    # -- images -----------------------------------------------------------------------------------------------------------------
    def install_image(self, name, change=None):
        """The test image (debian-12-mini with the TPM probe) under `name`, with `change(raw_disk)` applied to its disk."""
        source = base_image()
        folder = self.home / "images" / name / "1.0.0"
        folder.mkdir(parents=True)
        manifest = json.loads((source / "manifest.json").read_text())
        if change is None:
            shutil.copy(source / "disk.qcow2", folder / "disk.qcow2")
        else:
            raw = folder / "disk.raw"
            run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", source / "disk.qcow2", raw])
            change(raw)
            run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, folder / "disk.qcow2"])
            raw.unlink()
        manifest["name"] = name
        manifest["version"] = "1.0.0"
        manifest["disk"]["sha256"] = run(["sha256sum", folder / "disk.qcow2"]).split()[0]
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
        for path in [self.home / "images", folder.parent, folder, *folder.iterdir()]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return name

    def create(self, name, image="probe", *options):
        return self.cli("vm", "create", "--name", name, "--image", image, *options)


def base_image():
    """debian-12-mini with the TPM probe, built once for all test runs."""
    folder = CACHE / "probe-image"
    inputs = [BIN / "bootseal-agent", BIN / "tpm_probe", *sorted((ROOT / "images").rglob("*"))]
    stamp = run(["sh", "-c", 'cat "$@" | sha256sum', "sh", *[path for path in inputs if path.is_file()]])
    if not (folder / "stamp").exists() or (folder / "stamp").read_text() != stamp:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print("  (building the test image)", flush=True)
        run([ROOT / "images/build-image", "debian-12-mini", folder, "--agent", BIN / "bootseal-agent", "--add", f"{BIN / 'tpm_probe'}=/bin/tpm_probe"],
            env=dict(os.environ, PATH=f"{BIN}:{os.environ['PATH']}"))
        (folder / "stamp").write_text(stamp)
    return folder


def esp(raw):
    """The mtools address of the EFI system partition (first partition at 1 MiB)."""
    return f"{raw}@@1048576"


MTOOLS = dict(os.environ, MTOOLS_SKIP_CHECK="1")


def esp_read(raw, path):
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "file"
        run(["mcopy", "-n", "-i", esp(raw), f"::{path}", target], env=MTOOLS)
        return target.read_bytes()


def esp_write(raw, path, content):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "file"
        source.write_bytes(content)
        run(["mcopy", "-o", "-i", esp(raw), source, f"::{path}"], env=MTOOLS)


def esp_delete(raw, path):
    run(["mdel", "-i", esp(raw), f"::{path}"], env=MTOOLS)

"""QEMU and guestd run with nothing they do not need, and no key shows anywhere."""
import pathlib

from site_under_test import check

VM = "confined"


def status_of(pid):
    lines = (pathlib.Path("/proc") / str(pid) / "status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def test_qemu_and_guestd_have_their_own_uid_no_capabilities_and_a_filter(site):
    site.install_image("probe")
    site.create(VM)
    site.wait_healthy(VM)
    uids = set()
    for which in ("qemu", "guestd"):
        status = status_of(site.process_of(VM, which))
        uid = set(status["Uid"].split())
        check(len(uid) == 1 and uid != {"0"}, f"{which}: Uid {status['Uid']}")
        uids |= uid
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            check(int(status[name], 16) == 0, f"{which}: {name} {status[name]}")
        check(status["NoNewPrivs"] == "1", f"{which}: NoNewPrivs")
        check(status["Seccomp"] == "2", f"{which}: Seccomp {status['Seccomp']}")
        check(status["Groups"] == "" or set(status["Groups"].split()) <= uid, f"{which}: Groups {status['Groups']}")
    for daemon in ("vaultd", "attestd", "controld"):
        status = status_of(site.daemon_pid(daemon))
        check(status["Uid"].split()[0] not in uids | {"0"}, f"{daemon}: Uid {status['Uid']}")
        check(int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", f"{daemon}: {status}")


def test_vm_processes_have_their_own_namespaces(site):
    for which in ("qemu", "guestd"):
        for namespace in ("mnt", "net", "ipc"):
            ours = pathlib.Path(f"/proc/self/ns/{namespace}").readlink()
            theirs = pathlib.Path(f"/proc/{site.process_of(VM, which)}/ns/{namespace}").readlink()
            check(ours != theirs, f"{which} shares the {namespace} namespace")


def test_no_key_in_any_command_line_environment_or_log(site):
    passphrase = (site.home / "credentials/vault-passphrase").read_bytes().strip()
    check(len(passphrase) >= 16, "passphrase")
    token = (site.home / "cli/token").read_bytes().strip()
    keys = {"vault passphrase": passphrase, "admin token": token}
    for pid in site.processes():
        for part in ("cmdline", "environ"):
            content = (pathlib.Path("/proc") / str(pid) / part).read_bytes()
            for name, key in keys.items():
                check(key not in content, f"the {name} is in /proc/{pid}/{part}")
            check(b"PRIVATE KEY" not in content, f"a private key is in /proc/{pid}/{part}")
    for log in (site.home / "log").glob("*.log"):
        content = log.read_bytes()
        for name, key in keys.items():
            check(key not in content, f"the {name} is in {log}")
        check(b"PRIVATE KEY" not in content and b'"key":' not in content, f"key material is in {log}")


def test_the_master_key_is_not_on_disk_in_the_clear(site):
    passphrase = (site.home / "credentials/vault-passphrase").read_bytes().strip()
    for path in (site.home / "vaultd").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            check(passphrase not in content and b"BEGIN PRIVATE KEY" not in content and b"BEGIN EC PRIVATE KEY" not in content, f"{path} holds a secret in the clear")


def test_nothing_is_open_without_a_credential(site):
    import json
    import ssl
    import urllib.error
    import urllib.request

    endpoint = json.loads((site.home / "cli/endpoint.json").read_text())
    context = ssl.create_default_context(cafile=site.home / "cli/ca.pem")
    base = endpoint["endpoint"]
    group = f"/subscriptions/{endpoint['subscription']}/resourceGroups/default/providers/Microsoft.Compute/virtualMachines"
    for path in [f"{group}?api-version=2024-07-01", f"{group}/{VM}?api-version=2024-07-01", "/bootseal/status", "/subscriptions?api-version=2022-12-01", "/v1/bootstrap"]:
        for headers in [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YWRtaW46YWRtaW4="}]:
            try:
                urllib.request.urlopen(urllib.request.Request(base + path, headers=headers), context=context, timeout=20)
                raise AssertionError(f"{path} is open with {headers}")
            except urllib.error.HTTPError as refusal:
                check(refusal.code in (401, 404), f"{path}: {refusal.code}")

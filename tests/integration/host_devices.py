#!/usr/bin/env python3
"""The network, disks and scripts of one real guest under QEMU: hostd with vaultd, guestd and netd; the test is the control plane and the world.
usage: host_devices.py IMAGE_FOLDER [NAME OF A TEST…]: a built debian-12-mini (disk.qcow2) whose agent is this tree's."""
import os
import shutil
import signal
import socket
import sys
import traceback
import urllib.error
import urllib.request
import uuid

from host_site import Host, Refused, alive, check, program, wait_until

VM = str(uuid.uuid4())
OS, DATA, COPY = (str(uuid.uuid4()) for _ in range(3))
ADDRESS = "127.64.77.1"
MIB = 1 << 20


def rule(port, access="Allow", sources=("*",), priority=300, protocol="Tcp"):
    return {"name": f"rule-{port}", "priority": priority, "access": access, "protocol": protocol, "sources": list(sources), "ports": [port]}


def nic(*inbound, outbound=()):
    return {"nicId": "/nic", "mac": "00:0d:3a:01:02:03", "networkId": "/net", "subnet": "10.0.0.0/24", "address": "10.0.0.4", "gateway": "10.0.0.1",
            "dns": [], "publicAddress": ADDRESS, "primary": True, "inbound": list(inbound), "outbound": list(outbound)}


def put(host, action="none", network=None, disks=None, secure_boot=True):
    body = host.assignment(VM, action=action)
    body["osDisk"] = {"diskId": OS}
    body["image"] = {"name": "mini"}
    body["hardware"]["memoryMiB"] = 512
    body["security"]["secureBoot"] = secure_boot
    if network is not None:
        body["network"] = network
    if disks is not None:
        body["disks"] = disks
    host.hostd("PUT", f"/v1/vms/{VM}", body)
    return body["power"]["requestId"]


def page(timeout=5):
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}/", timeout=timeout) as reply:
            return reply.read().decode()
    except (OSError, urllib.error.URLError):
        return None


def is_refused(port):
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((ADDRESS, port)) != 0


def run(host, script, **more):
    return host.hostd("POST", f"/v1/vms/{VM}/run-command", {"script": script, "timeoutSeconds": 60, **more})


def wait_ready(host, disk, limit=60):
    return wait_until(lambda: (lambda status: status if status["state"] != "Creating" else None)(host.hostd("GET", f"/v1/disks/{disk}")), limit, f"{disk} is made")


def test_a_vm_boots_from_a_disk_of_the_store(host):
    made = host.hostd("PUT", f"/v1/disks/{OS}", {"source": {"kind": "image", "path": str(host.image)}})
    check(made["state"] == "Ready", made)
    host.place(VM)
    request = put(host, "start", network=[nic(rule("80"))], disks=[])
    check(host.wait_request(VM, request)["state"] == "Succeeded", host.status(VM))
    wait_until(lambda: host.status(VM)["boot"]["outcome"] == "Booted", 300, "the guest's agent answers")
    check(not (host.home / "vms" / VM / "disk.qcow2").exists(), "a disk was made in the VM's folder")


def test_what_the_rules_allow_comes_in(host):
    wait_until(page, 60, "the guest answers through its public address")
    check("bootseal debian-12-mini" in page(), page())
    status = host.status(VM)["network"][0]
    check(status["forwards"] == [{"protocol": "Tcp", "address": ADDRESS, "port": 80, "guestPort": 80}] and status["problems"] == [], status)
    check(is_refused(22) and is_refused(8080), "a port that no rule allows is open")


def test_the_guest_has_its_address_and_no_way_to_the_host(host):
    check("10.0.0.4/24" in run(host, "ip addr show eth0")["stdout"], run(host, "ip addr"))
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
                own = probe.getsockname()[0]
            except OSError:
                own = "10.0.0.1"
        for address in ("10.0.0.1", own):
            reply = run(host, f"nc -w 2 {address} {port} < /dev/null")
            check(reply["exitCode"] != 0, f"the guest reaches {address}:{port}")
        listener.setblocking(False)
        try:
            listener.accept()
            raise AssertionError("a connection came")
        except BlockingIOError:
            pass


def test_rules_change_while_it_runs(host):
    put(host, network=[nic()])
    wait_until(lambda: is_refused(80), 30, "the port is closed")
    put(host, network=[nic(rule("80", access="Deny", sources=["127.0.0.0/8"], priority=100), rule("80"))])
    wait_until(lambda: not is_refused(80), 30, "the port is open again")
    check(page() is None, "a source that a rule denies comes in")
    put(host, network=[nic(rule("80-81"), rule("*", protocol="Udp"))])
    wait_until(page, 30, "the guest answers again")
    problems = wait_until(lambda: host.status(VM)["network"][0]["problems"], 30, "what is not open is told")
    check(len(problems) == 1 and "rule '" in problems[0] and "ports *" in problems[0], problems)


def test_a_port_that_is_taken_is_told(host):
    with socket.socket() as other:
        other.bind((ADDRESS, 8099))
        other.listen()
        put(host, network=[nic(rule("80"), rule("8099"))])
        told = wait_until(lambda: [text for text in host.status(VM)["network"][0]["problems"] if "8099" in text], 30, "the problem is told")
        check(ADDRESS in told[0] and "another program" in told[0], told)
    put(host, network=[nic(rule("80"))])


def test_netd_and_hostd_may_be_restarted(host):
    before = host.status(VM)["processes"]
    os.kill(before["netd"], signal.SIGKILL)
    wait_until(lambda: host.status(VM)["processes"].get("netd") not in (None, before["netd"]), 30, "another netd")
    wait_until(page, 60, "the guest answers again")
    netd = host.status(VM)["processes"]["netd"]
    host.kill("hostd")
    check(page(), "the network went with hostd")
    host.start_hostd()
    after = wait_until(lambda: (lambda status: status if status["network"] else None)(host.status(VM)), 30, "hostd finds the network")
    check(after["processes"] == {**before, "netd": netd}, (before, after))
    check(page(), "the network went with hostd")


def test_scripts_run_and_say_what_they_did(host):
    wait_until(lambda: host.status(VM)["boot"]["outcome"] == "Booted", 60, "the agent is there")
    reply = run(host, "echo $1 $name; echo no >&2; exit 4", parameters=[{"name": "name", "value": "a b"}])
    check((reply["exitCode"], reply["stdout"], reply["stderr"]) == (4, "a b a b\n", "no\n"), reply)
    try:
        run(host, "sleep 100", timeoutSeconds=1)
        raise AssertionError("it went on")
    except Refused as refused:
        check(refused.code == "Timeout", refused)


def test_a_disk_comes_grows_is_copied_and_goes(host):
    host.hostd("PUT", f"/v1/disks/{DATA}", {"sizeBytes": 16 * MIB, "source": {"kind": "empty"}})
    put(host, disks=[{"diskId": DATA, "lun": 5}])
    wait_until(lambda: host.status(VM)["disks"] and host.status(VM)["disks"][0]["attached"], 30, "the disk is attached")
    find = "for d in /sys/block/sd*; do cat $d/device/vendor $d/size; ls $d/device/scsi_device; done"
    seen = wait_until(lambda: (lambda text: text if "BOOTSEAL" in text else None)(run(host, find)["stdout"]), 30, "the guest sees it")
    check("32768" in seen and ":0:0:5" in seen, seen)
    check(run(host, "dd if=/dev/zero bs=1M count=4 | tr '\\0' x > /dev/sda && sync")["exitCode"] == 0, "it cannot be written")
    copy = host.hostd("PUT", f"/v1/disks/{COPY}", {"source": {"kind": "disk", "diskId": DATA}})
    check(copy["state"] in ("Creating", "Ready"), copy)
    check(run(host, "dd if=/dev/zero of=/dev/sda bs=1M count=4 && sync")["exitCode"] == 0, "it cannot be written")
    check(wait_ready(host, COPY)["state"] == "Ready", host.hostd("GET", f"/v1/disks/{COPY}"))
    text = host.hostd("GET", f"/v1/disks/{COPY}/content?offset=0&length=512")
    check(text == "x" * 512, text[:40])
    host.hostd("PUT", f"/v1/disks/{DATA}", {"sizeBytes": 32 * MIB})
    wait_until(lambda: "65536" in run(host, "cat /sys/block/sda/size")["stdout"], 30, "the guest sees the new size")
    try:
        host.hostd("DELETE", f"/v1/disks/{DATA}")
        raise AssertionError("it was deleted while it is attached")
    except Refused as refused:
        check(refused.code == "Conflict", refused)
    put(host, disks=[])
    wait_until(lambda: "attachedTo" not in host.hostd("GET", f"/v1/disks/{DATA}"), 30, "the disk is given back")
    check("sda" not in run(host, "ls /sys/block")["stdout"], "the guest still has it")
    host.hostd("DELETE", f"/v1/disks/{DATA}")
    host.hostd("DELETE", f"/v1/disks/{COPY}")


def test_secure_boot_changes_while_it_is_stopped(host):
    try:
        put(host, secure_boot=False)
        raise AssertionError("it changed while the VM runs")
    except Refused as refused:
        check("stopped" in refused.message, refused)
    host.wait_request(VM, put(host, "kill"))
    request = put(host, "start", secure_boot=False)
    check(host.wait_request(VM, request)["state"] == "Succeeded", host.status(VM))
    wait_until(lambda: "Secure Boot: off" in (host.hostd("GET", f"/v1/vms/{VM}/console/log") or ""), 300, "the guest says that Secure Boot is off")


def test_a_deleted_vm_leaves_its_disks(host):
    processes = host.status(VM)["processes"]
    host.hostd("DELETE", f"/v1/vms/{VM}")
    check(not any(alive(pid) for pid in processes.values()), "a process is left")
    check("attachedTo" not in host.hostd("GET", f"/v1/disks/{OS}"), "the disk is still the VM's")
    check(is_refused(80), "its port is still open")
    host.hostd("DELETE", f"/v1/disks/{OS}")


def main():
    for name in ("bootseal-hostd", "bootseal-guestd", "bootseal-vaultd", "bootseal-netd"):
        program(name)
    wanted = sys.argv[2:]
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_") and (not wanted or name in wanted)]
    host = Host("--boot-deadline", "600")
    shutil.copy2(f"{sys.argv[1]}/disk.qcow2", host.image)
    host.image.chmod(0o644)
    failed = 0
    try:
        for name, test in tests:
            try:
                test(host)
                print(f"ok      {name}", flush=True)
            except Exception:  # the report is the point
                failed += 1
                traceback.print_exc()
                print(f"FAILED  {name}", flush=True)
                break
    finally:
        if failed:
            host.show_logs()
            for log in host.home.glob("hostd/vms/*/*.log"):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
        left = host.close()
    if left:
        print(f"left behind: {left}")
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())

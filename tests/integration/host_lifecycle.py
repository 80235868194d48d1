#!/usr/bin/env python3
"""The life of a VM on one host, with real processes: made, booted, found again after SIGKILL of hostd, stopped for each reason, removed.

The disk is blank, so that a boot ends (NothingToBoot) after the firmware's own time. usage: host_lifecycle.py [NAME OF A TEST…]"""
import os
import pathlib
import signal
import subprocess
import sys
import traceback
import uuid

from host_site import Host, Refused, alive, check, program, wait_until

VM = str(uuid.uuid4())


def refused(code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except Refused as refusal:
        check(refusal.code == code, f"{refusal} instead of {code}")
        return refusal
    raise AssertionError(f"{code} was expected")


def test_without_a_placement_nothing_is_made(host):
    vm = str(uuid.uuid4())
    host.put(vm, action="start")
    status = wait_until(lambda: (lambda s: s if s["provisioning"]["state"] == "Failed" else None)(host.status(vm)), 30, "the creation fails")
    check(status["provisioning"]["error"]["code"] == "PermissionDenied", status)
    check(not host.guest_state(vm).exists(), "a guest state was made")
    host.hostd("DELETE", f"/v1/vms/{vm}")


def test_a_vm_is_made_and_started(host):
    host.place(VM)
    status = host.start(VM)
    check(status["power"] == "Running" and status["boot"]["outcome"] == "Booting", status)
    check(status["provisioning"] == {"state": "Succeeded"}, status)
    check(status["guestState"]["sealed"] and status["guestState"]["generation"] > 0 and status["guestState"]["keyName"] == VM, status)
    check("Bootseal site CA" in status["vtpm"]["ekCertificateIssuer"] and len(status["vtpm"]["akPublicSha256"]) == 64, status)
    check(status["attestation"]["status"] == "Pending" and status["accelerator"] == "tcg", status)
    check(status["timings"]["createToRunningMs"] > 0, status)


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def test_its_processes_have_nothing_they_do_not_need(host):
    for which, pid in host.status(VM)["processes"].items():
        status = status_of(pid)
        uids = set(status["Uid"].split())
        check(len(uid := uids) == 1 and (os.geteuid() != 0 or uid != {"0"}), f"{which}: {status['Uid']}")
        check(all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")), f"{which}: {status}")
        check(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and (os.geteuid() != 0 or status["Groups"] == ""), f"{which}: {status}")
        for namespace in ("mnt", "net", "ipc"):
            check(os.readlink(f"/proc/{pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}"), f"{which} shares {namespace}")
    command = pathlib.Path(f"/proc/{host.status(VM)['processes']['qemu']}/cmdline").read_bytes().split(b"\0")
    check(b"-kernel" not in command and b"-sandbox" in command, command)


def test_sigkill_of_hostd_leaves_the_vm_and_it_is_found_again(host):
    before = host.status(VM)["processes"]
    host.kill("hostd")
    check(all(alive(pid) for pid in before.values()), "a process ended with hostd")
    host.start_hostd()
    status = wait_until(lambda: (lambda s: s if s["power"] == "Running" else None)(host.status(VM)), 20, "it runs")
    check(status["processes"] == before, status)


def test_a_blank_disk_is_nothing_to_boot(host):
    status = host.wait_stopped(VM)
    check(status["boot"]["outcome"] == "NothingToBoot", status)
    check(status["stopReason"]["code"] == "NothingToBoot" and status["processes"] == {}, status)
    check(status["attestation"]["status"] == "Unknown", status)
    # What was said before and after the SIGKILL of hostd.
    check("BdsDxe" in host.hostd("GET", f"/v1/vms/{VM}/console/log"), "the console's log")
    check("BdsDxe" in (host.home / "hostd/vms" / VM / "boot-diagnostics/serial.txt").read_text(errors="replace"), "boot diagnostics")
    check((host.home / "hostd/vms" / VM / "boot-diagnostics/event-log.bin").stat().st_size > 1000, "no event log was found in memory")
    check(not any((host.home / "run/vms" / VM).glob("memory*")), "guest memory was left behind")
    known = host.call("vaultd", "GET", f"/v1/keys/{VM}")["generation"]
    check(known == status["guestState"]["generation"] > 0, f"the vault knows {known}, hostd {status['guestState']}")


def test_the_death_of_guestd_ends_qemu_at_once(host):
    processes = host.start(VM)["processes"]
    os.kill(processes["guestd"], signal.SIGKILL)
    wait_until(lambda: not alive(processes["qemu"]), 5, "QEMU is gone")
    status = host.wait_stopped(VM)
    check(status["stopReason"]["code"] == "GuestStateServiceEnded" and "TPM" in status["stopReason"]["message"], status)


def test_the_death_of_qemu_is_reported(host):
    processes = host.start(VM)["processes"]
    os.kill(processes["qemu"], signal.SIGKILL)
    status = host.wait_stopped(VM)
    check(status["stopReason"]["code"] == "HypervisorEnded" and "QEMU" in status["stopReason"]["message"], status)
    wait_until(lambda: not alive(processes["guestd"]), 5, "guestd has ended too")


def test_a_kill_is_carried_out_once(host):
    processes = host.start(VM)["processes"]
    request = host.put(VM, action="kill")
    check(host.wait_request(VM, request)["state"] == "Succeeded", "killed")
    check(not alive(processes["qemu"]) and host.status(VM)["stopReason"]["code"] == "Killed", host.status(VM))


def test_a_kill_after_other_requests_is_answered_when_nothing_runs_any_more(host):
    for others in (["start"], ["start", "restart"], ["start", "stop", "start"]):
        overtaken = [host.put(VM, action=action) for action in others]
        kill = host.put(VM, action="kill")
        check(host.wait_request(VM, kill)["state"] == "Succeeded", "killed")
        running = [command for command in host.processes().values() if VM in command and "hostd" not in command.split()[0]]
        check(not running, f"after {others} and a kill: {running}")
        status = host.status(VM)
        check(status["power"] == "Stopped" and status["processes"] == {}, status)
        answers = {request["requestId"]: request for request in status["earlierRequests"]}
        for request in overtaken:
            answer = answers[request]
            check(answer["state"] == "Succeeded" or (answer["error"]["code"] == "Conflict" and "superseded" in answer["error"]["message"]), answer)


def test_guest_state_that_is_not_right_stops_the_start(host):
    path, kept = host.guest_state(VM), host.home / "kept.vmgs"
    good = path.read_bytes()

    def start_fails(code):
        before = path.read_bytes() if path.exists() else None
        done = host.wait_request(VM, host.put(VM, action="start"))
        check(done["state"] == "Failed" and done["error"]["code"] == code and "bootseal " in done["error"]["message"], done)
        check(host.status(VM)["power"] == "Stopped" and host.status(VM)["processes"] == {}, host.status(VM))
        check((path.read_bytes() if path.exists() else None) == before, "the file was changed")

    path.rename(kept)
    start_fails("GuestStateMissing")
    path.write_bytes(bytes(len(good)))
    start_fails("GuestStateMissing")
    damaged = bytearray(good)
    damaged[16] ^= 0xFF
    damaged[512 + 16] ^= 0xFF
    path.write_bytes(damaged)
    start_fails("GuestStateDamaged")
    path.write_bytes(good)
    check(host.start(VM)["power"] == "Running", "the right file starts")
    host.wait_request(VM, host.put(VM, action="kill"))
    path.write_bytes(good)
    start_fails("GuestStateStale")


def test_a_new_guest_state_only_on_explicit_request(host):
    refused("InvalidArgument", host.hostd, "POST", f"/v1/vms/{VM}/reset-guest-state", {"confirm": "yes"})
    before = host.status(VM)["vtpm"]["akPublicSha256"]
    status = host.hostd("POST", f"/v1/vms/{VM}/reset-guest-state", {"confirm": VM})
    check(status["vtpm"]["akPublicSha256"] != before, "the same TPM")
    check(list(host.guest_state(VM).parent.glob("guest-state.vmgs.replaced-*")), "the old file is gone")
    check(host.start(VM)["power"] == "Running", "the new guest state starts")
    host.wait_request(VM, host.put(VM, action="kill"))


def test_an_older_epoch_is_refused(host):
    host.place(VM, epoch=3)
    host.put(VM, epoch=3)
    refused("Conflict", host.put, VM, epoch=2, action="start")
    check(host.status(VM)["epoch"] == 3 and host.status(VM)["power"] == "Stopped", host.status(VM))


def test_vaultd_may_be_away_at_a_start(host):
    host.kill("vaultd")
    request = host.put(VM, epoch=3, action="start")
    check(host.status(VM)["powerRequest"]["state"] == "Running", host.status(VM))
    host.start_vaultd()
    check(host.wait_request(VM, request)["state"] == "Succeeded", host.status(VM))
    host.wait_request(VM, host.put(VM, epoch=3, action="kill"))


def test_a_cut_creation_is_gone_on_with(host):
    vm = str(uuid.uuid4())
    host.place(vm)
    request = host.put(vm, action="start")
    host.kill("hostd")
    host.start_hostd()
    check(host.wait_request(vm, request)["state"] == "Succeeded", host.status(vm))
    host.hostd("DELETE", f"/v1/vms/{vm}")


def test_a_standard_vm_has_no_tpm(host):
    vm = str(uuid.uuid4())
    request = host.put(vm, action="start", security="Standard")
    check(host.wait_request(vm, request)["state"] == "Succeeded", host.status(vm))
    status = host.status(vm)
    check("guestState" not in status and "vtpm" not in status and list(status["processes"]) == ["qemu"], status)
    host.hostd("DELETE", f"/v1/vms/{vm}")


def test_only_root_and_the_control_plane_may_call(host):
    if os.geteuid() != 0:
        return
    socket = host.home / "run/hostd.sock"
    reply = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-s", "--unix-socket", str(socket), "http://daemon/v1/host"],
                           capture_output=True, text=True)
    check("PermissionDenied" in reply.stdout, reply)


def test_a_deleted_vm_leaves_nothing(host):
    host.wait_request(VM, host.put(VM, epoch=3, action="start"))
    processes = host.status(VM)["processes"]
    revision = host.hostd("GET", "/v1/events?since=0")["revision"]
    host.hostd("DELETE", f"/v1/vms/{VM}")
    check(not any(alive(pid) for pid in processes.values()), "a process is left")
    for folder in ("hostd/vms", "vms", "run/vms"):
        check(not (host.home / folder / VM).exists(), f"{folder} is left")
    refused("NotFound", host.status, VM)
    refused("NotFound", host.call, "vaultd", "GET", f"/v1/keys/{VM}")
    check(VM in host.hostd("GET", f"/v1/events?since={revision}")["gone"], "nobody is told")
    host.hostd("DELETE", f"/v1/vms/{VM}")  # again: no error


def main():
    for name in ("bootseal-hostd", "bootseal-guestd", "bootseal-vaultd"):
        program(name)
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_") and (len(sys.argv) < 2 or name in sys.argv[1:])]
    # A firmware on a busy machine takes its time; nothing here waits for these limits.
    host = Host("--boot-deadline", "600")
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
        left = host.close()
    if left:
        print(f"left behind: {left}")
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())

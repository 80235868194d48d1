"""What the TPM was told survives every kind of end: stop, restart, and SIGKILL of each process in turn."""
import os
import re
import signal

from site_under_test import check, wait_until

VM = "keeper"


def probe(site):
    """What the guest finds in its TPM: NV index, name of the persistent key, the object sealed to PCR 7."""
    text = site.shell(VM, "tpm_probe check", "PROBE-FOUND")
    found = re.search(r"PROBE-FOUND nv=(\S+) key=(\S+) sealed=(\S+)", text)
    check(found, text)
    return found.groups()


def expect_same(site):
    check(probe(site) == site.expected, f"{probe(site)} is not {site.expected}")


def test_write_into_the_tpm(site):
    site.install_image("probe")
    site.create(VM)
    site.wait_healthy(VM)
    text = site.shell(VM, "tpm_probe write", "PROBE-WRITTEN")
    found = re.search(r"PROBE-WRITTEN nv=(\S+) key=(\S+) sealed=(\S+)", text)
    check(found, text)
    site.expected = found.groups()
    expect_same(site)


def test_stop_and_start(site):
    before = site.attestation(VM)["evidenceTime"]
    site.cli("vm", "stop", VM)
    site.wait_power(VM, "stopped")
    site.cli("vm", "start", VM)
    site.wait_healthy(VM, after=before)
    expect_same(site)


def test_restart(site):
    before = site.attestation(VM)["evidenceTime"]
    site.cli("vm", "restart", VM)
    site.wait_healthy(VM, after=before)
    expect_same(site)


def test_sigkill_of_qemu(site):
    before = site.attestation(VM)["evidenceTime"]
    os.kill(site.process_of(VM, "qemu"), signal.SIGKILL)
    site.wait_power(VM, "stopped")
    reason = site.view(VM)["stopReason"]
    check("QEMU" in reason["message"], reason)
    site.cli("vm", "start", VM)
    site.wait_healthy(VM, after=before)
    expect_same(site)


def test_sigkill_of_guestd_stops_the_vm_at_once_with_that_reason(site):
    before = site.attestation(VM)["evidenceTime"]
    qemu = site.process_of(VM, "qemu")
    os.kill(site.process_of(VM, "guestd"), signal.SIGKILL)
    wait_until(lambda: qemu not in site.processes(), 10, "QEMU is gone")
    site.wait_power(VM, "stopped")
    reason = site.view(VM)["stopReason"]
    check("TPM" in reason["message"], reason)
    site.cli("vm", "start", VM)
    site.wait_healthy(VM, after=before)
    expect_same(site)


def running_on(site, daemon):
    qemu, guestd = site.process_of(VM, "qemu"), site.process_of(VM, "guestd")
    site.kill_daemon(daemon)
    wait_until(lambda: any(s["code"] == "PowerState/running" for s in site.view(VM)["statuses"]), 60, f"the VM is seen again after {daemon}")
    check((qemu, guestd) == (site.process_of(VM, "qemu"), site.process_of(VM, "guestd")), f"the VM was restarted by the loss of {daemon}")
    expect_same(site)
    verdict = site.cli_json("vm", "attest", VM)
    check(verdict["status"] == "Healthy", verdict)


def test_sigkill_of_hostd_leaves_the_vm_running_and_it_is_found_again(site):
    running_on(site, "hostd")


def test_sigkill_of_vaultd_leaves_the_vm_running(site):
    running_on(site, "vaultd")


def test_sigkill_of_controld_leaves_the_vm_running(site):
    running_on(site, "controld")


def test_sigkill_of_attestd_leaves_the_vm_running(site):
    running_on(site, "attestd")

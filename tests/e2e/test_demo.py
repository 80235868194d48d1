"""A Trusted Launch VM of the catalogue image boots, attests and shows itself as Azure would show it."""
import json

from site_under_test import check


def test_create_boots_attests_and_says_what_booted(site):
    site.install_image("probe")
    output = site.create("demo")
    check("demo" in output, output)
    verdict = site.wait_healthy("demo")
    check(verdict["secureBoot"] == "Enabled", verdict)
    roles = [part["role"] for part in verdict["bootChain"]]
    check(roles[:3] == ["shim", "grub", "kernel"], roles)
    for part in verdict["bootChain"][:3]:
        check(len(part["sha256"]) == 64 and part["signer"] and part["version"] and part["inBaseline"], part)
    check("console=ttyS0" in verdict["kernelCommandLine"], verdict["kernelCommandLine"])


def test_show_has_azures_security_profile_and_the_attestation(site):
    vm = site.vm("demo")
    profile = vm["properties"]["securityProfile"]
    check(profile == {"securityType": "TrustedLaunch", "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True}}, profile)
    attestation = vm["properties"]["instanceView"]["attestation"]
    check(attestation["status"] == "Healthy" and attestation["evidenceTime"].endswith("Z") and isinstance(attestation["reasons"], list), attestation)
    check(vm["id"].lower().endswith("/providers/microsoft.compute/virtualmachines/demo"), vm["id"])
    state = vm["properties"]["instanceView"]["guestState"]
    check(state["algorithm"] == "AES-256-GCM" and state["keyName"] == vm["properties"]["vmId"] and state["generation"] > 1, state)
    check("Bootseal site CA" in vm["properties"]["instanceView"]["vtpm"]["ekCertificateIssuer"], vm["properties"]["instanceView"]["vtpm"])


def test_show_reads_as_a_page_for_people(site):
    page = site.cli("vm", "show", "demo")
    for wanted in ["Healthy", "shim", "grub", "kernel", "AES-256-GCM", "Bootseal site CA", "console=ttyS0"]:
        check(wanted in page, f"'{wanted}' is missing in:\n{page}")


def test_attest_asks_for_fresh_evidence_each_time(site):
    before = site.attestation("demo")["evidenceTime"]
    verdict = site.cli_json("vm", "attest", "demo")
    check(verdict["status"] == "Healthy" and verdict["evidenceTime"] > before, verdict)


def test_wrong_input_gets_one_clear_error_and_changes_nothing(site):
    names = [vm["name"] for vm in site.cli_json("vm", "list")]
    wrong = [
        (["vm", "create", "--name", "-bad-", "--image", "probe"], "name"),
        (["vm", "create", "--name", "x", "--image", "no-such-image"], "no-such-image"),
        (["vm", "create", "--name", "x", "--image", "probe", "--size", "Huge"], "Huge"),
        (["vm", "create", "--name", "x", "--image", "probe", "--security-type", "Standard", "--enable-vtpm", "true"], "Standard"),
        (["vm", "show", "nobody"], "nobody"),
        (["vm", "start", "nobody"], "nobody"),
    ]
    for arguments, word in wrong:
        failure = site.cli_fails(*arguments)
        check(word.lower() in failure.stderr.lower() and failure.stderr.count("error:") == 1, f"{arguments}: {failure.stderr}")
    check([vm["name"] for vm in site.cli_json("vm", "list")] == names, "a refused request left a VM")


def test_up_and_create_again_say_what_is_there(site):
    check("already" in site.up(), "up")
    failure = site.cli_fails("vm", "create", "--name", "demo", "--image", "probe")
    check("demo" in failure.stderr and "exists" in failure.stderr, failure.stderr)


def test_delete_leaves_nothing_behind(site):
    vm_id = site.vm_id("demo")
    site.cli("vm", "delete", "demo", "--yes")
    check(site.cli_json("vm", "list") == [], "the VM is listed")
    check([command for command in site.processes().values() if vm_id in command] == [], "a process is left")
    left = [str(path) for path in site.home.rglob("*") if vm_id in path.name]
    check(left == [], left)

"""The guest state is sealed, and foreign, damaged, old or missing guest state stops the start with its own reason."""
import os
import re
import secrets
import shutil

from site_under_test import check

VM = "sealed"


def start_refused(site, code, *words):
    """A start that must fail with this error code, must not touch the file, and must name cause and remedy."""
    path = site.guest_state_file(VM)
    before = path.read_bytes() if path.exists() else None
    failure = site.cli_fails("vm", "start", VM)
    after = path.read_bytes() if path.exists() else None
    check(before == after, "the refused start changed the guest state file")
    check(code in failure.stderr, f"{code} is not in: {failure.stderr}")
    for word in (*words, "bootseal "):
        check(word.lower() in failure.stderr.lower(), f"'{word}' is not in: {failure.stderr}")
    return failure


def test_secrets_in_nv_and_in_a_variable_do_not_occur_in_the_file(site):
    site.install_image("probe")
    site.create(VM)
    site.wait_healthy(VM)
    in_nv, in_variable = secrets.token_bytes(32), secrets.token_hex(16)
    site.shell(VM, f"tpm_probe secret {in_nv.hex()}", "PROBE-SECRET")
    variable = "/sys/firmware/efi/efivars/BootsealTest-6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    site.shell(VM, f"printf '\\007\\000\\000\\000{in_variable}' > {variable} && echo VARIABLE-$((40+2))", "VARIABLE-42")
    text = site.shell(VM, f"cat {variable} | tail -c 32; echo; echo READ-$((40+2))", "READ-42")
    check(in_variable in text, text)
    site.cli("vm", "stop", VM)
    site.wait_power(VM, "stopped")
    content = site.guest_state_file(VM).read_bytes()
    for name, secret in [("NV", in_nv), ("variable", in_variable.encode()), ("variable in UTF-16", in_variable.encode("utf-16le"))]:
        check(secret not in content, f"the secret in the {name} occurs in the guest state file")
    check(re.search(rb"\xfe\xca", content) is not None, "the file is empty")


def test_five_refusals_each_with_its_own_reason(site):
    site.create("other", "probe", "--no-wait")
    site.wait_outcome("other")
    site.cli("vm", "kill", "other")
    site.wait_power("other", "stopped")
    path, kept = site.guest_state_file(VM), site.home / "kept.vmgs"
    shutil.copy2(path, kept)

    def put(content):
        path.write_bytes(content)
        os.chmod(path, 0o600)

    good = kept.read_bytes()
    path.unlink()
    start_refused(site, "GuestStateMissing", "missing")
    put(site.guest_state_file("other").read_bytes())
    start_refused(site, "GuestStateForeign", "another VM")
    # One bit in every sealed block: wherever the sealed data lies, it is noticed.
    damaged = bytearray(good)
    used = [block for block in range(2, len(good) // 4096) if any(good[block * 4096:(block + 1) * 4096])]
    for block in used:
        damaged[block * 4096 + 100] ^= 1
    put(bytes(damaged))
    start_refused(site, "GuestStateDamaged", "damaged")
    put(good)
    site.cli("vm", "start", VM)
    site.wait_healthy(VM)
    site.cli("vm", "stop", VM)
    site.wait_power(VM, "stopped")
    newer = path.read_bytes()
    put(good)
    start_refused(site, "GuestStateStale", "generation")
    put(newer)
    # Another VM's key: the vault hands out the key of `other` for this VM's file when the two swap their names on disk.
    site.cli("vm", "start", VM)
    site.wait_healthy(VM)

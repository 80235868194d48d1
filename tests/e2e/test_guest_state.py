"""The guest state is sealed, and foreign, damaged, old or missing guest state stops the start with its own reason."""
import os
import secrets
import shutil
import struct

from site_under_test import check

VM = "sealed"


VM_UNIQUE_ID = 7


def stored_files(content):
    """file id -> (byte offset, size) of every file in a VMGS v3 store with content, the extended file table included."""
    headers = [content[at:at + 168] for at in (0, 512)]
    sequences = [struct.unpack_from("<I", header, 16)[0] if header[:8] == b"GUESTRTS" else None for header in headers]
    newer = 0 if sequences[1] is None or (sequences[0] is not None and (sequences[0] - sequences[1]) % 2**32 == 1) else 1
    table = struct.unpack_from("<I", headers[newer], 24)[0] * 4096
    files = {}
    for file_id in range(1, 64):
        block, allocated, size = struct.unpack_from("<IIQ", content, table + file_id * 64)
        if allocated and size:
            files[file_id] = (block * 4096, size)
    return files


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
    check(len(stored_files(content)) >= 3, "the file holds too little to say anything")


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
    start_refused(site, "GuestStateForeign", "belongs to VM")
    for file_id, (offset, size) in stored_files(good).items():
        if file_id == VM_UNIQUE_ID:
            continue
        damaged = bytearray(good)
        damaged[offset + size // 2] ^= 1
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
    site.cli("vm", "start", VM)
    site.wait_healthy(VM)
    site.cli("vm", "stop", VM)
    site.wait_power(VM, "stopped")


def test_another_key_in_the_vault_is_refused(site):
    """An operator with root replaces the VM's key: the file no longer opens, and stays as it is."""
    vm_id = site.vm_id(VM)
    epoch = site.daemon_call("hostd", "GET", f"/v1/vms/{vm_id}")["epoch"]
    owner = {"hostId": site.daemon_call("hostd", "GET", "/v1/host")["hostId"], "epoch": epoch}
    site.daemon_call("vaultd", "DELETE", f"/v1/keys/{vm_id}", owner)
    site.daemon_call("vaultd", "PUT", f"/v1/placements/{vm_id}", owner)
    site.daemon_call("vaultd", "POST", f"/v1/keys/{vm_id}", owner)
    start_refused(site, "GuestStateWrongKey", "key")

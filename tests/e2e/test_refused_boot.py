"""What must not boot does not boot, and the reason names who refused what."""
from site_under_test import check, esp_delete, esp_read, esp_write, run

SHIM, GRUB, KERNEL = "/EFI/BOOT/BOOTX64.EFI", "/EFI/BOOT/grubx64.efi", "/vmlinuz"


def strip_signature(content):
    """The PE image with its certificate table cut off and the directory entry zeroed."""
    image = bytearray(content)
    pe = int.from_bytes(image[0x3C:0x40], "little")
    entry = pe + 24 + 112 + 4 * 8  # PE32+: data directory 4
    offset = int.from_bytes(image[entry:entry + 4], "little")
    check(offset, "the image is not signed")
    image[entry:entry + 8] = bytes(8)
    return bytes(image[:offset])


def tamper_grub(raw):
    content = bytearray(esp_read(raw, GRUB))
    content[0x20000] ^= 1
    esp_write(raw, GRUB, bytes(content))


def refused(site, name, change):
    site.install_image(name, change)
    site.create(name, name, "--no-wait")
    boot = site.wait_outcome(name)
    verdict = site.attestation(name)
    check(verdict.get("status") != "Healthy", verdict)
    page = site.cli("vm", "show", name)
    check(boot["message"] in page, f"the page does not say '{boot['message']}':\n{page}")
    site.wait_power(name, "stopped")
    site.cli("vm", "delete", name, "--yes")
    return boot


def test_tampered_grub_is_refused_by_shim(site):
    boot = refused(site, "tampered-grub", tamper_grub)
    check(boot["outcome"] == "Refused" and boot["component"] == "shim" and "grubx64.efi" in boot["file"].lower(), boot)


def test_unsigned_kernel_is_refused_by_grub(site):
    boot = refused(site, "unsigned-kernel", lambda raw: esp_write(raw, KERNEL, strip_signature(esp_read(raw, KERNEL))))
    check(boot["outcome"] == "Refused" and boot["component"] == "grub" and "vmlinuz" in boot["file"].lower(), boot)


def test_unsigned_boot_loader_is_refused_by_the_firmware(site):
    boot = refused(site, "unsigned-loader", lambda raw: esp_write(raw, SHIM, strip_signature(esp_read(raw, SHIM))))
    check(boot["outcome"] == "Refused" and boot["component"] == "firmware" and "bootx64.efi" in boot["file"].lower(), boot)


def test_no_boot_loader_is_nothing_to_boot(site):
    boot = refused(site, "no-loader", lambda raw: esp_delete(raw, SHIM))
    check(boot["outcome"] == "NothingToBoot", boot)

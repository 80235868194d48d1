# shellcheck shell=bash disable=SC2034,SC2154
# debian-12-mini: Debian's signed shim, grub and cloud kernel with busybox in an initramfs. Boots in seconds, keeps nothing on disk.

recipe_programs=(cpio gzip modinfo strip readelf)
recipe_steps=5
recipe_work_mib=256 recipe_result_mib=64
# Nothing in it writes to its disk, so no update changes its initrd or its command line.
immutable=yes
# The seed may be ISO 9660 or FAT, which wants its character sets.
mini_modules=(efivarfs virtio_pci virtio_blk virtio_console button evdev isofs vfat nls_cp437 nls_ascii virtio_net virtio_scsi sd_mod)

# copy_modules KERNEL_RELEASE ROOT: the modules and what they depend on, with modules.list in the order to load them.
copy_modules() {
  local base=$work/packages/lib/modules/$1 root=$2 module
  mkdir -p "$root/lib/modules"
  : > "$root/lib/modules/modules.list"
  for module in "${mini_modules[@]}"; do copy_module "$module"; done
}
copy_module() {
  local file needed
  grep -qx "$1" "$root/lib/modules/modules.list" && return
  file=$(find "$base" -name "$1.ko" | head -1)
  [ -n "$file" ] || die "the kernel package has no module $1"
  for needed in $(modinfo -F depends "$file" | tr ',' ' '); do copy_module "$needed"; done
  cp "$file" "$root/lib/modules/"
  echo "$1" >> "$root/lib/modules/modules.list"
}

make_initramfs() {
  local root=$work/initramfs release=$1 applet
  mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,run,tmp,root,mnt}
  cp "$work/packages/bin/busybox" "$root/bin/busybox"
  for applet in sh mount umount; do ln -s busybox "$root/bin/$applet"; done
  copy_modules "$release" "$root"
  cp -R "$share/." "$root/"
  chmod 755 "$root/init" "$root/etc/rc" "$root/etc/udhcpc" "$root/etc/acpi/PWRF/00000080"
  rm -f "$root/grub.cfg"
  if [ -n "$agent" ]; then
    install_agent "$root/bin/bootseal-agent"
  else
    sed -i '/bootseal-agent/d' "$root/etc/inittab"
  fi
  install_additions "$root"
  fix_times "$root"
  (cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible) | gzip -9 -n > "$work/esp/initrd.gz"
}

build() {
  local kernel_package release
  progress "fetching Debian's signed boot chain"
  mkdir -p "$work/packages" "$work/esp"
  kernel_package=$(kernel_package_name)
  for package in shim-signed shim-helpers-amd64-signed grub-efi-amd64-signed busybox-static "$kernel_package"; do fetch_package "$package"; done
  release=${kernel_package#linux-image-}

  progress "making the initramfs"
  boot_tree "$work/esp"
  cp "$share/grub.cfg" "$work/esp/EFI/debian/grub.cfg"
  cp "$work/packages/boot/vmlinuz-$release" "$work/esp/vmlinuz"
  make_initramfs "$release"

  progress "laying out the disk"
  make_disk "$work/disk.raw" 64 62 0001
  copy_tree_to_esp "$work/esp" "$work/disk.raw"

  progress "compressing the disk"
  pack_disk "$work/disk.raw"

  progress "inspecting the boot chain"
  write_manifest "Debian 12 boot chain with busybox in memory: a small guest for tests and demonstrations" "Debian GNU/Linux 12 (mini)" 512 no \
    "$kernel_package" "shim:/EFI/BOOT/BOOTX64.EFI=$work/esp/EFI/BOOT/BOOTX64.EFI" "grub:/EFI/BOOT/grubx64.efi=$work/esp/EFI/BOOT/grubx64.efi" \
    "kernel:/vmlinuz=$work/esp/vmlinuz" "grubConfig:/EFI/debian/grub.cfg=$work/esp/EFI/debian/grub.cfg" "initrd:/initrd.gz=$work/esp/initrd.gz"
}

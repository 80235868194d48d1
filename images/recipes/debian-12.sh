# shellcheck shell=bash disable=SC2034,SC2154
# debian-12: Debian 12 with systemd, cloud-init (NoCloud) and ssh on an ext4 root, started by Debian's signed shim, grub and kernel.
# Takes packages from this machine's own package sources, or from --mirror, and a few minutes. As an ordinary user it needs subordinate ids (/etc/subuid).

recipe_programs=(mmdebstrap mke2fs strip readelf)
recipe_steps=6
recipe_work_mib=2560 recipe_result_mib=640
disk_mib=4096 esp_mib=128
root_uuid=${disk_id}00020002
filesystem_uuid=${disk_id}00030002
debian_packages=(
  linux-image-cloud-amd64 shim-signed grub-efi-amd64-signed
  systemd systemd-sysv systemd-resolved dbus libpam-systemd udev
  cloud-init cloud-guest-utils openssh-server sudo iproute2 ca-certificates netbase e2fsprogs kmod less
)

# Runs a program with the ids of the new root: directly as root, else in mmdebstrap's user namespace.
as_new_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    mmdebstrap --unshare-helper "$@"
  fi
}

# Sets `sources` to what mmdebstrap takes packages from: --mirror, or the files in which this machine names Debian's archive.
find_sources() {
  if [ -n "$mirror" ]; then
    sources=("deb $mirror bookworm main" "deb $mirror bookworm-updates main" "deb $mirror-security bookworm-security main")
    return
  fi
  mapfile -t sources < <(grep -lsE '^(deb|Suites:).*bookworm' /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources |
    xargs -r grep -lE '^(deb|URIs:).*/debian')
  [ ${#sources[@]} -gt 0 ] || die "this machine has no package source for Debian 12 in /etc/apt; name one with --mirror URL"
}

bootstrap() {
  local mode=unshare
  local -a sources
  find_sources
  [ "$(id -u)" != 0 ] || mode=root
  chmod 777 "$work"
  mmdebstrap --quiet --mode=$mode --variant=minbase --include="$(IFS=,; echo "${debian_packages[*]}")" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="'$share/customize' \"\$1\" '$work/files' '$root_uuid'" \
    bookworm "$work/root" \
    "${sources[@]}" >&2 || die "mmdebstrap could not make the root from ${sources[*]}; check them, or name a mirror with --mirror"
}

# What goes in beside the packages, as the guest sees it.
gather_files() {
  mkdir -p "$work/files"
  cp -R "$share/root/." "$work/files/"
  if [ -n "$agent" ]; then
    install_agent "$work/files/usr/sbin/bootseal-agent"
  else
    rm "$work/files/etc/systemd/system/bootseal-agent.service"
  fi
  install_additions "$work/files"
  chmod -R a+rX "$work/files"
}

# shellcheck disable=SC2016
installed_version() { as_new_root dpkg-query --admindir="$work/root/var/lib/dpkg" -W -f '${Version}' "$1"; }

build() {
  [ "$offline" = no ] || die "the recipe debian-12 cannot be built offline; give it a mirror with --mirror"
  local kernel first_root_sector=$((esp_first_sector + esp_mib * 2048)) package
  progress "installing Debian 12 and its signed boot chain"
  gather_files
  bootstrap

  progress "making the EFI system partition"
  local from=$work/root kernel_package
  kernel=$(readlink "$from/vmlinuz")
  kernel=${kernel##*/vmlinuz-}
  kernel_package=linux-image-$kernel
  mkdir -p "$work/esp" "$work/packages"
  ln -s ../root/usr "$work/packages/usr"
  boot_tree "$work/esp"
  cp "$share/grub.cfg" "$work/esp/EFI/debian/grub.cfg"
  sed -i "s/@ROOT_UUID@/$root_uuid/g; s/@FILESYSTEM_UUID@/$filesystem_uuid/g" "$work/esp/EFI/debian/grub.cfg"
  cp "$from/boot/vmlinuz-$kernel" "$work/vmlinuz"
  as_new_root cat "$from/boot/initrd.img-$kernel" > "$work/initrd.img"
  make_disk "$work/disk.raw" "$disk_mib" "$esp_mib" 0002 "$root_uuid"
  copy_tree_to_esp "$work/esp" "$work/disk.raw"

  progress "making the root file system"
  for package in shim-signed grub-efi-amd64-signed "$kernel_package"; do package_version["$package"]=$(installed_version "$package"); done
  chmod 666 "$work/disk.raw"
  # 1 MiB at the end stays free for the second GPT.
  as_new_root env E2FSPROGS_FAKE_TIME="$source_date" mke2fs -q -F -t ext4 -L bootseal-root -U "$filesystem_uuid" -m 1 \
    -E "offset=$((first_root_sector * 512)),hash_seed=$filesystem_uuid,lazy_itable_init=0,nodiscard" -d "$work/root" "$work/disk.raw" \
    "$((disk_mib - 1 - esp_mib - 1))M" 2> "$work/mke2fs.log" || die "mke2fs failed: $(tail -1 "$work/mke2fs.log")"

  progress "compressing the disk"
  pack_disk "$work/disk.raw"

  progress "inspecting the boot chain"
  write_manifest "Debian 12 with systemd, cloud-init and ssh" "Debian GNU/Linux 12 (bookworm)" 1024 yes "$kernel_package" \
    "shim:/EFI/BOOT/BOOTX64.EFI=$work/esp/EFI/BOOT/BOOTX64.EFI" "grub:/EFI/BOOT/grubx64.efi=$work/esp/EFI/BOOT/grubx64.efi" \
    "kernel:/boot/vmlinuz-$kernel=$work/vmlinuz" "grubConfig:/EFI/debian/grub.cfg=$work/esp/EFI/debian/grub.cfg" \
    "initrd:/boot/initrd.img-$kernel=$work/initrd.img"

  progress "cleaning up"
  as_new_root rm -rf "$work/root"
}

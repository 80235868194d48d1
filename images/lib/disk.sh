# shellcheck shell=bash disable=SC2154
# Disks as files: GPT by sfdisk, the ESP by mkfs.vfat and mtools at an offset, nothing mounted.

esp_first_sector=2048
disk_id=5a2c41d6-90b3-4e7f-8c15-b007 # the last 8 digits say which image
esp_type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
root_type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709 # Linux root, x86-64

# make_disk FILE SIZE_MIB ESP_MIB IMAGE_DIGITS [ROOT_PARTITION_UUID]: a GPT with an ESP and, when asked for, a root partition up to
# the end. All identities are fixed, which keeps PCR 5 the same for every build.
make_disk() {
  local file=$1 size_mib=$2 esp_mib=$3 digits=$4 root_uuid=${5:-} table
  rm -f "$file"
  truncate -s "${size_mib}M" "$file"
  table="label: gpt
label-id: ${disk_id}0000${digits}
unit: sectors
start=$esp_first_sector, size=$((esp_mib * 2048)), type=$esp_type, uuid=${disk_id}0001${digits}, name=ESP"
  [ -z "$root_uuid" ] || table="$table
start=$((esp_first_sector + esp_mib * 2048)), type=$root_type, uuid=$root_uuid, name=root"
  sfdisk --quiet "$file" <<< "$table" > /dev/null
  mkfs.vfat -F 32 -s 1 -i "0B5E${digits}" -n ESP --invariant --offset "$esp_first_sector" "$file" "$((esp_mib * 1024))" > /dev/null 2>&1
}

# copy_tree_to_esp FOLDER FILE: everything below FOLDER onto the ESP, in a fixed order with the times of the files.
copy_tree_to_esp() {
  local folder=$1 image="$2@@$((esp_first_sector * 512))" path
  fix_times "$folder"
  (
    export MTOOLS_SKIP_CHECK=1
    cd "$folder" || exit 1
    find . -mindepth 1 -type d | LC_ALL=C sort | while read -r path; do mmd -i "$image" "::${path#.}"; done
    find . -type f | LC_ALL=C sort | while read -r path; do mcopy -m -i "$image" "$path" "::${path#.}"; done
  )
}

# boot_tree FOLDER: the signed chain as firmware and the signed grub expect it (its fixed prefix is /EFI/debian).
boot_tree() {
  local from=$work/packages/usr/lib
  mkdir -p "$1/EFI/BOOT" "$1/EFI/debian"
  cp "$from/shim/shimx64.efi.signed" "$1/EFI/BOOT/BOOTX64.EFI"
  cp "$from/shim/mmx64.efi.signed" "$1/EFI/BOOT/mmx64.efi"
  cp "$from/grub/x86_64-efi-signed/grubx64.efi.signed" "$1/EFI/BOOT/grubx64.efi"
}

# pack_disk RAW: the compressed qcow2 of the result, replaced only when it is whole.
pack_disk() {
  qemu-img convert -q -f raw -O qcow2 -c "$1" "$out_dir/.disk.qcow2.new"
  mv "$out_dir/.disk.qcow2.new" "$out_dir/disk.qcow2"
}

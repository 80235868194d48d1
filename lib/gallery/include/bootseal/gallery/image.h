// Images that VMs are made from: the manifest beside each disk, the list of what is installed, and the
// inspection that fills in the boot chain.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/json/json.h"

namespace bootseal::gallery {

// One link of the boot chain; also what a baseline is made of.
struct BootComponent {
  std::string role;  // "shim", "grub", "kernel" or "bootApplication"
  std::string file;  // where it lies in the image: "/EFI/BOOT/BOOTX64.EFI"
  crypto::Sha256Digest authenticode_sha256;
  std::vector<std::string> signers;  // "signer <- issuer", one for each signature
  std::string version;
  std::string sbat;  // "grub,5;grub.debian,5"; empty when the file has none
  bool operator==(const BootComponent&) const = default;
};

// A file that grub reads and measures into PCR 9, by the SHA-256 of its content.
struct MeasuredFile {
  std::string role;  // "grubConfig", "kernel" or "initrd"
  std::string file;  // where it lies in the image: "/initrd.gz"
  crypto::Sha256Digest sha256;
  bool operator==(const MeasuredFile&) const = default;
};

// What grub measures of the image as it was made, beside the programs of the boot chain.
struct MeasuredBoot {
  bool immutable = false;  // the system never changes any of it: a difference is no update
  std::vector<MeasuredFile> files;
  std::vector<std::string> commands;  // of grub's configuration, as grub measures them into PCR 8
  std::string kernel_command_line;    // with the path of the kernel: "/vmlinuz console=ttyS0 quiet"
  bool operator==(const MeasuredBoot&) const = default;
};

struct ImageManifest {
  std::string name, version, description;
  std::string os_type = "Linux", os_name;
  std::string hyper_v_generation = "V2", architecture = "x64";
  std::string security_type = "TrustedLaunchSupported";
  std::string disk_file = "disk.qcow2", disk_format = "qcow2";
  std::uint64_t disk_virtual_size_bytes = 0;
  crypto::Sha256Digest disk_sha256;
  TimePoint created_time;
  std::uint64_t minimum_memory_mib = 0;
  bool agent = false, cloud_init = false;
  std::vector<BootComponent> boot_chain;
  std::optional<MeasuredBoot> measured_boot;               // images made before it was recorded have none
  std::string shim_package, grub_package, kernel_package;  // "16.1-2~deb12u1"; empty when not from a package
  bool operator==(const ImageManifest&) const = default;
};

// manifest.json (docs/architecture.md, Images). Errors: invalid_argument with the path of the field: missing
// or unknown values, names that are no resource names, a disk file that is not a plain file name, a format
// other than qcow2, sizes out of range.
Result<ImageManifest> parse_manifest(std::string_view text);
std::string serialize_manifest(const ImageManifest& manifest);

json::Object component_to_json(const BootComponent& component);
Result<BootComponent> component_from_json(json::Reader& reader);

json::Object measured_boot_to_json(const MeasuredBoot& measured);
Result<MeasuredBoot> measured_boot_from_json(json::Reader& reader);
// Fills in `commands` and `kernel_command_line` from a grub.cfg of plain commands. unsupported, naming the
// line, when it holds variables, quotes, blocks or conditions, or no command `linux`: what grub measures is
// what it runs.
Status read_grub_config(std::string_view text, MeasuredBoot& measured);

struct ImageRecord {
  ImageManifest manifest;
  std::filesystem::path folder, disk;  // absolute as far as the folder given was
};

// The images under `folder` (HOME/images/NAME/VERSION/manifest.json), by name and then newest version first.
// A folder that does not exist holds none. A manifest that cannot be read, that names another image than its
// folder, or whose disk is missing does not hide the others: it is left out and appended to `problems` when
// given.
Result<std::vector<ImageRecord>> list_images(const std::filesystem::path& folder,
                                             std::vector<Error>* problems = nullptr);
// "name" (the newest version), "name:latest" or "name:version". Errors: not_found listing what there is;
// invalid_argument.
Result<ImageRecord> find_image(const std::filesystem::path& folder, std::string_view reference);

// Orders versions as people do: numbers by value, the rest by text ("12.10" after "12.9").
std::strong_ordering compare_versions(std::string_view a, std::string_view b);

// Reads a boot file: Authenticode hash, signers, SBAT, version. Errors: invalid_argument for an unknown role;
// as uefi::PeImage::parse and uefi::image_signatures for the file.
Result<BootComponent> inspect_component(std::string role, std::string file, ByteSpan content);

}  // namespace bootseal::gallery

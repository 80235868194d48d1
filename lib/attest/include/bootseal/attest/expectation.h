// What a VM is expected to be: how it was asked for, and what its image is made of.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/crypto/digest.h"
#include "bootseal/json/json.h"

namespace bootseal::attest {

enum class Role : std::uint8_t { shim, grub, kernel, boot_application };
std::string_view role_name(Role role);  // "shim", "grub", "kernel", "bootApplication"

// One program of the boot chain, as the image's manifest lists it.
struct Component {
  Role role = Role::boot_application;
  std::string file;
  crypto::Sha256Digest authenticode_sha256;
  std::vector<std::string> signers;
  std::string version;
  std::optional<std::string> sbat;
};

// What grub reads, and measures into PCR 9 by the SHA-256 of its content.
enum class FileRole : std::uint8_t { grub_config, kernel, initrd };
std::string_view file_role_name(FileRole role);  // "grubConfig", "kernel", "initrd"

struct MeasuredFile {
  FileRole role = FileRole::initrd;
  std::string file;
  crypto::Sha256Digest sha256;
};

// What grub measured of the image as it was made.
struct MeasuredBoot {
  bool immutable =
      false;  // the image never changes any of it by itself: a difference is a failure, not a note
  std::vector<MeasuredFile> files;
  std::vector<std::string> commands;  // of grub.cfg, in order
  std::string kernel_command_line;    // with the path of the kernel
};

struct Baseline {
  std::string image;
  std::vector<Component> components;  // in boot order; several of one role are alternatives. Empty = nothing
                                      // is known of the image
  std::optional<MeasuredBoot> measured_boot;  // nullopt = not recorded: nothing is said about it
};

struct Expectation {
  std::string vm_name;
  bool secure_boot = true;
  bool vtpm = true;
  Baseline baseline;
};

inline constexpr std::size_t kMaximumComponents = 1024;
inline constexpr std::size_t kMaximumMeasuredFiles = 32;
inline constexpr std::size_t kMaximumCommands = 1024;

// docs/architecture.md, attestd. invalid_argument with the path of the first field that is wrong.
Result<Expectation> parse_expectation(const json::Value& document);
json::Value to_json(const Expectation& expectation);

}  // namespace bootseal::attest

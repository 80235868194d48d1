// What the guest says about itself.
#pragma once

#include <filesystem>
#include <string>

#include "bootseal/base/bytes.h"

namespace bootseal::agent {

inline constexpr std::string_view kDefaultEventLog = "/sys/kernel/security/tpm0/binary_bios_measurements";
inline constexpr std::size_t kMaximumEventLog = std::size_t{1} << 20;

struct Machine {
  std::string kernel_release;  // uname -r
  std::string os_name;         // PRETTY_NAME of os-release(5)
  std::string boot_id;         // /proc/sys/kernel/random/boot_id

  static Machine describe();
};

// PRETTY_NAME in the text of os-release(5), unquoted; "Linux" when it is not there.
std::string pretty_name(std::string_view os_release);

// The firmware's event log as the kernel shows it. The default path needs securityfs, which is mounted when
// it is not. not_found with the reason when the kernel has no log.
Result<Bytes> read_event_log(const std::filesystem::path& path);

}  // namespace bootseal::agent

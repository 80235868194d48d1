// What the text of a serial port says about a boot.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace bootseal::uefi {

// The last MiB of a serial port as lines of plain text: without escape sequences (a moved cursor begins a
// line), other bytes than printable ASCII as blanks.
std::string plain_text(std::string_view serial);

enum class Refuser { firmware, firmware_direct_kernel, shim, shim_itself, grub };

struct SerialSigns {
  bool booted = false;             // an operating system spoke, and no firmware after it
  std::optional<Refuser> refuser;  // the last refusal of the last boot
  bool nothing_to_boot = false;    // the firmware tried everything and found no loader
  bool firmware_started_something = false;
  bool grub_spoke = false;
  bool grub_policy_error = false;  // grub would not load something; harmless unless it was the kernel
  std::string panic;               // the kernel's last words
};

// Looks at the last boot in the text: what follows the last words of an operating system. Linear in the text.
SerialSigns read_signs(std::string_view plain);

}  // namespace bootseal::uefi

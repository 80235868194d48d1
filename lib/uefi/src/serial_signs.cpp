#include "serial_signs.h"

#include <algorithm>
#include <array>
#include <utility>

namespace bootseal::uefi {
namespace {

constexpr std::size_t kMaximumText = std::size_t{1} << 20;
constexpr char kEscape = 0x1b;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool contains(std::string_view text, std::string_view needle) {
  return text.find(needle) != std::string_view::npos;
}

// Skips one escape sequence that begins at `i`; true when it moved the cursor or cleared the screen.
bool skip_escape(std::string_view serial, std::size_t& i) {
  ++i;
  if (i >= serial.size() || serial[i] != '[') return false;
  ++i;
  while (i < serial.size() &&
         (is_digit(serial[i]) || serial[i] == ';' || serial[i] == '?' || serial[i] == '='))
    ++i;
  return i < serial.size() && (serial[i] == 'H' || serial[i] == 'J');
}

// "[    6.187922] reboot: Power down"
bool is_kernel_message(std::string_view line) {
  if (!line.starts_with('[')) return false;
  line.remove_prefix(1);
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  std::size_t seconds = 0, fraction = 0;
  while (seconds < line.size() && is_digit(line[seconds])) ++seconds;
  if (seconds == 0 || seconds >= line.size() || line[seconds] != '.') return false;
  line.remove_prefix(seconds + 1);
  while (fraction < line.size() && is_digit(line[fraction])) ++fraction;
  return fraction == 6 && line.substr(6).starts_with("] ");
}

bool is_from_operating_system(std::string_view line) {
  if (is_kernel_message(line) || line.starts_with("Linux version ")) return true;
  // A getty's prompt, and the banner of our small image.
  return line.ends_with(" login:") || (line.starts_with("bootseal ") && line.ends_with(" ready"));
}

std::optional<Refuser> refusal_in(std::string_view line) {
  const bool bds =
      contains(line, "BdsDxe: failed to load Boot") || contains(line, "BdsDxe: failed to start Boot");
  if (bds) {
    // With Secure Boot on the built-in shell is always refused; that says nothing about the disk.
    if (contains(line, "EFI Internal Shell")) return std::nullopt;
    if (contains(line, ": Access Denied") || contains(line, ": Security Violation")) return Refuser::firmware;
    return std::nullopt;
  }
  constexpr std::array<std::pair<std::string_view, Refuser>, 5> kTexts = {{
      {"Fallback to insecure legacy linux kernel loader is disabled", Refuser::firmware_direct_kernel},
      {"Verification failed: (0x1A) Security Violation", Refuser::shim},
      {"Verifying shim SBAT data failed", Refuser::shim_itself},
      {"SBAT self-check failed", Refuser::shim_itself},
      {"error: bad shim signature", Refuser::grub},
  }};
  for (const auto& [text, refuser] : kTexts) {
    if (contains(line, text)) return refuser;
  }
  return std::nullopt;
}

std::string_view trimmed(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return line.substr(begin, line.find_last_not_of(' ') - begin + 1);
}

void read_line(std::string_view line, SerialSigns& signs) {
  if (contains(line, "Kernel panic - not syncing")) {
    signs = {.panic = std::string(line.substr(line.find("Kernel panic")))};
    return;
  }
  if (is_from_operating_system(line)) {
    // What a kernel says after its panic is no sign of life.
    if (signs.panic.empty()) signs = {.booted = true};
    return;
  }
  if (contains(line, "BdsDxe: ")) {
    signs.booted = false;
    signs.panic.clear();
  }
  if (const auto refuser = refusal_in(line)) {
    signs.refuser = refuser;
    signs.booted = false;
  }
  const bool shell = contains(line, "EFI Internal Shell");
  if (contains(line, "BdsDxe: starting Boot") && !shell) {
    signs.firmware_started_something = true;
    signs.nothing_to_boot = false;
  }
  // The built-in shell comes last; that it was reached, or refused, means that nothing else is left.
  const bool shell_refused = shell && contains(line, "BdsDxe: failed to start Boot");
  if (shell_refused || contains(line, "BdsDxe: No bootable option or device was found") ||
      contains(line, "UEFI Interactive Shell")) {
    signs.nothing_to_boot = true;
  }
  if (contains(line, "prohibited by secure boot policy")) signs.grub_policy_error = true;
  if (signs.grub_policy_error && contains(line, "you need to load the kernel first"))
    signs.refuser = Refuser::grub;
  if (contains(line, "Welcome to GRUB!") || contains(line, "GNU GRUB ")) signs.grub_spoke = true;
}

}  // namespace

std::string plain_text(std::string_view serial) {
  if (serial.size() > kMaximumText) serial.remove_prefix(serial.size() - kMaximumText);
  std::string text;
  text.reserve(serial.size());
  for (std::size_t i = 0; i < serial.size(); ++i) {
    const char c = serial[i];
    if (c == kEscape) {
      if (skip_escape(serial, i)) text += '\n';
    } else if (c == '\n') {
      text += '\n';
    } else if (c != '\r') {
      text += c >= ' ' && c <= '~' ? c : ' ';
    }
  }
  return text;
}

SerialSigns read_signs(std::string_view plain) {
  SerialSigns signs;
  while (!plain.empty()) {
    const std::size_t end = std::min(plain.find('\n'), plain.size());
    read_line(trimmed(plain.substr(0, end)), signs);
    plain.remove_prefix(std::min(end + 1, plain.size()));
  }
  return signs;
}

}  // namespace bootseal::uefi

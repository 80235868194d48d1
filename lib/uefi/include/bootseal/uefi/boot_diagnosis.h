// Why a VM did not come up: told from its serial text and from its memory, without its help.
//
// Guest memory is written by the guest, so this explains and never proves: a refused image has not run, but
// what ran before it may have written anything. Trust comes from attestation.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/bytes.h"
#include "bootseal/crypto/digest.h"

namespace bootseal::uefi {

enum class BootOutcome : std::uint8_t { booted, refused, nothing_to_boot, did_not_boot };
std::string_view boot_outcome_name(
    BootOutcome outcome);  // "Booted", "Refused", "NothingToBoot", "DidNotBoot"

// EFI_IMAGE_EXECUTION_ACTION (UEFI 2.10 section 32.5.3.1), without the INITIALIZED bit.
enum class ImageAction : std::uint8_t {
  untested = 0,
  signature_failed = 1,
  signature_passed = 2,
  signature_not_found = 3,
  signature_found = 4,
  policy_failed = 5
};

// One entry of EFI_IMAGE_EXECUTION_INFO_TABLE: an image that the firmware did not accept.
struct ImageExecution {
  ImageAction action = ImageAction::untested;
  std::string name;  // "PciRoot(0x0)/…/\EFI\BOOT\BOOTX64.EFI"
  std::string file;  // "\EFI\BOOT\BOOTX64.EFI" from the device path; "" when it has none
  std::optional<crypto::Sha256Digest> sha256;  // Authenticode hash, when the firmware put one in
};

// The table that begins at `address` of the memory. Errors: corrupt. At most 64 entries are read.
Result<std::vector<ImageExecution>> parse_image_executions(ByteSpan memory, std::uint64_t address);

// What can be found in guest memory from physical address 0.
struct MemoryFindings {
  bool system_table = false;     // the EFI system table was found
  bool execution_table = false;  // and it names an image execution table
  std::vector<ImageExecution> executions;
  Bytes event_log;  // the TCG crypto-agile event log with the most events, as the firmware wrote it; empty
                    // when there is none
};

// Guest memory from physical address 0, wherever it lies.
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  // Fills `out`, which lies within size(). False when it cannot be read, or not any more.
  [[nodiscard]] virtual bool read(std::uint64_t address, MutableByteSpan out) const = 0;
};
// Reads with a few MiB of its own, however large the memory is. What cannot be read is passed over. Tables
// and logs that only look like ones are tried at most 64 times each, so that a guest cannot make this take
// long.
MemoryFindings scan_memory(const GuestMemory& memory);
MemoryFindings scan_memory(ByteSpan memory);

struct BootEvidence {
  std::string_view serial;   // what the first serial port said since power on, raw; the last MiB is looked at
  ByteSpan memory;           // guest memory from address 0 (below 4 GiB); empty when there is no dump
  bool agent_spoke = false;  // the agent's hello or a quote came through since the last start or reset
};

struct BootDiagnosis {
  BootOutcome outcome = BootOutcome::did_not_boot;
  std::string
      component;  // what was refused or last started: "bootApplication", "grub", "kernel"; "" when not known
  std::string file;        // its file, as far as known
  std::string refused_by;  // "firmware", "shim", "grub"; "" unless refused
  std::string message;     // one or two plain sentences: what happened and what to do
  std::optional<crypto::Sha256Digest>
      sha256;  // Authenticode hash of the refused image, when the firmware gave one
};

// Never fails: what cannot be read is not evidence. Time is linear in serial and memory (a second or less for
// 2 GiB).
BootDiagnosis diagnose_boot(const BootEvidence& evidence);
// With what scan_memory() found, instead of the memory.
BootDiagnosis diagnose_boot(std::string_view serial, const MemoryFindings& findings, bool agent_spoke);

// True when the text shows that waiting longer is of no use (a refusal, nothing to boot, a panic): time to
// dump the memory and diagnose.
bool serial_shows_end_of_boot(std::string_view serial);

}  // namespace bootseal::uefi

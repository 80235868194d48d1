// SBAT: generation-based revocation of boot loaders (https://github.com/rhboot/shim/blob/main/SBAT.md).
#pragma once

#include <string>
#include <vector>

#include "bootseal/base/bytes.h"

namespace bootseal::uefi {

struct SbatEntry {
  std::string component;  // "shim", "shim.debian", "grub", …
  std::uint32_t generation = 0;
  std::string vendor, package, version, url;  // empty in a revocation level
  bool operator==(const SbatEntry&) const = default;
};

// The CSV of a .sbat section (or of SbatLevel), up to 64 KiB and 256 rows; ends at a NUL. Errors: corrupt
// with the row.
Result<std::vector<SbatEntry>> parse_sbat(ByteSpan section);
// "grub,5;grub.debian,5": components and generations without the format's own row.
std::string summarize_sbat(const std::vector<SbatEntry>& entries);
// The first component that is older than `level` asks for; empty when none is (then shim accepts the image).
std::string first_revoked(const std::vector<SbatEntry>& image, const std::vector<SbatEntry>& level);

}  // namespace bootseal::uefi

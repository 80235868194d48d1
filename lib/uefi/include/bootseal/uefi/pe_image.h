// PE/COFF images as UEFI loads them: headers, sections, certificate table, Authenticode hash (Microsoft
// PE/COFF specification; Windows Authenticode Portable Executable Signature Format, March 2008).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/bytes.h"
#include "bootseal/crypto/digest.h"

namespace bootseal::uefi {

inline constexpr std::uint16_t kMachineX64 = 0x8664;
inline constexpr std::uint16_t kSubsystemEfiApplication = 10;

struct PeSection {
  std::string name;  // without ending NULs; long names as the string table gives them
  std::uint32_t virtual_address = 0, virtual_size = 0;
  std::uint32_t raw_offset = 0, raw_size = 0;  // inside the file
};

// A parsed image; borrows the bytes of the file, which must outlive it.
class PeImage {
 public:
  // Errors: corrupt, naming the field, when a header, section or the certificate table does not lie inside
  // the file or overlaps what it must not; unsupported when it is no PE32+ image.
  static Result<PeImage> parse(ByteSpan file);

  [[nodiscard]] ByteSpan file() const { return file_; }
  [[nodiscard]] std::uint16_t machine() const { return machine_; }
  [[nodiscard]] std::uint16_t subsystem() const { return subsystem_; }
  [[nodiscard]] const std::vector<PeSection>& sections() const { return sections_; }
  // The bytes of a section: as many as are both in the file and in memory.
  [[nodiscard]] std::optional<ByteSpan> section(std::string_view name) const;
  // Directory entry 4; empty for an unsigned image.
  [[nodiscard]] ByteSpan certificate_table() const {
    return file_.subspan(certificate_offset_, certificate_size_);
  }

  // The hash that firmware measures into PCR 4 and compares with db and dbx.
  [[nodiscard]] crypto::Sha256Digest authenticode_sha256() const;
  // The same with another algorithm.
  [[nodiscard]] Bytes authenticode_digest(crypto::HashAlgorithm algorithm) const;

 private:
  explicit PeImage(ByteSpan file) : file_(file) {}

  ByteSpan file_;
  std::uint16_t machine_ = 0, subsystem_ = 0;
  std::size_t checksum_offset_ = 0, certificate_entry_offset_ = 0, headers_size_ = 0;
  std::size_t certificate_offset_ = 0, certificate_size_ = 0;
  std::vector<PeSection> sections_;
};

// The version string of a Linux kernel image: "6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 …"
// (Linux boot protocol, header field kernel_version). not_found when the file is no bzImage or does not say
// its version.
Result<std::string> linux_kernel_version(ByteSpan file);

}  // namespace bootseal::uefi

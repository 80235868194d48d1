#include "header_correction.h"

#include <memory>

namespace bootseal::vmgs {
namespace {

constexpr std::size_t kChecksumFrom = offsetof(Header, checksum);
constexpr std::size_t kChecksumTo = kChecksumFrom + sizeof(std::uint32_t);
constexpr unsigned kByteValues = 256;

// How the checksum changes when one byte of the header does: CRC-32 is linear, so it depends on place and
// difference only.
class Differences {
 public:
  Differences() {
    const std::uint32_t of_zeroes = crc32(wire_bytes(Header{}));
    for (std::size_t at = 0; at < sizeof(Header); ++at) {
      table_[at][0] = 0;
      for (unsigned bit = 0; bit < 8; ++bit) {
        Bytes bytes(sizeof(Header));
        bytes[at] = static_cast<std::byte>(1U << bit);
        table_[at][1U << bit] = crc32(bytes) ^ of_zeroes;
      }
      for (unsigned value = 1; value < kByteValues; ++value) {
        const unsigned lowest = value & (~value + 1);
        table_[at][value] = table_[at][value ^ lowest] ^ table_[at][lowest];
      }
    }
  }
  [[nodiscard]] std::uint32_t of(std::size_t at, unsigned value) const { return table_[at][value]; }

 private:
  std::array<std::array<std::uint32_t, kByteValues>, sizeof(Header)> table_{};
};

}  // namespace

std::optional<Header> corrected(const Header& header) {
  static const auto differences = std::make_unique<const Differences>();
  const std::uint32_t stored = header.checksum;
  const std::uint32_t wrong_by = stored ^ header_checksum(header);
  if (wrong_by == 0) return std::nullopt;
  std::optional<Header> found;
  for (std::size_t at = 0; at < sizeof(Header); ++at) {
    for (unsigned value = 1; value < kByteValues; ++value) {
      const bool in_checksum = at >= kChecksumFrom && at < kChecksumTo;
      const std::uint32_t effect =
          in_checksum ? value << (8 * (at - kChecksumFrom)) : differences->of(at, value);
      if (effect != wrong_by) continue;
      Bytes bytes = to_bytes(wire_bytes(header));
      bytes[at] ^= static_cast<std::byte>(value);
      const auto candidate = from_wire<Header>(bytes);
      if (find_fault(candidate)) continue;
      if (found) return std::nullopt;
      found = candidate;
    }
  }
  return found;
}

}  // namespace bootseal::vmgs

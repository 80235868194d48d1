// VMGS version 3 on disk: sizes, offsets and the checks of single structures. All integers of the body are
// little endian, those of the footer big endian. Nothing here reads or writes a device.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <optional>
#include <string>

#include "bootseal/vmgs/store.h"

namespace bootseal::vmgs {

// An integer of fixed byte order without alignment, so that structures of them have no padding.
template <std::unsigned_integral T, std::endian kOrder>
class WireInteger {
 public:
  constexpr WireInteger() = default;
  constexpr WireInteger(T value) {  // NOLINT(google-explicit-constructor): stands for the integer
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_[kOrder == std::endian::little ? i : sizeof(T) - 1 - i] =
          static_cast<std::byte>(value >> (8 * i));
    }
  }
  constexpr operator T() const {  // NOLINT(google-explicit-constructor): stands for the integer
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      const auto digit = std::to_integer<T>(bytes_[kOrder == std::endian::little ? i : sizeof(T) - 1 - i]);
      value = static_cast<T>(value | static_cast<T>(digit << (8 * i)));
    }
    return value;
  }

 private:
  std::array<std::byte, sizeof(T)> bytes_{};
};
using Le16 = WireInteger<std::uint16_t, std::endian::little>;
using Le32 = WireInteger<std::uint32_t, std::endian::little>;
using Le64 = WireInteger<std::uint64_t, std::endian::little>;
using Be32 = WireInteger<std::uint32_t, std::endian::big>;
using Be64 = WireInteger<std::uint64_t, std::endian::big>;

template <std::size_t kSize>
using Field = std::array<std::byte, kSize>;
inline bool is_zero(ByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

inline constexpr std::uint64_t kSignature = 0x5354525453455547;  // "GUESTRTS"
inline constexpr std::uint32_t kVersion3 = 0x00030000;
inline constexpr std::uint32_t kLowestBlock = 2;
inline constexpr std::uint16_t kAlgorithmNone = 0;
inline constexpr std::uint16_t kAlgorithmAesGcm = 1;
inline constexpr std::uint16_t kMarkerReprovisioned = 1;
inline constexpr std::uint32_t kAttributesSealed = 3;  // encrypted | authenticated
inline constexpr std::size_t kNonceSize = 12;
inline constexpr std::size_t kTagSize = 16;

// The metadata key, sealed by the key of the store. All zero = no key in this slot.
struct KeySlot {
  Field<kNonceSize> nonce{};
  Le32 reserved;
  Field<kTagSize> tag{};
  Field<kKeySize> wrapped_key{};

  [[nodiscard]] bool empty() const {
    return is_zero(nonce) && reserved == 0 && is_zero(tag) && is_zero(wrapped_key);
  }
};
static_assert(sizeof(KeySlot) == 64 && alignof(KeySlot) == 1);

struct Header {
  Le64 signature;
  Le32 version;
  Le32 checksum;  // CRC-32 of this structure with 0 here
  Le32 sequence;
  Le32 header_size;
  Le32 file_table_block;
  Le32 file_table_blocks;
  Le16 algorithm;
  Le16 markers;
  std::array<KeySlot, 2> key_slots;
  Le32 reserved;
};
static_assert(sizeof(Header) == 168 && alignof(Header) == 1);
static_assert(offsetof(Header, algorithm) == 32 && offsetof(Header, key_slots) == 36 &&
              offsetof(Header, reserved) == 164);

struct FileEntry {
  Le32 block;
  Le32 blocks;  // 0 = there is no such file
  Le64 size;
  Field<kNonceSize> nonce{};
  Field<kTagSize> tag{};
  Le32 attributes;
  Field<16> reserved{};

  [[nodiscard]] bool allocated() const { return blocks != 0; }
};
static_assert(sizeof(FileEntry) == 64 && alignof(FileEntry) == 1 && offsetof(FileEntry, attributes) == 44);

struct ExtendedEntry {
  Le32 attributes;
  Field<kKeySize> key{};
  Field<28> reserved{};
};
static_assert(sizeof(ExtendedEntry) == 64 && alignof(ExtendedEntry) == 1 &&
              offsetof(ExtendedEntry, key) == 4);

using FileTable = std::array<FileEntry, kFileCount>;
using ExtendedTable = std::array<ExtendedEntry, kFileCount>;
static_assert(sizeof(FileTable) == kBlockSize && sizeof(ExtendedTable) == kBlockSize);

// The footer of a fixed VHD (Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format").
struct VhdFooter {
  Field<8> cookie{};
  Be32 features;
  Be32 version;
  Be64 data_offset;
  Be32 time;
  Field<4> creator{};
  Be32 creator_version;
  Be32 creator_host;
  Be64 original_size;
  Be64 current_size;
  Be32 geometry;
  Be32 disk_type;
  Be32 checksum;  // the ones' complement of the sum of all other bytes
  Field<16> unique_id{};
  Field<428> reserved{};
};
static_assert(sizeof(VhdFooter) == kFooterSize && alignof(VhdFooter) == 1);
static_assert(offsetof(VhdFooter, current_size) == 48 && offsetof(VhdFooter, checksum) == 64 &&
              offsetof(VhdFooter, reserved) == 84);

// A structure from the front of `bytes`, which hold at least as many.
template <typename Wire>
Wire from_wire(ByteSpan bytes) {
  static_assert(std::is_trivially_copyable_v<Wire>);
  BOOTSEAL_CHECK(bytes.size() >= sizeof(Wire));
  Wire value;
  std::memcpy(static_cast<void*>(&value), bytes.data(), sizeof(Wire));
  return value;
}
// The bytes of a structure; they live as long as it does.
template <typename Wire>
ByteSpan wire_bytes(const Wire& value) {
  static_assert(std::is_trivially_copyable_v<Wire>);
  return std::as_bytes(std::span(&value, 1));
}

VhdFooter make_vhd_footer(std::uint64_t body_size, const Field<16>& unique_id);
// The body size that the footer of a file of `file_size` bytes names; corrupt when the footer is not one of a
// fixed VHD.
Result<std::uint64_t> body_size_of(const VhdFooter& footer, std::uint64_t file_size);

std::uint32_t header_checksum(Header header);

struct HeaderFault {
  Condition condition;
  std::string reason;
};
// The first check that fails, in the order signature, version, header size, table block, table blocks,
// algorithm (invalid_format), checksum (corrupt).
std::optional<HeaderFault> find_fault(const Header& header);

struct Extent {
  std::uint64_t block = 0;
  std::uint64_t blocks = 0;
};
// Why the place of an allocated entry is impossible in a store of `capacity` blocks.
std::optional<std::string> entry_fault(const FileEntry& entry, FileId id, std::uint64_t capacity);
// The extents of the table itself and of all files, sorted by block; corrupt when an entry lies outside of
// the `capacity` blocks, holds more bytes than its blocks, overlaps another, or when entry 0 is not the table
// at `table_block`.
Result<std::vector<Extent>> check_table(const FileTable& table, std::uint32_t table_block,
                                        std::uint64_t capacity);

}  // namespace bootseal::vmgs

// Byte sequences: spans, bounded readers and writers, hex and base64.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal {

using Bytes = std::vector<std::byte>;
using ByteSpan = std::span<const std::byte>;
using MutableByteSpan = std::span<std::byte>;

inline ByteSpan as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(ByteSpan bytes) {
  return {bytes.begin(), bytes.end()};
}
inline Bytes to_bytes(std::string_view text) {
  return to_bytes(as_bytes(text));
}
inline void append(Bytes& target, ByteSpan bytes) {
  target.insert(target.end(), bytes.begin(), bytes.end());
}

// Reads integers and slices from a span it does not own. Every read is checked against what remains; a read
// past the end fails with ErrorCode::corrupt, names the field asked for, and leaves the position where it
// was.
class ByteReader {
 public:
  explicit ByteReader(ByteSpan data) : data_(data) {}

  [[nodiscard]] std::size_t position() const { return position_; }
  [[nodiscard]] std::size_t remaining() const { return data_.size() - position_; }
  [[nodiscard]] bool at_end() const { return remaining() == 0; }
  [[nodiscard]] ByteSpan rest() const { return data_.subspan(position_); }

  Result<ByteSpan> take(std::size_t count, std::string_view field);
  Status skip(std::size_t count, std::string_view field);
  Result<std::uint8_t> u8(std::string_view field);
  Result<std::uint16_t> le16(std::string_view field);
  Result<std::uint32_t> le32(std::string_view field);
  Result<std::uint64_t> le64(std::string_view field);
  Result<std::uint16_t> be16(std::string_view field);
  Result<std::uint32_t> be32(std::string_view field);
  Result<std::uint64_t> be64(std::string_view field);

 private:
  ByteSpan data_;
  std::size_t position_ = 0;
};

// Appends integers and slices to a buffer it owns.
class ByteWriter {
 public:
  ByteWriter& u8(std::uint8_t value);
  ByteWriter& le16(std::uint16_t value);
  ByteWriter& le32(std::uint32_t value);
  ByteWriter& le64(std::uint64_t value);
  ByteWriter& be16(std::uint16_t value);
  ByteWriter& be32(std::uint32_t value);
  ByteWriter& be64(std::uint64_t value);
  ByteWriter& bytes(ByteSpan value);
  ByteWriter& text(std::string_view value) { return bytes(as_bytes(value)); }
  ByteWriter& fill(std::size_t count, std::byte value = std::byte{0});

  [[nodiscard]] std::size_t size() const { return buffer_.size(); }
  [[nodiscard]] ByteSpan view() const { return buffer_; }
  [[nodiscard]] Bytes take() { return std::move(buffer_); }

 private:
  Bytes buffer_;
};

// Integers at a fixed place. The caller has checked that offset + size is inside.
std::uint16_t load_le16(ByteSpan data, std::size_t offset);
std::uint32_t load_le32(ByteSpan data, std::size_t offset);
std::uint64_t load_le64(ByteSpan data, std::size_t offset);
std::uint16_t load_be16(ByteSpan data, std::size_t offset);
std::uint32_t load_be32(ByteSpan data, std::size_t offset);
std::uint64_t load_be64(ByteSpan data, std::size_t offset);
void store_le16(MutableByteSpan data, std::size_t offset, std::uint16_t value);
void store_le32(MutableByteSpan data, std::size_t offset, std::uint32_t value);
void store_le64(MutableByteSpan data, std::size_t offset, std::uint64_t value);
void store_be16(MutableByteSpan data, std::size_t offset, std::uint16_t value);
void store_be32(MutableByteSpan data, std::size_t offset, std::uint32_t value);
void store_be64(MutableByteSpan data, std::size_t offset, std::uint64_t value);

// Lower-case hex, two digits a byte.
std::string to_hex(ByteSpan bytes);
// Accepts upper and lower case, an even number of digits and nothing else; invalid_argument otherwise.
Result<Bytes> from_hex(std::string_view text);

// RFC 4648 section 4, with padding.
std::string to_base64(ByteSpan bytes);
// Accepts padded and unpadded text, no white space; invalid_argument otherwise.
Result<Bytes> from_base64(std::string_view text);
// RFC 4648 section 5, without padding.
std::string to_base64url(ByteSpan bytes);
Result<Bytes> from_base64url(std::string_view text);

// The number of bytes of the character that the text begins with; 0 when that is no well-formed UTF-8 (RFC
// 3629) or the text is empty.
std::size_t utf8_character_size(std::string_view text);
bool is_utf8(std::string_view text);

// CRC-32 as zlib computes it (IEEE 802.3, reflected 0xEDB88320).
std::uint32_t crc32(ByteSpan bytes);

}  // namespace bootseal

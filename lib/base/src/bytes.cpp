#include "bootseal/base/bytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <concepts>

namespace bootseal {
namespace {

template <std::unsigned_integral T>
T load_little(const std::byte* from) {
  T value = 0;
  for (std::size_t i = sizeof(T); i-- > 0;)
    value = static_cast<T>((value << 8) | std::to_integer<T>(from[i]));
  return value;
}

template <std::unsigned_integral T>
T load_big(const std::byte* from) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>((value << 8) | std::to_integer<T>(from[i]));
  return value;
}

template <std::unsigned_integral T>
void store_little(std::byte* to, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>((value >> (8 * i)) & 0xff);
}

template <std::unsigned_integral T>
void store_big(std::byte* to, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    to[i] = static_cast<std::byte>((value >> (8 * (sizeof(T) - 1 - i))) & 0xff);
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kBase64Url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string encode64(ByteSpan bytes, std::string_view alphabet, bool pad) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t have = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = (group << 8) | (k < have ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) {
      if (k <= have) {
        text += alphabet[(group >> (18 - 6 * k)) & 63];
      } else if (pad) {
        text += '=';
      }
    }
  }
  return text;
}

Result<Bytes> decode64(std::string_view text, std::string_view alphabet) {
  while (!text.empty() && text.back() == '=' && text.size() % 4 == 0) {
    text.remove_suffix(1);
    if (!text.empty() && text.back() == '=') text.remove_suffix(1);
    break;
  }
  if (text.size() % 4 == 1) return fail(ErrorCode::invalid_argument, "base64 text has an impossible length");
  std::array<std::int8_t, 256> values;
  values.fill(-1);
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    values[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
  Bytes bytes;
  bytes.reserve(text.size() * 3 / 4);
  std::uint32_t group = 0;
  unsigned bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::int8_t value = values[static_cast<unsigned char>(text[i])];
    if (value < 0)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("base64 text has a foreign character at offset {}", i));
    group = (group << 6) | static_cast<std::uint32_t>(value);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push_back(static_cast<std::byte>((group >> bits) & 0xff));
    }
  }
  if (bits > 0 && (group & ((1U << bits) - 1)) != 0)
    return fail(ErrorCode::invalid_argument, "base64 text has stray bits at its end");
  return bytes;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0xedb88320U ^ (value >> 1) : value >> 1;
    table[i] = value;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

}  // namespace

Result<ByteSpan> ByteReader::take(std::size_t count, std::string_view field) {
  if (count > remaining()) {
    return fail(ErrorCode::corrupt, fmt::format("{} needs {} bytes at offset {}, {} remain", field, count,
                                                position_, remaining()));
  }
  const ByteSpan slice = data_.subspan(position_, count);
  position_ += count;
  return slice;
}

Status ByteReader::skip(std::size_t count, std::string_view field) {
  BOOTSEAL_TRY_STATUS(take(count, field));
  return {};
}

Result<std::uint8_t> ByteReader::u8(std::string_view field) {
  BOOTSEAL_TRY(const ByteSpan slice, take(1, field));
  return std::to_integer<std::uint8_t>(slice[0]);
}

#define BOOTSEAL_READER(name, type, load)                          \
  Result<type> ByteReader::name(std::string_view field) {          \
    BOOTSEAL_TRY(const ByteSpan slice, take(sizeof(type), field)); \
    return load<type>(slice.data());                               \
  }
BOOTSEAL_READER(le16, std::uint16_t, load_little)
BOOTSEAL_READER(le32, std::uint32_t, load_little)
BOOTSEAL_READER(le64, std::uint64_t, load_little)
BOOTSEAL_READER(be16, std::uint16_t, load_big)
BOOTSEAL_READER(be32, std::uint32_t, load_big)
BOOTSEAL_READER(be64, std::uint64_t, load_big)
#undef BOOTSEAL_READER

ByteWriter& ByteWriter::u8(std::uint8_t value) {
  buffer_.push_back(static_cast<std::byte>(value));
  return *this;
}

#define BOOTSEAL_WRITER(name, type, store)                 \
  ByteWriter& ByteWriter::name(type value) {               \
    buffer_.resize(buffer_.size() + sizeof(type));         \
    store(&buffer_[buffer_.size() - sizeof(type)], value); \
    return *this;                                          \
  }
BOOTSEAL_WRITER(le16, std::uint16_t, store_little)
BOOTSEAL_WRITER(le32, std::uint32_t, store_little)
BOOTSEAL_WRITER(le64, std::uint64_t, store_little)
BOOTSEAL_WRITER(be16, std::uint16_t, store_big)
BOOTSEAL_WRITER(be32, std::uint32_t, store_big)
BOOTSEAL_WRITER(be64, std::uint64_t, store_big)
#undef BOOTSEAL_WRITER

ByteWriter& ByteWriter::bytes(ByteSpan value) {
  append(buffer_, value);
  return *this;
}

ByteWriter& ByteWriter::fill(std::size_t count, std::byte value) {
  buffer_.insert(buffer_.end(), count, value);
  return *this;
}

std::uint16_t load_le16(ByteSpan data, std::size_t offset) {
  return load_little<std::uint16_t>(data.data() + offset);
}
std::uint32_t load_le32(ByteSpan data, std::size_t offset) {
  return load_little<std::uint32_t>(data.data() + offset);
}
std::uint64_t load_le64(ByteSpan data, std::size_t offset) {
  return load_little<std::uint64_t>(data.data() + offset);
}
std::uint16_t load_be16(ByteSpan data, std::size_t offset) {
  return load_big<std::uint16_t>(data.data() + offset);
}
std::uint32_t load_be32(ByteSpan data, std::size_t offset) {
  return load_big<std::uint32_t>(data.data() + offset);
}
std::uint64_t load_be64(ByteSpan data, std::size_t offset) {
  return load_big<std::uint64_t>(data.data() + offset);
}
void store_le16(MutableByteSpan data, std::size_t offset, std::uint16_t value) {
  store_little(data.data() + offset, value);
}
void store_le32(MutableByteSpan data, std::size_t offset, std::uint32_t value) {
  store_little(data.data() + offset, value);
}
void store_le64(MutableByteSpan data, std::size_t offset, std::uint64_t value) {
  store_little(data.data() + offset, value);
}
void store_be16(MutableByteSpan data, std::size_t offset, std::uint16_t value) {
  store_big(data.data() + offset, value);
}
void store_be32(MutableByteSpan data, std::size_t offset, std::uint32_t value) {
  store_big(data.data() + offset, value);
}
void store_be64(MutableByteSpan data, std::size_t offset, std::uint64_t value) {
  store_big(data.data() + offset, value);
}

std::string to_hex(ByteSpan bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

Result<Bytes> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return fail(ErrorCode::invalid_argument, "hex text has an odd number of digits");
  Bytes bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("hex text has a foreign character at offset {}", i));
    bytes.push_back(static_cast<std::byte>(high * 16 + low));
  }
  return bytes;
}

std::string to_base64(ByteSpan bytes) {
  return encode64(bytes, kBase64, true);
}
Result<Bytes> from_base64(std::string_view text) {
  return decode64(text, kBase64);
}
std::string to_base64url(ByteSpan bytes) {
  return encode64(bytes, kBase64Url, false);
}
Result<Bytes> from_base64url(std::string_view text) {
  return decode64(text, kBase64Url);
}

std::size_t utf8_character_size(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t index) { return static_cast<std::uint8_t>(text[index]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t index = 1; index < size; ++index) {
    if ((byte(index) & 0xc0) != 0x80) return 0;
  }
  const std::uint8_t second = byte(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool surrogate = first == 0xed && second >= 0xa0;
  const bool beyond_unicode = first == 0xf4 && second >= 0x90;
  return overlong || surrogate || beyond_unicode ? 0 : size;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_character_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::uint32_t crc32(ByteSpan bytes) {
  std::uint32_t value = 0xffffffffU;
  for (const std::byte byte : bytes)
    value = kCrcTable[(value ^ std::to_integer<std::uint32_t>(byte)) & 0xff] ^ (value >> 8);
  return value ^ 0xffffffffU;
}

}  // namespace bootseal

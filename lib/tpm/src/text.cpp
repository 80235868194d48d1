#include "text.h"

#include <fmt/format.h>

#include "bootseal/tpm/event_content.h"

namespace bootseal::tpm {
namespace {

bool is_surrogate(std::uint32_t c) {
  return c >= 0xD800 && c < 0xE000;
}
bool is_control(std::uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0);
}

// Length of the well-formed, printable UTF-8 sequence at the beginning; 0 = none.
std::size_t sequence_length(ByteSpan bytes) {
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint32_t>(bytes[i]); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return is_control(lead) ? 0 : 1;
  const std::size_t length = lead >= 0xF0 && lead < 0xF5   ? 4
                             : lead >= 0xE0 && lead < 0xF0 ? 3
                             : lead >= 0xC2 && lead < 0xE0 ? 2
                                                           : 0;
  if (length == 0 || bytes.size() < length) return 0;
  std::uint32_t code_point = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
    code_point = (code_point << 6) | (byte(i) & 0x3FU);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool well_formed =
      code_point >= kSmallest[length] && code_point <= 0x10FFFF && !is_surrogate(code_point);
  return well_formed && !is_control(code_point) ? length : 0;
}

}  // namespace

std::string escaped_text(ByteSpan bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size();) {
    const std::size_t length = sequence_length(bytes.subspan(i));
    if (length == 0) {
      text += fmt::format("\\x{:02x}", std::to_integer<unsigned>(bytes[i]));
      ++i;
    } else {
      text += as_text(bytes.subspan(i, length));
      i += length;
    }
  }
  return text;
}

void append_code_point(std::string& text, std::uint32_t c) {
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (is_control(c) || is_surrogate(c)) {
    text += fmt::format("\\u{:04x}", c);
  } else if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

Result<std::string> text_from_utf16le(ByteSpan bytes) {
  if (bytes.size() % 2 != 0) return fail(ErrorCode::corrupt, "UTF-16 text has an odd number of bytes");
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    const std::uint32_t unit = load_le16(bytes, i);
    if (unit == 0) break;
    const bool high = unit >= 0xD800 && unit < 0xDC00;
    const std::uint32_t next = high && i + 4 <= bytes.size() ? load_le16(bytes, i + 2) : 0U;
    if (next >= 0xDC00 && next < 0xE000) {
      append_code_point(text, 0x10000 + ((unit - 0xD800) << 10) + (next - 0xDC00));
      i += 2;
    } else {
      append_code_point(text, unit);
    }
  }
  return text;
}

}  // namespace bootseal::tpm

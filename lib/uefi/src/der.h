// The little DER that Authenticode needs beside OpenSSL: walking definite-length elements (X.690
// section 10.1).
#pragma once

#include "bootseal/base/bytes.h"

namespace bootseal::uefi {

inline constexpr std::uint8_t kDerSequence = 0x30, kDerOctetString = 0x04, kDerObjectIdentifier = 0x06;

// Takes the next element off `rest` and returns its content. corrupt when the tag is another one or the
// length does not fit.
inline Result<ByteSpan> take_der(ByteSpan& rest, std::uint8_t tag, std::string_view what) {
  ByteReader reader(rest);
  BOOTSEAL_TRY(const std::uint8_t found, reader.u8(what));
  if (found != tag) return fail(ErrorCode::corrupt, std::string(what) + " has a foreign DER tag");
  BOOTSEAL_TRY(const std::uint8_t first, reader.u8(what));
  std::size_t length = first;
  if (first >= 0x80) {
    const unsigned octets = first & 0x7f;
    if (octets == 0 || octets > 4)
      return fail(ErrorCode::corrupt, std::string(what) + " has an impossible DER length");
    length = 0;
    for (unsigned i = 0; i < octets; ++i) {
      BOOTSEAL_TRY(const std::uint8_t octet, reader.u8(what));
      length = (length << 8) | octet;
    }
  }
  BOOTSEAL_TRY(const ByteSpan content, reader.take(length, what));
  rest = reader.rest();
  return content;
}

}  // namespace bootseal::uefi

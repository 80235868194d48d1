// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags.
#pragma once

#include <array>

#include "bootseal/base/bytes.h"

namespace bootseal::crypto {

inline constexpr std::size_t kAesKeySize = 32;
inline constexpr std::size_t kGcmNonceSize = 12;
inline constexpr std::size_t kGcmTagSize = 16;

struct Sealed {
  Bytes ciphertext;  // as long as the plaintext
  std::array<std::byte, kGcmTagSize> tag{};
};

// `key` has kAesKeySize bytes and `nonce` kGcmNonceSize; a (key, nonce) pair is used once only.
Sealed seal_aes_gcm(ByteSpan key, ByteSpan nonce, ByteSpan plaintext, ByteSpan associated_data = {});
// corrupt when the tag does not verify; the plaintext is not handed out then.
Result<Bytes> open_aes_gcm(ByteSpan key, ByteSpan nonce, ByteSpan ciphertext, ByteSpan tag,
                           ByteSpan associated_data = {});

}  // namespace bootseal::crypto

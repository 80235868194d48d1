// The encryption of swtpm's state files and migration blobs: AES-CBC under a user's key of 128 or 256 bits
// and an HMAC-SHA256 under the same key. Only for reading and writing what swtpm reads and writes; our own
// files are sealed otherwise (docs/guest-state.md).
#pragma once

#include "bootseal/base/bytes.h"
#include "bootseal/crypto/secret.h"
#include "bootseal/guest/swtpm_key.h"

namespace bootseal::guest {

inline constexpr std::size_t kSwtpmKey128 = 16;
inline constexpr std::size_t kSwtpmKey256 = 32;

struct SwtpmCiphertext {
  Bytes data;
  Bytes hmac;                   // SHA-256 over data and vector
  Bytes initialization_vector;  // as long as the key; AES uses its first 16 bytes
};

// `key` has kSwtpmKey128 or kSwtpmKey256 bytes. The padding goes up to the key's length, not AES' block.
SwtpmCiphertext swtpm_encrypt(ByteSpan key, ByteSpan plaintext);
// `vector` may be empty (zeroes). Errors: permission_denied when the HMAC or the padding is not right
// (another key, or damage), corrupt for lengths that cannot be.
Result<Bytes> swtpm_decrypt(ByteSpan key, ByteSpan data, ByteSpan hmac, ByteSpan vector);
// Of files from before swtpm 0.2: no vector, no HMAC, and SHA-256 of the content in front of it. Errors as
// swtpm_decrypt.
Result<Bytes> swtpm_decrypt_version1(ByteSpan key, ByteSpan data);

}  // namespace bootseal::guest

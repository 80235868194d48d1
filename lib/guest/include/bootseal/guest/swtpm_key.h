// What swtpm makes of a passphrase (--key pwdfile=…).
#pragma once

#include "bootseal/base/bytes.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::guest {

// The key of a passphrase, `size` bytes: PBKDF2-HMAC-SHA512 with 1000 rounds and the salt "swtpm", or the
// head of the passphrase's SHA-512.
crypto::Secret swtpm_key_from_passphrase_pbkdf2(ByteSpan passphrase, std::size_t size);
crypto::Secret swtpm_key_from_passphrase_sha512(ByteSpan passphrase, std::size_t size);

}  // namespace bootseal::guest

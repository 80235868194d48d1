// Keys from passphrases: scrypt (RFC 7914).
#pragma once

#include "bootseal/crypto/secret.h"

namespace bootseal::crypto {

struct ScryptParameters {
  std::uint64_t cost = 1U << 17;  // N: a power of two, 2^10 … 2^20; memory used is 128 · N · r bytes
  std::uint32_t block_size = 8;   // r: 1 … 16
  std::uint32_t parallelism = 1;  // p: 1 … 4
  bool operator==(const ScryptParameters&) const = default;
};

// `size` bytes. invalid_argument for parameters out of range (they may come from a file), exhausted when
// memory does not suffice.
Result<Secret> scrypt(ByteSpan passphrase, ByteSpan salt, const ScryptParameters& parameters,
                      std::size_t size);

}  // namespace bootseal::crypto

#include "bootseal/crypto/scrypt.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <bit>

#include "openssl.h"

namespace bootseal::crypto {

Result<Secret> scrypt(ByteSpan passphrase, ByteSpan salt, const ScryptParameters& parameters,
                      std::size_t size) {
  const auto& [cost, block_size, parallelism] = parameters;
  if (!std::has_single_bit(cost) || cost < (1U << 10) || cost > (1U << 20) || block_size < 1 ||
      block_size > 16 || parallelism < 1 || parallelism > 4) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("scrypt parameters N={} r={} p={} are out of range (N a power of two from 2^10 "
                            "to 2^20, r 1 to 16, p 1 to 4)",
                            cost, block_size, parallelism));
  }
  constexpr std::uint64_t kMemoryLimit = std::uint64_t{4} << 30;
  Secret key(size);
  if (EVP_PBE_scrypt(reinterpret_cast<const char*>(passphrase.data()), passphrase.size(), raw(salt),
                     salt.size(), cost, block_size, parallelism, kMemoryLimit,
                     reinterpret_cast<unsigned char*>(key.mutable_view().data()), size) != 1) {
    return openssl_failure(ErrorCode::exhausted, fmt::format("deriving a key needs {} MiB of memory",
                                                             cost * block_size * 128 >> 20));
  }
  return key;
}

}  // namespace bootseal::crypto

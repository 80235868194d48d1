#include <fmt/format.h>

#include "bootseal/crypto/secret.h"
#include "bootseal/identity/principal.h"

namespace bootseal::identity {
namespace {

constexpr std::size_t kSaltBytes = 16;
constexpr std::size_t kHashBytes = 32;
// RFC 7914: memory is 128 · N · r bytes.
constexpr crypto::ScryptParameters kForGenerated{1U << 10, 8, 1};  // 1 MiB
constexpr crypto::ScryptParameters kForChosen{1U << 15, 8, 1};     // 32 MiB

}  // namespace

Result<SecretHash> SecretHash::of(std::string_view secret, Strength strength) {
  SecretHash made;
  made.salt = crypto::random_bytes(kSaltBytes);
  made.parameters = strength == Strength::chosen ? kForChosen : kForGenerated;
  BOOTSEAL_TRY(const crypto::Secret hash,
               crypto::scrypt(as_bytes(secret), made.salt, made.parameters, kHashBytes));
  made.hash = to_bytes(hash.view());
  return made;
}

Result<bool> SecretHash::matches(std::string_view secret) const {
  BOOTSEAL_TRY(const crypto::Secret candidate,
               crypto::scrypt(as_bytes(secret), salt, parameters, kHashBytes));
  return crypto::equal_constant_time(candidate.view(), hash);
}

json::Object SecretHash::to_json() const {
  return {{"salt", to_base64(salt)},
          {"cost", parameters.cost},
          {"blockSize", parameters.block_size},
          {"parallelism", parameters.parallelism},
          {"hash", to_base64(hash)}};
}

Result<SecretHash> SecretHash::parse(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the hash of a secret"));
  SecretHash read;
  BOOTSEAL_TRY(read.salt, reader.base64("salt"));
  BOOTSEAL_TRY(read.parameters.cost, reader.unsigned_integer("cost"));
  BOOTSEAL_TRY(const std::uint64_t block_size, reader.unsigned_integer("blockSize"));
  BOOTSEAL_TRY(const std::uint64_t parallelism, reader.unsigned_integer("parallelism"));
  BOOTSEAL_TRY(read.hash, reader.base64("hash"));
  if (read.hash.size() != kHashBytes || block_size > 16 || parallelism > 4)
    return reader.problem("hash", "is no scrypt hash of ours");
  read.parameters.block_size = static_cast<std::uint32_t>(block_size);
  read.parameters.parallelism = static_cast<std::uint32_t>(parallelism);
  return read;
}

}  // namespace bootseal::identity

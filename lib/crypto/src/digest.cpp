#include "bootseal/crypto/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <algorithm>

#include "bootseal/crypto/handle.h"
#include "openssl.h"

namespace bootseal::crypto {
namespace {

using MdContext = Handle<EVP_MD_CTX, &EVP_MD_CTX_free>;

}  // namespace

std::string_view hash_name(HashAlgorithm algorithm) {
  constexpr std::array<std::string_view, 5> kNames = {"sha1", "sha256", "sha384", "sha512", "sm3"};
  return kNames[static_cast<std::size_t>(algorithm)];
}

std::size_t hash_size(HashAlgorithm algorithm) {
  constexpr std::array<std::size_t, 5> kSizes = {20, 32, 48, 64, 32};
  return kSizes[static_cast<std::size_t>(algorithm)];
}

Result<Sha256Digest> Sha256Digest::parse(std::string_view hex) {
  const Result<Bytes> bytes = from_hex(hex);
  if (!bytes || bytes->size() != 32)
    return fail(ErrorCode::invalid_argument, "a SHA-256 digest has 64 hex digits");
  Sha256Digest digest;
  std::ranges::copy(*bytes, digest.bytes.begin());
  return digest;
}

Sha256Digest sha256(ByteSpan data) {
  const Bytes bytes = digest(HashAlgorithm::sha256, {data});
  Sha256Digest result;
  std::ranges::copy(bytes, result.bytes.begin());
  return result;
}

Bytes digest(HashAlgorithm algorithm, std::initializer_list<ByteSpan> parts) {
  const MdContext context(EVP_MD_CTX_new());
  BOOTSEAL_CHECK(context && EVP_DigestInit_ex(context.get(), evp_hash(algorithm), nullptr) == 1);
  for (const ByteSpan part : parts)
    BOOTSEAL_CHECK(EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1);
  Bytes result(hash_size(algorithm));
  BOOTSEAL_CHECK(EVP_DigestFinal_ex(context.get(), raw(result), nullptr) == 1);
  return result;
}

Bytes hmac(HashAlgorithm algorithm, ByteSpan key, std::initializer_list<ByteSpan> parts) {
  Bytes message;
  for (const ByteSpan part : parts) append(message, part);
  Bytes result(hash_size(algorithm));
  unsigned int size = 0;
  static constexpr unsigned char kNoKey = 0;
  const unsigned char* key_data = key.empty() ? &kNoKey : raw(key);
  BOOTSEAL_CHECK(HMAC(evp_hash(algorithm), key_data, static_cast<int>(key.size()), raw(message),
                      message.size(), raw(result), &size) != nullptr);
  BOOTSEAL_CHECK(size == result.size());
  return result;
}

Bytes hkdf_sha256(ByteSpan key, ByteSpan salt, ByteSpan info, std::size_t size) {
  BOOTSEAL_CHECK(size <= 255 * 32);
  const Bytes pseudorandom = hmac(HashAlgorithm::sha256, salt, {key});
  Bytes result;
  Bytes previous;
  for (unsigned counter = 1; result.size() < size; ++counter) {
    const std::byte count{static_cast<unsigned char>(counter)};
    previous = hmac(HashAlgorithm::sha256, pseudorandom, {previous, info, ByteSpan(&count, 1)});
    append(result, previous);
  }
  result.resize(size);
  return result;
}

Bytes random_bytes(std::size_t size) {
  Bytes bytes(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::getrandom(bytes.data() + done, size - done, 0);
    BOOTSEAL_CHECK(got > 0);
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

}  // namespace bootseal::crypto

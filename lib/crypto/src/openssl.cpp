#include "openssl.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>

#include <climits>

namespace bootseal::crypto {

const EVP_MD* evp_hash(HashAlgorithm algorithm) {
  switch (algorithm) {
    case HashAlgorithm::sha1:
      return EVP_sha1();
    case HashAlgorithm::sha256:
      return EVP_sha256();
    case HashAlgorithm::sha384:
      return EVP_sha384();
    case HashAlgorithm::sha512:
      return EVP_sha512();
    case HashAlgorithm::sm3:
      return EVP_sm3();
  }
  BOOTSEAL_CHECK(false);
  return nullptr;
}

tl::unexpected<Error> openssl_failure(ErrorCode code, std::string_view message) {
  // The oldest entry names the cause, the later ones its consequences.
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  std::string text = reason == nullptr ? std::string(message) : fmt::format("{}: {}", message, reason);
  ERR_clear_error();
  return fail(code, std::move(text));
}

Bio memory_reader(ByteSpan bytes) {
  BOOTSEAL_CHECK(bytes.size() <= INT_MAX);
  static constexpr char kNothing = 0;
  Bio bio(BIO_new_mem_buf(bytes.empty() ? static_cast<const void*>(&kNothing) : bytes.data(),
                          static_cast<int>(bytes.size())));
  BOOTSEAL_CHECK(bio != nullptr);
  return bio;
}

Bytes memory_content(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  BOOTSEAL_CHECK(size >= 0);
  return to_bytes(std::string_view(data, static_cast<std::size_t>(size)));
}

}  // namespace bootseal::crypto

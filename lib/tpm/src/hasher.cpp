#include "hasher.h"

#include <openssl/evp.h>

#include "bootseal/crypto/handle.h"
#include "bootseal/tpm/event_log.h"

namespace bootseal::tpm {
namespace {

const char* openssl_name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::sha1:
      return "SHA1";
    case Algorithm::sha256:
      return "SHA256";
    case Algorithm::sha384:
      return "SHA384";
    case Algorithm::sha512:
      return "SHA512";
    case Algorithm::sm3_256:
      return "SM3";
  }
  check_failed("a known hash algorithm", __FILE__, __LINE__);
}

// Fetched once in the life of the program: a fetch costs more than a digest.
const EVP_MD* fetched(Algorithm algorithm) {
  using Fetched = crypto::Handle<EVP_MD, &EVP_MD_free>;
  static const std::array<Fetched, kAlgorithmCount> all = [] {
    std::array<Fetched, kAlgorithmCount> algorithms;
    for (const Algorithm each :
         {Algorithm::sha1, Algorithm::sha256, Algorithm::sha384, Algorithm::sha512, Algorithm::sm3_256}) {
      algorithms[algorithm_index(each)].reset(EVP_MD_fetch(nullptr, openssl_name(each), nullptr));
      BOOTSEAL_CHECK(algorithms[algorithm_index(each)] != nullptr);
    }
    return algorithms;
  }();
  return all[algorithm_index(algorithm)].get();
}

}  // namespace

Hasher::Hasher(Algorithm algorithm)
    : algorithm_(fetched(algorithm)), context_(EVP_MD_CTX_new()), size_(digest_size(algorithm)) {
  BOOTSEAL_CHECK(context_ != nullptr);
}

Hasher::~Hasher() {
  EVP_MD_CTX_free(context_);
}

ByteSpan Hasher::digest(std::initializer_list<ByteSpan> parts) {
  BOOTSEAL_CHECK(EVP_DigestInit_ex2(context_, algorithm_, nullptr) == 1);
  for (const ByteSpan part : parts) {
    BOOTSEAL_CHECK(EVP_DigestUpdate(context_, part.data(), part.size()) == 1);
  }
  BOOTSEAL_CHECK(EVP_DigestFinal_ex(context_, reinterpret_cast<unsigned char*>(buffer_.data()), nullptr) ==
                 1);
  return ByteSpan(buffer_).first(size_);
}

}  // namespace bootseal::tpm

// OpenSSL objects behind the public types, and its errors as ours. Included by this library's sources only.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <string>
#include <string_view>

#include "bootseal/base/result.h"
#include "bootseal/crypto/handle.h"
#include "bootseal/crypto/key.h"

namespace bootseal::crypto {

namespace detail {
struct KeyObject {
  Handle<EVP_PKEY, &EVP_PKEY_free> key;
  KeyKind kind;
};
struct CertificateObject {
  Handle<X509, &X509_free> certificate;
};
}  // namespace detail

using Bio = Handle<BIO, &BIO_free_all>;

inline const unsigned char* raw(ByteSpan bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
inline unsigned char* raw(Bytes& bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

const EVP_MD* evp_hash(HashAlgorithm algorithm);

// An error with `message` and the text of OpenSSL's error queue, which is left empty.
[[nodiscard]] tl::unexpected<Error> openssl_failure(ErrorCode code, std::string_view message);

// A read-only memory BIO over `bytes`, which must outlive it.
Bio memory_reader(ByteSpan bytes);
// What a memory BIO has been written.
Bytes memory_content(BIO* bio);

// i2d_* to bytes. Aborts when the object cannot be written (it was parsed or made by us).
template <typename T, typename Encode>
Bytes encode_der(Encode encode, T* object) {
  unsigned char* output = nullptr;
  const int size = encode(object, &output);
  BOOTSEAL_CHECK(size > 0 && output != nullptr);
  Bytes bytes =
      to_bytes(ByteSpan(reinterpret_cast<const std::byte*>(output), static_cast<std::size_t>(size)));
  OPENSSL_free(output);
  return bytes;
}

// Takes the key over when its kind and size are ones we use; unsupported otherwise.
Result<std::shared_ptr<const detail::KeyObject>> adopt_key(EVP_PKEY* key);

}  // namespace bootseal::crypto

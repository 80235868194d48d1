#include "bootseal/crypto/aead.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <climits>

#include "bootseal/crypto/handle.h"

namespace bootseal::crypto {
namespace {

using CipherContext = Handle<EVP_CIPHER_CTX, &EVP_CIPHER_CTX_free>;

const unsigned char* raw(ByteSpan bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

void check_sizes(ByteSpan key, ByteSpan nonce, ByteSpan data, ByteSpan associated_data) {
  BOOTSEAL_CHECK(key.size() == kAesKeySize && nonce.size() == kGcmNonceSize);
  BOOTSEAL_CHECK(data.size() <= INT_MAX && associated_data.size() <= INT_MAX);
}

}  // namespace

Sealed seal_aes_gcm(ByteSpan key, ByteSpan nonce, ByteSpan plaintext, ByteSpan associated_data) {
  check_sizes(key, nonce, plaintext, associated_data);
  const CipherContext context(EVP_CIPHER_CTX_new());
  Sealed sealed;
  sealed.ciphertext.resize(plaintext.size());
  int size = 0;
  auto* output = reinterpret_cast<unsigned char*>(sealed.ciphertext.data());
  bool ok = context != nullptr &&
            EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, raw(key), raw(nonce)) == 1;
  if (!associated_data.empty())
    ok = ok && EVP_EncryptUpdate(context.get(), nullptr, &size, raw(associated_data),
                                 static_cast<int>(associated_data.size())) == 1;
  if (!plaintext.empty())
    ok = ok && EVP_EncryptUpdate(context.get(), output, &size, raw(plaintext),
                                 static_cast<int>(plaintext.size())) == 1;
  unsigned char final_block[16];
  ok = ok && EVP_EncryptFinal_ex(context.get(), final_block, &size) == 1;
  ok = ok && EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kGcmTagSize, sealed.tag.data()) == 1;
  BOOTSEAL_CHECK(ok);
  return sealed;
}

Result<Bytes> open_aes_gcm(ByteSpan key, ByteSpan nonce, ByteSpan ciphertext, ByteSpan tag,
                           ByteSpan associated_data) {
  check_sizes(key, nonce, ciphertext, associated_data);
  if (tag.size() != kGcmTagSize) return fail(ErrorCode::corrupt, "an authentication tag has 16 bytes");
  const CipherContext context(EVP_CIPHER_CTX_new());
  Bytes plaintext(ciphertext.size());
  int size = 0;
  auto* output = reinterpret_cast<unsigned char*>(plaintext.data());
  bool ok = context != nullptr &&
            EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, raw(key), raw(nonce)) == 1;
  if (!associated_data.empty())
    ok = ok && EVP_DecryptUpdate(context.get(), nullptr, &size, raw(associated_data),
                                 static_cast<int>(associated_data.size())) == 1;
  if (!ciphertext.empty())
    ok = ok && EVP_DecryptUpdate(context.get(), output, &size, raw(ciphertext),
                                 static_cast<int>(ciphertext.size())) == 1;
  ok = ok && EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kGcmTagSize,
                                 const_cast<std::byte*>(tag.data())) == 1;
  BOOTSEAL_CHECK(ok);
  unsigned char final_block[16];
  if (EVP_DecryptFinal_ex(context.get(), final_block, &size) != 1) {
    ERR_clear_error();
    OPENSSL_cleanse(plaintext.data(), plaintext.size());
    return fail(ErrorCode::corrupt,
                "authentication failed: the data or its key is not the one that was written");
  }
  return plaintext;
}

}  // namespace bootseal::crypto

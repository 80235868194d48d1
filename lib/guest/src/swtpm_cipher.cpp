#include "swtpm_cipher.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>

#include "bootseal/crypto/digest.h"

namespace bootseal::guest {
namespace {

constexpr std::size_t kBlock = 16;
constexpr std::size_t kHashSize = 32;
constexpr std::string_view kSalt = "swtpm";
constexpr int kRounds = 1000;

const unsigned char* raw(ByteSpan bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

unsigned char* raw(MutableByteSpan bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

// Without padding: `data` is a multiple of the block.
Bytes aes_cbc(ByteSpan key, ByteSpan vector, ByteSpan data, bool encrypt) {
  std::array<std::byte, kBlock> first{};
  std::copy_n(vector.begin(), std::min(vector.size(), kBlock), first.begin());
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(),
                                                                                &EVP_CIPHER_CTX_free);
  const EVP_CIPHER* cipher = key.size() == kSwtpmKey256 ? EVP_aes_256_cbc() : EVP_aes_128_cbc();
  Bytes result(data.size());
  int size = 0;
  BOOTSEAL_CHECK(context != nullptr);
  BOOTSEAL_CHECK(EVP_CipherInit_ex(context.get(), cipher, nullptr, raw(key), raw(ByteSpan(first)),
                                   encrypt ? 1 : 0) == 1);
  BOOTSEAL_CHECK(EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1);
  BOOTSEAL_CHECK(EVP_CipherUpdate(context.get(), raw(MutableByteSpan(result)), &size, raw(data),
                                  static_cast<int>(data.size())) == 1);
  BOOTSEAL_CHECK(static_cast<std::size_t>(size) == data.size());
  return result;
}

tl::unexpected<Error> wrong_key() {
  return fail(ErrorCode::permission_denied,
              "the TPM state does not authenticate under the given key: it is another key, or the state is "
              "damaged");
}

Result<Bytes> decrypt_padded(ByteSpan key, ByteSpan data, ByteSpan vector) {
  if (data.empty() || data.size() % kBlock != 0 || data.size() < key.size())
    return fail(ErrorCode::corrupt, fmt::format("encrypted TPM state of {} bytes", data.size()));
  Bytes plain = aes_cbc(key, vector, data, false);
  const auto padding = std::to_integer<std::size_t>(plain.back());
  const bool good = padding != 0 && padding <= key.size() && padding <= plain.size() &&
                    std::all_of(plain.end() - static_cast<std::ptrdiff_t>(padding), plain.end(),
                                [&](std::byte byte) { return byte == std::byte(padding); });
  if (!good) {
    crypto::wipe(plain);
    return wrong_key();
  }
  plain.resize(plain.size() - padding);
  return plain;
}

}  // namespace

SwtpmCiphertext swtpm_encrypt(ByteSpan key, ByteSpan plaintext) {
  BOOTSEAL_CHECK(key.size() == kSwtpmKey128 || key.size() == kSwtpmKey256);
  const std::size_t padding = key.size() - plaintext.size() % key.size();
  Bytes padded;
  padded.reserve(plaintext.size() + padding);
  append(padded, plaintext);
  padded.insert(padded.end(), padding, std::byte(padding));
  SwtpmCiphertext result;
  result.initialization_vector = crypto::random_bytes(key.size());
  result.data = aes_cbc(key, result.initialization_vector, padded, true);
  crypto::wipe(padded);
  result.hmac = crypto::hmac(crypto::HashAlgorithm::sha256, key, {result.data, result.initialization_vector});
  return result;
}

Result<Bytes> swtpm_decrypt(ByteSpan key, ByteSpan data, ByteSpan hmac, ByteSpan vector) {
  BOOTSEAL_CHECK(key.size() == kSwtpmKey128 || key.size() == kSwtpmKey256);
  if (hmac.size() < kHashSize || (!vector.empty() && vector.size() != key.size()))
    return fail(ErrorCode::corrupt, "the HMAC or the vector of encrypted TPM state has the wrong length");
  const Bytes right = crypto::hmac(crypto::HashAlgorithm::sha256, key, {data, vector});
  if (!crypto::equal_constant_time(right, hmac.first(kHashSize))) return wrong_key();
  return decrypt_padded(key, data, vector);
}

Result<Bytes> swtpm_decrypt_version1(ByteSpan key, ByteSpan data) {
  BOOTSEAL_CHECK(key.size() == kSwtpmKey128 || key.size() == kSwtpmKey256);
  BOOTSEAL_TRY(Bytes plain, decrypt_padded(key, data, {}));
  if (plain.size() < kHashSize) {
    crypto::wipe(plain);
    return wrong_key();
  }
  Bytes content(plain.begin() + kHashSize, plain.end());
  const bool good =
      crypto::equal_constant_time(crypto::sha256(content).view(), ByteSpan(plain).first(kHashSize));
  crypto::wipe(plain);
  if (good) return content;
  crypto::wipe(content);
  return wrong_key();
}

crypto::Secret swtpm_key_from_passphrase_pbkdf2(ByteSpan passphrase, std::size_t size) {
  crypto::Secret key(size);
  BOOTSEAL_CHECK(PKCS5_PBKDF2_HMAC(reinterpret_cast<const char*>(passphrase.data()),
                                   static_cast<int>(passphrase.size()), raw(as_bytes(kSalt)),
                                   static_cast<int>(kSalt.size()), kRounds, EVP_sha512(),
                                   static_cast<int>(size), raw(key.mutable_view())) == 1);
  return key;
}

crypto::Secret swtpm_key_from_passphrase_sha512(ByteSpan passphrase, std::size_t size) {
  Bytes hash = crypto::digest(crypto::HashAlgorithm::sha512, passphrase);
  crypto::Secret key = crypto::Secret::copy_of(ByteSpan(hash).first(size));
  crypto::wipe(hash);
  return key;
}

}  // namespace bootseal::guest

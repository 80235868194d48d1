#include "bootseal/tpm/credential.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <cstring>

#include "bootseal/crypto/handle.h"
#include "bootseal/crypto/secret.h"
#include "bootseal/tpm/hash.h"

namespace bootseal::tpm {
namespace {

using EvpKey = crypto::Handle<EVP_PKEY, &EVP_PKEY_free>;
using EvpKeyContext = crypto::Handle<EVP_PKEY_CTX, &EVP_PKEY_CTX_free>;
using CipherContext = crypto::Handle<EVP_CIPHER_CTX, &EVP_CIPHER_CTX_free>;
using Digest = crypto::Handle<EVP_MD, &EVP_MD_free>;

constexpr std::size_t kMaximumSecret = 32, kMaximumName = 66;

const unsigned char* raw(ByteSpan bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(MutableByteSpan bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

// A label as the TPM hashes it: with its NUL.
ByteSpan label(std::string_view text_with_nul) {
  return as_bytes(text_with_nul);
}
constexpr std::string_view kIdentity("IDENTITY\0", 9), kStorage("STORAGE\0", 8),
    kIntegrity("INTEGRITY\0", 10);

// Part 1, 11.4.10.2: one block of HMAC(key, counter ‖ label ‖ contextU ‖ contextV ‖ bits) is enough for every
// key in here.
crypto::Secret kdfa(Algorithm hash, ByteSpan key, std::string_view use, ByteSpan context, std::size_t bits) {
  BOOTSEAL_CHECK(bits <= digest_size(hash) * 8);
  ByteWriter counter;
  counter.be32(1);
  ByteWriter size;
  size.be32(static_cast<std::uint32_t>(bits));
  Bytes block = crypto::hmac(hash_of(hash), key, {counter.view(), label(use), context, size.view()});
  crypto::Secret derived = crypto::Secret::copy_of(ByteSpan(block).first(bits / 8));
  crypto::wipe(block);
  return derived;
}

// Part 1, 11.4.10.3, one block: H(counter ‖ Z ‖ label ‖ partyU.x ‖ partyV.x).
crypto::Secret kdfe(Algorithm hash, ByteSpan z, ByteSpan ephemeral_x, ByteSpan static_x) {
  ByteWriter counter;
  counter.be32(1);
  Bytes block = crypto::digest(hash_of(hash), {counter.view(), z, label(kIdentity), ephemeral_x, static_x});
  crypto::Secret seed = crypto::Secret::copy_of(block);
  crypto::wipe(block);
  return seed;
}

Result<EvpKey> evp_of(const PublicArea& area) {
  BOOTSEAL_TRY(const crypto::PublicKey key, key_of(area));
  const Bytes der = key.der();
  const unsigned char* next = raw(der);
  EvpKey evp(d2i_PUBKEY(nullptr, &next, static_cast<long>(der.size())));
  if (!evp) return fail(ErrorCode::internal, "OpenSSL does not read a key that it wrote");
  return evp;
}

struct SharedSeed {
  crypto::Secret seed;
  Bytes encrypted;
};

// Part 1, B.10.3: OAEP with the EK's name algorithm and the label "IDENTITY".
Result<SharedSeed> share_by_rsa(const PublicArea& area) {
  BOOTSEAL_TRY(const EvpKey key, evp_of(area));
  SharedSeed shared{crypto::Secret::random(digest_size(area.name_algorithm)), {}};
  const Digest hash(EVP_MD_fetch(nullptr, algorithm_name(area.name_algorithm).data(), nullptr));
  const EvpKeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  auto* oaep_label = static_cast<unsigned char*>(OPENSSL_memdup(kIdentity.data(), kIdentity.size()));
  BOOTSEAL_CHECK(hash && context && oaep_label != nullptr);
  std::size_t size = 0;
  const bool ready =
      EVP_PKEY_encrypt_init(context.get()) == 1 &&
      EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING) == 1 &&
      EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), hash.get()) == 1 &&
      EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), hash.get()) == 1 &&
      EVP_PKEY_CTX_set0_rsa_oaep_label(context.get(), oaep_label, static_cast<int>(kIdentity.size())) == 1;
  if (!ready) {
    OPENSSL_free(oaep_label);
    return fail(ErrorCode::unsupported, "OpenSSL cannot encrypt to this endorsement key");
  }
  const ByteSpan seed = shared.seed.view();
  if (EVP_PKEY_encrypt(context.get(), nullptr, &size, raw(seed), seed.size()) != 1) {
    return fail(ErrorCode::unsupported, "OpenSSL cannot encrypt to this endorsement key");
  }
  shared.encrypted.resize(size);
  if (EVP_PKEY_encrypt(context.get(), raw(MutableByteSpan(shared.encrypted)), &size, raw(seed),
                       seed.size()) != 1) {
    return fail(ErrorCode::unsupported, "OpenSSL cannot encrypt to this endorsement key");
  }
  shared.encrypted.resize(size);
  return shared;
}

Result<Bytes> coordinate(const EVP_PKEY* key, const char* name, std::size_t size) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &number) != 1)
    return fail(ErrorCode::internal, "OpenSSL gives no point of the key");
  Bytes bytes(size);
  const int written = BN_bn2binpad(number, raw(MutableByteSpan(bytes)), static_cast<int>(size));
  BN_free(number);
  if (written < 0) return fail(ErrorCode::internal, "a coordinate is larger than its curve");
  return bytes;
}

// Part 1, C.6.4: an ephemeral key, ECDH with the EK, KDFe.
Result<SharedSeed> share_by_ecdh(const PublicArea& area) {
  BOOTSEAL_TRY(const EvpKey peer, evp_of(area));
  const std::size_t size = area.curve == kCurveP384 ? 48 : 32;
  const EvpKey ephemeral(EVP_EC_gen(area.curve == kCurveP384 ? "P-384" : "P-256"));
  BOOTSEAL_CHECK(ephemeral != nullptr);
  const EvpKeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, ephemeral.get(), nullptr));
  BOOTSEAL_CHECK(context != nullptr);
  crypto::Secret z(size);
  std::size_t z_size = size;
  const bool derived = EVP_PKEY_derive_init(context.get()) == 1 &&
                       EVP_PKEY_derive_set_peer(context.get(), peer.get()) == 1 &&
                       EVP_PKEY_derive(context.get(), raw(z.mutable_view()), &z_size) == 1 && z_size == size;
  if (!derived)
    return fail(ErrorCode::unsupported, "OpenSSL cannot agree on a secret with this endorsement key");
  BOOTSEAL_TRY(const Bytes x, coordinate(ephemeral.get(), OSSL_PKEY_PARAM_EC_PUB_X, size));
  BOOTSEAL_TRY(const Bytes y, coordinate(ephemeral.get(), OSSL_PKEY_PARAM_EC_PUB_Y, size));
  Bytes peer_x(size - area.x.size());
  append(peer_x, area.x);
  ByteWriter point;
  write_sized(point, x);
  write_sized(point, y);
  return SharedSeed{kdfe(area.name_algorithm, z.view(), x, peer_x), point.take()};
}

// AES-CFB with an IV of zero: the key is used once.
Bytes encrypt_cfb(ByteSpan key, ByteSpan plaintext) {
  const CipherContext context(EVP_CIPHER_CTX_new());
  const EVP_CIPHER* cipher = key.size() == 32 ? EVP_aes_256_cfb128() : EVP_aes_128_cfb128();
  const std::array<unsigned char, 16> iv{};
  Bytes ciphertext(plaintext.size());
  int size = 0;
  BOOTSEAL_CHECK(context != nullptr &&
                 EVP_EncryptInit_ex2(context.get(), cipher, raw(key), iv.data(), nullptr) == 1);
  BOOTSEAL_CHECK(EVP_EncryptUpdate(context.get(), raw(MutableByteSpan(ciphertext)), &size, raw(plaintext),
                                   static_cast<int>(plaintext.size())) == 1);
  BOOTSEAL_CHECK(static_cast<std::size_t>(size) == plaintext.size());
  return ciphertext;
}

}  // namespace

Result<Credential> make_credential(ByteSpan endorsement_key, ByteSpan name, ByteSpan secret) {
  BOOTSEAL_TRY(const PublicArea area, parse_public(endorsement_key));
  if (!area.has(kRestricted | kDecrypt) || area.symmetric == kAlgNull) {
    return fail(ErrorCode::invalid_argument,
                "a credential can be made for a storage key only (restricted, decrypt)");
  }
  const bool sha2 = area.name_algorithm != Algorithm::sha1 && area.name_algorithm != Algorithm::sm3_256;
  if (!sha2) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the endorsement key's name algorithm is {}: SHA-256 or better is wanted",
                            algorithm_name(area.name_algorithm)));
  }
  if (secret.empty() || secret.size() > kMaximumSecret || name.empty() || name.size() > kMaximumName) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a secret of {} bytes for a name of {} bytes", secret.size(), name.size()));
  }
  BOOTSEAL_TRY(SharedSeed shared, area.type == kAlgRsa ? share_by_rsa(area) : share_by_ecdh(area));
  const Algorithm hash = area.name_algorithm;
  ByteWriter identity;
  write_sized(identity, secret);
  const crypto::Secret key = kdfa(hash, shared.seed.view(), kStorage, name, area.symmetric_bits);
  const Bytes encrypted = encrypt_cfb(key.view(), identity.view());
  const crypto::Secret mac_key = kdfa(hash, shared.seed.view(), kIntegrity, {}, digest_size(hash) * 8);
  ByteWriter blob;
  write_sized(blob, crypto::hmac(hash_of(hash), mac_key.view(), {encrypted, name}));
  blob.bytes(encrypted);
  return Credential{blob.take(), std::move(shared.encrypted)};
}

}  // namespace bootseal::tpm

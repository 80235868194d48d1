#include "bootseal/crypto/key.h"

#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <climits>

#include "openssl.h"

namespace bootseal::crypto {
namespace {

using KeyContext = Handle<EVP_PKEY_CTX, &EVP_PKEY_CTX_free>;
using MdContext = Handle<EVP_MD_CTX, &EVP_MD_CTX_free>;
using BigNumber = Handle<BIGNUM, &BN_free>;
using EcdsaSignature = Handle<ECDSA_SIG, &ECDSA_SIG_free>;
using ParameterBuilder = Handle<OSSL_PARAM_BLD, &OSSL_PARAM_BLD_free>;
using Parameters = Handle<OSSL_PARAM, &OSSL_PARAM_free>;

constexpr int kMinimumRsaBits = 2048;
constexpr int kMaximumRsaBits = 8192;

const char* curve_name(KeyKind kind) {
  return kind == KeyKind::ec_p256 ? "P-256" : "P-384";
}

Status check_scheme(KeyKind kind, SignatureScheme scheme) {
  if ((kind == KeyKind::rsa) == (scheme != SignatureScheme::ecdsa)) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("this signature scheme does not go with an {} key", key_kind_name(kind)));
}

bool set_padding(EVP_PKEY_CTX* context, SignatureScheme scheme, int salt_length) {
  if (scheme == SignatureScheme::rsa_pkcs1)
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
  if (scheme == SignatureScheme::rsa_pss) {
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt_length) == 1;
  }
  return true;
}

Result<std::shared_ptr<const detail::KeyObject>> key_from_parameters(const char* type,
                                                                     OSSL_PARAM_BLD* builder) {
  const Parameters parameters(OSSL_PARAM_BLD_to_param(builder));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  BOOTSEAL_CHECK(parameters && context && EVP_PKEY_fromdata_init(context.get()) == 1);
  EVP_PKEY* key = nullptr;
  if (EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1) {
    return openssl_failure(ErrorCode::invalid_argument, "these numbers are no public key");
  }
  return adopt_key(key);
}

Secret take_secret(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  BOOTSEAL_CHECK(size > 0);
  return Secret::copy_of(as_bytes({data, static_cast<std::size_t>(size)}));
}

int refuse_passphrase(char*, int, int, void*) {
  return -1;
}

}  // namespace

std::string_view key_kind_name(KeyKind kind) {
  switch (kind) {
    case KeyKind::ec_p256:
      return "EC P-256";
    case KeyKind::ec_p384:
      return "EC P-384";
    case KeyKind::rsa:
      return "RSA";
  }
  return "";
}

Result<std::shared_ptr<const detail::KeyObject>> adopt_key(EVP_PKEY* key) {
  Handle<EVP_PKEY, &EVP_PKEY_free> owned(key);
  if (EVP_PKEY_is_a(key, "RSA") == 1) {
    const int bits = EVP_PKEY_get_bits(key);
    if (bits < kMinimumRsaBits || bits > kMaximumRsaBits) {
      return fail(ErrorCode::unsupported,
                  fmt::format("an RSA key of {} bits is not accepted; use 2048 to 8192 bits", bits));
    }
    return std::make_shared<const detail::KeyObject>(detail::KeyObject{std::move(owned), KeyKind::rsa});
  }
  char group[32] = {};
  std::size_t length = 0;
  if (EVP_PKEY_is_a(key, "EC") == 1 && EVP_PKEY_get_group_name(key, group, sizeof(group), &length) == 1) {
    const std::string_view name(group, length);
    if (name == "prime256v1")
      return std::make_shared<const detail::KeyObject>(detail::KeyObject{std::move(owned), KeyKind::ec_p256});
    if (name == "secp384r1")
      return std::make_shared<const detail::KeyObject>(detail::KeyObject{std::move(owned), KeyKind::ec_p384});
  }
  ERR_clear_error();
  return fail(ErrorCode::unsupported,
              "this kind of key is not accepted; use RSA from 2048 bits, EC P-256 or EC P-384");
}

Result<PublicKey> PublicKey::from_der(ByteSpan subject_public_key_info) {
  if (subject_public_key_info.size() > 4096)
    return fail(ErrorCode::invalid_argument, "a public key of more than 4096 bytes is not accepted");
  const unsigned char* position = raw(subject_public_key_info);
  EVP_PKEY* key = d2i_PUBKEY(nullptr, &position, static_cast<long>(subject_public_key_info.size()));
  if (key == nullptr)
    return openssl_failure(ErrorCode::invalid_argument, "the bytes are no SubjectPublicKeyInfo");
  BOOTSEAL_TRY(auto object, adopt_key(key));
  if (position != raw(subject_public_key_info) + subject_public_key_info.size()) {
    return fail(ErrorCode::invalid_argument, "there are bytes behind the SubjectPublicKeyInfo");
  }
  return PublicKey(std::move(object));
}

Result<PublicKey> PublicKey::from_pem(std::string_view pem) {
  const Bio bio = memory_reader(as_bytes(pem));
  EVP_PKEY* key = PEM_read_bio_PUBKEY(bio.get(), nullptr, &refuse_passphrase, nullptr);
  if (key == nullptr) return openssl_failure(ErrorCode::invalid_argument, "the text is no PEM public key");
  BOOTSEAL_TRY(auto object, adopt_key(key));
  return PublicKey(std::move(object));
}

Result<PublicKey> PublicKey::from_rsa(ByteSpan modulus, std::uint32_t exponent) {
  if (modulus.size() > kMaximumRsaBits / 8 || exponent < 3)
    return fail(ErrorCode::invalid_argument, "these numbers are no RSA key");
  const BigNumber n(BN_bin2bn(raw(modulus), static_cast<int>(modulus.size()), nullptr));
  const BigNumber e(BN_new());
  const ParameterBuilder builder(OSSL_PARAM_BLD_new());
  BOOTSEAL_CHECK(n && e && builder && BN_set_word(e.get(), exponent) == 1 &&
                 OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) == 1 &&
                 OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) == 1);
  BOOTSEAL_TRY(auto object, key_from_parameters("RSA", builder.get()));
  return PublicKey(std::move(object));
}

Result<PublicKey> PublicKey::from_point(KeyKind curve, ByteSpan x, ByteSpan y) {
  const std::size_t size = curve == KeyKind::ec_p256 ? 32 : 48;
  if (curve == KeyKind::rsa || x.size() > size || y.size() > size)
    return fail(ErrorCode::invalid_argument, "these numbers are no point of a curve");
  ByteWriter point;  // SEC 1, 2.3.3: uncompressed
  point.u8(4).fill(size - x.size()).bytes(x).fill(size - y.size()).bytes(y);
  const ParameterBuilder builder(OSSL_PARAM_BLD_new());
  BOOTSEAL_CHECK(
      builder &&
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve_name(curve), 0) == 1 &&
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.view().data(),
                                       point.size()) == 1);
  BOOTSEAL_TRY(auto object, key_from_parameters("EC", builder.get()));
  return PublicKey(std::move(object));
}

KeyKind PublicKey::kind() const {
  return object_->kind;
}
unsigned PublicKey::bits() const {
  return static_cast<unsigned>(EVP_PKEY_get_bits(object_->key.get()));
}
Bytes PublicKey::der() const {
  return encode_der(&i2d_PUBKEY, object_->key.get());
}

std::string PublicKey::pem() const {
  const Bio bio(BIO_new(BIO_s_mem()));
  BOOTSEAL_CHECK(bio && PEM_write_bio_PUBKEY(bio.get(), object_->key.get()) == 1);
  return std::string(as_text(memory_content(bio.get())));
}

std::pair<Bytes, Bytes> PublicKey::numbers() const {
  const bool rsa = kind() == KeyKind::rsa;
  const auto number = [&](const char* name, std::size_t size) {
    BIGNUM* value = nullptr;
    BOOTSEAL_CHECK(EVP_PKEY_get_bn_param(object_->key.get(), name, &value) == 1);
    const BigNumber owned(value);
    Bytes bytes(std::max(size, static_cast<std::size_t>(BN_num_bytes(value))));
    BOOTSEAL_CHECK(BN_bn2binpad(value, raw(bytes), static_cast<int>(bytes.size())) >= 0);
    return bytes;
  };
  const std::size_t field = rsa ? 0 : (bits() + 7) / 8;
  return {number(rsa ? OSSL_PKEY_PARAM_RSA_N : OSSL_PKEY_PARAM_EC_PUB_X, field),
          number(rsa ? OSSL_PKEY_PARAM_RSA_E : OSSL_PKEY_PARAM_EC_PUB_Y, field)};
}

Status PublicKey::verify(SignatureScheme scheme, HashAlgorithm hash, ByteSpan message,
                         ByteSpan signature) const {
  BOOTSEAL_TRY_STATUS(check_scheme(kind(), scheme));
  const MdContext context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* parameters = nullptr;
  BOOTSEAL_CHECK(context != nullptr);
  const bool ready =
      EVP_DigestVerifyInit(context.get(), &parameters, evp_hash(hash), nullptr, object_->key.get()) == 1 &&
      set_padding(parameters, scheme, RSA_PSS_SALTLEN_AUTO);
  if (!ready) return openssl_failure(ErrorCode::invalid_argument, "this hash does not go with this key");
  if (EVP_DigestVerify(context.get(), raw(signature), signature.size(), raw(message), message.size()) == 1)
    return {};
  ERR_clear_error();
  return fail(ErrorCode::permission_denied, "the signature is not this key's over this message");
}

bool PublicKey::operator==(const PublicKey& other) const {
  return EVP_PKEY_eq(object_->key.get(), other.object_->key.get()) == 1;
}

Result<PrivateKey> PrivateKey::generate(KeyKind kind) {
  EVP_PKEY* key = kind == KeyKind::rsa
                      ? EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{kMinimumRsaBits})
                      : EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", curve_name(kind));
  if (key == nullptr) return openssl_failure(ErrorCode::internal, "generating a key");
  BOOTSEAL_TRY(auto object, adopt_key(key));
  return PrivateKey(std::move(object));
}

Result<PrivateKey> PrivateKey::from_der(ByteSpan pkcs8) {
  if (pkcs8.size() > 16384)
    return fail(ErrorCode::invalid_argument, "a private key of more than 16384 bytes is not accepted");
  const unsigned char* position = raw(pkcs8);
  const Handle<PKCS8_PRIV_KEY_INFO, &PKCS8_PRIV_KEY_INFO_free> info(
      d2i_PKCS8_PRIV_KEY_INFO(nullptr, &position, static_cast<long>(pkcs8.size())));
  EVP_PKEY* key = info == nullptr ? nullptr : EVP_PKCS82PKEY(info.get());
  if (key == nullptr)
    return openssl_failure(ErrorCode::invalid_argument, "the bytes are no PKCS#8 private key");
  BOOTSEAL_TRY(auto object, adopt_key(key));
  if (position != raw(pkcs8) + pkcs8.size())
    return fail(ErrorCode::invalid_argument, "there are bytes behind the private key");
  return PrivateKey(std::move(object));
}

Result<PrivateKey> PrivateKey::from_pem(std::string_view pem) {
  const Bio bio = memory_reader(as_bytes(pem));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio.get(), nullptr, &refuse_passphrase, nullptr);
  if (key == nullptr)
    return openssl_failure(ErrorCode::invalid_argument, "the text is no unencrypted PEM private key");
  BOOTSEAL_TRY(auto object, adopt_key(key));
  return PrivateKey(std::move(object));
}

Secret PrivateKey::der() const {
  const Bio bio(BIO_new(BIO_s_secmem()));
  BOOTSEAL_CHECK(bio && i2d_PKCS8PrivateKeyInfo_bio(bio.get(), object_->key.get()) == 1);
  return take_secret(bio.get());
}

Secret PrivateKey::pem() const {
  const Bio bio(BIO_new(BIO_s_secmem()));
  BOOTSEAL_CHECK(bio && PEM_write_bio_PKCS8PrivateKey(bio.get(), object_->key.get(), nullptr, nullptr, 0,
                                                      nullptr, nullptr) == 1);
  return take_secret(bio.get());
}

Result<Bytes> PrivateKey::sign(SignatureScheme scheme, HashAlgorithm hash, ByteSpan message) const {
  BOOTSEAL_TRY_STATUS(check_scheme(kind(), scheme));
  const MdContext context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* parameters = nullptr;
  BOOTSEAL_CHECK(context != nullptr);
  std::size_t size = 0;
  if (EVP_DigestSignInit(context.get(), &parameters, evp_hash(hash), nullptr, object_->key.get()) != 1 ||
      !set_padding(parameters, scheme, RSA_PSS_SALTLEN_DIGEST) ||
      EVP_DigestSign(context.get(), nullptr, &size, raw(message), message.size()) != 1) {
    return openssl_failure(ErrorCode::invalid_argument, "this key cannot sign so");
  }
  Bytes signature(size);
  if (EVP_DigestSign(context.get(), raw(signature), &size, raw(message), message.size()) != 1) {
    return openssl_failure(ErrorCode::internal, "signing");
  }
  signature.resize(size);
  return signature;
}

Bytes ecdsa_signature_from_numbers(ByteSpan r, ByteSpan s) {
  BOOTSEAL_CHECK(r.size() <= UINT16_MAX && s.size() <= UINT16_MAX);  // both come from TPM2B or JWS fields
  const EcdsaSignature signature(ECDSA_SIG_new());
  BOOTSEAL_CHECK(signature &&
                 ECDSA_SIG_set0(signature.get(), BN_bin2bn(raw(r), static_cast<int>(r.size()), nullptr),
                                BN_bin2bn(raw(s), static_cast<int>(s.size()), nullptr)) == 1);
  return encode_der(&i2d_ECDSA_SIG, signature.get());
}

Result<Bytes> ecdsa_numbers_from_signature(ByteSpan der, std::size_t size) {
  if (der.size() > 1024) return fail(ErrorCode::corrupt, "the bytes are no ECDSA signature");
  const unsigned char* position = raw(der);
  const EcdsaSignature signature(d2i_ECDSA_SIG(nullptr, &position, static_cast<long>(der.size())));
  if (signature == nullptr || position != raw(der) + der.size())
    return openssl_failure(ErrorCode::corrupt, "the bytes are no ECDSA signature");
  Bytes numbers(2 * size);
  const auto part = static_cast<int>(size);
  if (BN_is_negative(ECDSA_SIG_get0_r(signature.get())) == 1 ||
      BN_is_negative(ECDSA_SIG_get0_s(signature.get())) == 1 ||
      BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), raw(numbers), part) != part ||
      BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), raw(numbers) + size, part) != part) {
    return openssl_failure(ErrorCode::corrupt,
                           fmt::format("a number of the ECDSA signature does not fit {} bytes", size));
  }
  return numbers;
}

}  // namespace bootseal::crypto

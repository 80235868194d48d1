#include "bootseal/crypto/key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>

#include "bootseal/base/fds.h"
#include "bootseal/crypto/keywrap.h"
#include "bootseal/crypto/scrypt.h"

namespace bootseal::crypto {
namespace {

Bytes fixture(const std::string& name) {
  return *read_file(std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/crypto/tests/data" / name, 1 << 20);
}

// RFC 6979, A.2.5.
const Bytes kPointX = *from_hex("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6");
const Bytes kPointY = *from_hex("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
const Bytes kSignatureR = *from_hex("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
const Bytes kSignatureS = *from_hex("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");

TEST(Key, VerifiesTheP256SignatureOfRfc6979) {
  const PublicKey key = *PublicKey::from_point(KeyKind::ec_p256, kPointX, kPointY);
  const Bytes signature = ecdsa_signature_from_numbers(kSignatureR, kSignatureS);
  EXPECT_TRUE(key.verify(SignatureScheme::ecdsa, HashAlgorithm::sha256, as_bytes("sample"), signature));
  EXPECT_EQ(
      key.verify(SignatureScheme::ecdsa, HashAlgorithm::sha256, as_bytes("sampel"), signature).error().code,
      ErrorCode::permission_denied);
  EXPECT_FALSE(key.verify(SignatureScheme::ecdsa, HashAlgorithm::sha384, as_bytes("sample"), signature));
  EXPECT_EQ(*ecdsa_numbers_from_signature(signature, 32), [] {
    Bytes both = kSignatureR;
    append(both, kSignatureS);
    return both;
  }());
}

// TPMT_SIGNATURE of RSASSA: alg u16, hash u16, size u16, signature.
TEST(Key, VerifiesWhatARealTpmSigned) {
  const PublicKey rsa = *PublicKey::from_pem(as_text(fixture("swtpm-rsa.ak.pem")));
  EXPECT_EQ(rsa.kind(), KeyKind::rsa);
  EXPECT_EQ(rsa.bits(), 2048U);
  const Bytes attest = fixture("swtpm-rsa.attest"), signature = fixture("swtpm-rsa.sig");
  EXPECT_TRUE(
      rsa.verify(SignatureScheme::rsa_pkcs1, HashAlgorithm::sha256, attest, ByteSpan(signature).subspan(6)));
  EXPECT_FALSE(
      rsa.verify(SignatureScheme::rsa_pss, HashAlgorithm::sha256, attest, ByteSpan(signature).subspan(6)));

  const PublicKey ecc = *PublicKey::from_pem(as_text(fixture("swtpm-ecc.ak.pem")));
  const Bytes ecc_signature = fixture("swtpm-ecc.sig");
  const ByteSpan r = ByteSpan(ecc_signature).subspan(6, 32), s = ByteSpan(ecc_signature).subspan(40, 32);
  Bytes ecc_attest = fixture("swtpm-ecc.attest");
  EXPECT_TRUE(ecc.verify(SignatureScheme::ecdsa, HashAlgorithm::sha256, ecc_attest,
                         ecdsa_signature_from_numbers(r, s)));
  ecc_attest.back() ^= std::byte{1};
  EXPECT_FALSE(ecc.verify(SignatureScheme::ecdsa, HashAlgorithm::sha256, ecc_attest,
                          ecdsa_signature_from_numbers(r, s)));
}

class EachKind : public testing::TestWithParam<std::pair<KeyKind, SignatureScheme>> {};

TEST_P(EachKind, SignsVerifiesAndSurvivesItsEncodings) {
  const auto [kind, scheme] = GetParam();
  const PrivateKey key = *PrivateKey::generate(kind);
  EXPECT_EQ(key.kind(), kind);
  const Bytes signature = *key.sign(scheme, HashAlgorithm::sha256, as_bytes("message"));
  EXPECT_TRUE(key.public_key().verify(scheme, HashAlgorithm::sha256, as_bytes("message"), signature));

  const PublicKey again = *PublicKey::from_der(key.public_key().der());
  EXPECT_EQ(again, key.public_key());
  EXPECT_TRUE(again.verify(scheme, HashAlgorithm::sha256, as_bytes("message"), signature));
  EXPECT_EQ(PublicKey::from_pem(key.public_key().pem())->fingerprint(), key.public_key().fingerprint());
  EXPECT_EQ(PrivateKey::from_der(key.der().view())->public_key(), key.public_key());
  EXPECT_EQ(PrivateKey::from_pem(as_text(key.pem().view()))->public_key(), key.public_key());

  const PrivateKey other = *PrivateKey::generate(kind);
  EXPECT_FALSE(other.public_key() == key.public_key());
  EXPECT_FALSE(other.public_key().verify(scheme, HashAlgorithm::sha256, as_bytes("message"), signature));
  EXPECT_EQ(ERR_peek_error(), 0U) << "OpenSSL's error queue must be left empty";
}

INSTANTIATE_TEST_SUITE_P(All, EachKind,
                         testing::Values(std::pair{KeyKind::ec_p256, SignatureScheme::ecdsa},
                                         std::pair{KeyKind::ec_p384, SignatureScheme::ecdsa},
                                         std::pair{KeyKind::rsa, SignatureScheme::rsa_pkcs1},
                                         std::pair{KeyKind::rsa, SignatureScheme::rsa_pss}));

TEST(Key, RefusesSchemesThatDoNotFit) {
  const PrivateKey key = *PrivateKey::generate(KeyKind::ec_p256);
  EXPECT_EQ(key.sign(SignatureScheme::rsa_pss, HashAlgorithm::sha256, {}).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(key.public_key().verify(SignatureScheme::rsa_pkcs1, HashAlgorithm::sha256, {}, {}).error().code,
            ErrorCode::invalid_argument);
}

TEST(Key, RefusesPointsOffTheCurveAndMalformedEncodings) {
  Bytes wrong = kPointY;
  wrong[31] ^= std::byte{1};
  EXPECT_EQ(PublicKey::from_point(KeyKind::ec_p256, kPointX, wrong).error().code,
            ErrorCode::invalid_argument);
  EXPECT_FALSE(PublicKey::from_der({}));
  Bytes der = PublicKey::from_point(KeyKind::ec_p256, kPointX, kPointY)->der();
  der.push_back(std::byte{0});
  EXPECT_EQ(PublicKey::from_der(der).error().message, "there are bytes behind the SubjectPublicKeyInfo");
  EXPECT_FALSE(PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"));
  EXPECT_FALSE(PrivateKey::from_pem(""));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST(Key, RefusesKindsThatAreTooWeakOrUnknown) {
  const Bytes modulus(128, std::byte{0xC1});  // 1024 bits
  EXPECT_EQ(PublicKey::from_rsa(modulus, 65537).error().code, ErrorCode::unsupported);
  // An Ed25519 key (RFC 8410, 10.1).
  EXPECT_EQ(PublicKey::from_pem("-----BEGIN PUBLIC "
                                "KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n----"
                                "-END PUBLIC KEY-----\n")
                .error()
                .code,
            ErrorCode::unsupported);
}

TEST(Scrypt, MatchesRfc7914) {
  const Secret key = *scrypt(as_bytes("pleaseletmein"), as_bytes("SodiumChloride"), {16384, 8, 1}, 64);
  EXPECT_EQ(to_hex(key.view()),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9"
            "e61e85dc0d651e40dfcf017b45575887");
}

TEST(Scrypt, RefusesParametersThatAreOutOfRange) {
  for (const ScryptParameters& parameters :
       {ScryptParameters{0, 8, 1}, ScryptParameters{1000, 8, 1}, ScryptParameters{1U << 21, 8, 1},
        ScryptParameters{1024, 0, 1}, ScryptParameters{1024, 17, 1}, ScryptParameters{1024, 8, 0},
        ScryptParameters{1024, 8, 5}}) {
    EXPECT_EQ(scrypt(as_bytes("passphrase"), as_bytes("salt"), parameters, 32).error().code,
              ErrorCode::invalid_argument);
  }
}

TEST(KeyWrap, OpensOnlyUnderTheSameKeyAndLabel) {
  const Secret wrapping = Secret::random(32), key = Secret::random(32);
  Bytes wrapped = wrap_key(wrapping, key, "guest-state-key/1");
  EXPECT_TRUE(equal_constant_time(unwrap_key(wrapping, wrapped, "guest-state-key/1")->view(), key.view()));
  EXPECT_EQ(unwrap_key(wrapping, wrapped, "guest-state-key/2").error().code, ErrorCode::corrupt);
  EXPECT_FALSE(unwrap_key(Secret::random(32), wrapped, "guest-state-key/1"));
  EXPECT_NE(wrap_key(wrapping, key, "guest-state-key/1"), wrapped) << "nonces must not repeat";
  for (std::size_t i = 0; i < wrapped.size(); ++i) {
    wrapped[i] ^= std::byte{4};
    EXPECT_FALSE(unwrap_key(wrapping, wrapped, "guest-state-key/1")) << i;
    wrapped[i] ^= std::byte{4};
    EXPECT_FALSE(unwrap_key(wrapping, ByteSpan(wrapped).first(i), "guest-state-key/1")) << i;
  }
}

}  // namespace
}  // namespace bootseal::crypto

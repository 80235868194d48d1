// Public areas and credential activation with libtpms at the other end.
#include "bootseal/tpm/public_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bootseal/tpm/client.h"
#include "bootseal/tpm/credential.h"
#include "software_tpm.h"

namespace bootseal::tpm {
namespace {

using ::testing::HasSubstr;

class PublicKeyTest : public ::testing::Test {
 protected:
  PublicKeyTest() : tpm_(testing::SoftwareTpm::manufacture()), client_(*tpm_) {
    BOOTSEAL_CHECK(client_.startup().has_value());
  }
  CreatedObject make(const Bytes& form, Handle hierarchy = kEndorsement) {
    auto made = client_.create_primary(hierarchy, form);
    BOOTSEAL_CHECK(made.has_value());
    return *std::move(made);
  }

  std::unique_ptr<testing::SoftwareTpm> tpm_;
  Client client_;
};

TEST_F(PublicKeyTest, SurvivesParsingAndHasTheNameTheTpmGives) {
  for (const Bytes& form : {ek_template_rsa2048(), ek_template_ecc_p256(), srk_template_ecc_p256(),
                            ak_template_rsa2048(), ak_template_ecc_p256()}) {
    const CreatedObject object = make(form);
    const auto area = parse_public(object.public_area);
    ASSERT_TRUE(area) << area.error().message;
    EXPECT_EQ(marshal_public(*area), object.public_area);
    EXPECT_EQ(*object_name(object.public_area), object.name);
    const auto der = subject_public_key_info(object.public_area);
    ASSERT_TRUE(der) << der.error().message;
    EXPECT_TRUE(crypto::PublicKey::from_der(*der));
    ASSERT_TRUE(client_.flush_context(object.handle));
  }
}

TEST_F(PublicKeyTest, GivesTheAttestationKeyBackFromItsCertificatesKey) {
  for (const Bytes& form : {ak_template_rsa2048(), ak_template_ecc_p256()}) {
    const CreatedObject ak = make(form);
    const auto key = crypto::PublicKey::from_der(*subject_public_key_info(ak.public_area));
    ASSERT_TRUE(key);
    EXPECT_EQ(to_hex(*attestation_public(*key)), to_hex(ak.public_area));
    ASSERT_TRUE(client_.flush_context(ak.handle));
  }
}

TEST_F(PublicKeyTest, TellsAttestationKeysFromOthers) {
  const auto ak = parse_public(make(ak_template_rsa2048()).public_area);
  ASSERT_TRUE(ak);
  EXPECT_TRUE(check_attestation_key(*ak));
  const auto ek = parse_public(make(ek_template_rsa2048()).public_area);
  EXPECT_THAT(check_attestation_key(*ek).error().message, HasSubstr("not sign"));
  for (const std::uint32_t bit : {kFixedTpm, kFixedParent, kSensitiveDataOrigin, kRestricted, kSign}) {
    PublicArea changed = *ak;
    changed.attributes &= ~bit;
    EXPECT_EQ(check_attestation_key(changed).error().code, ErrorCode::permission_denied) << bit;
  }
  PublicArea decrypts = *ak;
  decrypts.attributes |= kDecrypt;
  EXPECT_FALSE(check_attestation_key(decrypts));
  PublicArea old_hash = *ak;
  old_hash.scheme_hash = 0x0004;
  EXPECT_FALSE(check_attestation_key(old_hash));
  PublicArea no_scheme = *ak;
  no_scheme.scheme = kAlgNull;
  EXPECT_FALSE(check_attestation_key(no_scheme));
}

TEST_F(PublicKeyTest, RefusesKeysThatAreTooWeakOrDamaged) {
  const CreatedObject rsa = make(ak_template_rsa2048());
  const CreatedObject ecc = make(ak_template_ecc_p256());
  for (const Bytes& genuine : {rsa.public_area, ecc.public_area}) {
    for (std::size_t size = 0; size < genuine.size(); ++size) {
      EXPECT_FALSE(parse_public(ByteSpan(genuine).first(size))) << size;
    }
    Bytes longer = genuine;
    longer.push_back(std::byte{0});
    EXPECT_EQ(parse_public(longer).error().code, ErrorCode::corrupt);
  }
  PublicArea small = *parse_public(rsa.public_area);
  small.key_bits = 1024;
  small.modulus.resize(128);
  EXPECT_EQ(parse_public(marshal_public(small)).error().code, ErrorCode::unsupported);
  PublicArea weak_curve = *parse_public(ecc.public_area);
  weak_curve.curve = 0x0001;  // P-192
  EXPECT_EQ(parse_public(marshal_public(weak_curve)).error().code, ErrorCode::unsupported);
  PublicArea off_curve = *parse_public(ecc.public_area);
  off_curve.y.back() ^= std::byte{1};
  EXPECT_EQ(subject_public_key_info(marshal_public(off_curve)).error().code, ErrorCode::invalid_argument);
}

class CredentialTest : public PublicKeyTest, public ::testing::WithParamInterface<bool> {
 protected:
  [[nodiscard]] Bytes ek_form() const { return GetParam() ? ek_template_rsa2048() : ek_template_ecc_p256(); }
};

TEST_P(CredentialTest, IsOpenedByTheTpmThatHoldsBothKeys) {
  const CreatedObject ek = make(ek_form());
  const CreatedObject ak = make(ak_template_ecc_p256());
  const Bytes secret = to_bytes("thirty-two bytes are the maximum");
  const auto credential = make_credential(ek.public_area, ak.name, secret);
  ASSERT_TRUE(credential) << credential.error().message;
  const auto opened =
      client_.activate_credential(ak.handle, ek.handle, credential->blob, credential->encrypted_secret);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(*opened, secret);
  EXPECT_TRUE(client_.handles(0x03000000)->empty());
}

TEST_P(CredentialTest, IsNotOpenedForAnotherKeyOrWhenItWasChanged) {
  const CreatedObject ek = make(ek_form());
  const CreatedObject ak = make(ak_template_ecc_p256());
  const CreatedObject other = make(ak_template_rsa2048());
  const auto credential = make_credential(ek.public_area, ak.name, as_bytes("secret"));
  ASSERT_TRUE(credential);
  EXPECT_FALSE(
      client_.activate_credential(other.handle, ek.handle, credential->blob, credential->encrypted_secret));
  Bytes blob = credential->blob;
  blob.back() ^= std::byte{1};
  const auto changed = client_.activate_credential(ak.handle, ek.handle, blob, credential->encrypted_secret);
  ASSERT_FALSE(changed);
  EXPECT_THAT(changed.error().message, HasSubstr("TPM_RC_INTEGRITY"));
  EXPECT_TRUE(client_.handles(0x03000000)->empty());
}

TEST_P(CredentialTest, IsMadeForStorageKeysOnly) {
  const CreatedObject ek = make(ek_form());
  const CreatedObject ak = make(ak_template_rsa2048());
  EXPECT_EQ(make_credential(ak.public_area, ak.name, as_bytes("secret")).error().code,
            ErrorCode::invalid_argument);
  for (const Algorithm weak : {Algorithm::sha1, Algorithm::sm3_256}) {
    PublicArea area = *parse_public(ek.public_area);
    area.name_algorithm = weak;
    EXPECT_EQ(make_credential(marshal_public(area), ak.name, as_bytes("secret")).error().code,
              ErrorCode::invalid_argument);
  }
  EXPECT_EQ(make_credential(ek.public_area, ak.name, {}).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(make_credential(ek.public_area, ak.name, Bytes(33)).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(make_credential(ek.public_area, {}, as_bytes("secret")).error().code,
            ErrorCode::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(EndorsementKeys, CredentialTest, ::testing::Bool(),
                         [](const auto& made) { return made.param ? "Rsa" : "Ecc"; });

}  // namespace
}  // namespace bootseal::tpm

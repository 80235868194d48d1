// The client against a whole TPM (libtpms) in the same process, and against responses no TPM gives.
#include "bootseal/tpm/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bootseal/crypto/digest.h"
#include "software_tpm.h"

namespace bootseal::tpm {
namespace {

using ::testing::HasSubstr;
using testing::SoftwareTpm;

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() : tpm_(SoftwareTpm::manufacture()), client_(*tpm_) {
    const Status started = client_.startup();
    BOOTSEAL_CHECK(started.has_value());
  }

  CreatedObject persistent_ak() {
    auto ak = client_.create_primary(kEndorsement, ak_template_rsa2048());
    BOOTSEAL_CHECK(ak.has_value());
    BOOTSEAL_CHECK(client_.evict_control(kOwner, ak->handle, kAttestationKey).has_value());
    BOOTSEAL_CHECK(client_.flush_context(ak->handle).has_value());
    return *ak;
  }

  std::size_t open_handles() {
    const auto transient = client_.handles(0x80000000);
    const auto sessions = client_.handles(0x03000000);
    BOOTSEAL_CHECK(transient && sessions);
    return transient->size() + sessions->size();
  }

  std::unique_ptr<SoftwareTpm> tpm_;
  Client client_;
};

TEST_F(ClientTest, StartsOnceAndTakesASecondStartupForDone) {
  EXPECT_TRUE(client_.startup());
  EXPECT_TRUE(client_.self_test());
  EXPECT_TRUE(client_.shutdown());
}

TEST_F(ClientTest, GivesAsManyRandomBytesAsAskedForInPieces) {
  const auto random = client_.get_random(200);
  ASSERT_TRUE(random);
  EXPECT_EQ(random->size(), 200U);
  EXPECT_NE(*random, *client_.get_random(200));
}

TEST_F(ClientTest, ExtendsAPcrAsTheSpecificationSays) {
  const Bytes digest = crypto::digest(crypto::HashAlgorithm::sha256, as_bytes("measured"));
  ASSERT_TRUE(client_.pcr_extend(8, Algorithm::sha256, digest));
  const auto values = client_.pcr_read({Algorithm::sha256, 1U << 8});
  ASSERT_TRUE(values);
  ASSERT_EQ(values->size(), 1U);
  EXPECT_EQ(values->front().index, 8U);
  EXPECT_EQ(values->front().digest, crypto::digest(crypto::HashAlgorithm::sha256, {Bytes(32), digest}));
}

TEST_F(ClientTest, ReadsAllPcrsInOrderThoughTheTpmGivesEightAtATime) {
  const auto values = client_.pcr_read({Algorithm::sha256, 0xFFFFFF});
  ASSERT_TRUE(values);
  ASSERT_EQ(values->size(), 24U);
  for (unsigned index = 0; index < 24; ++index) EXPECT_EQ((*values)[index].index, index);
  // PCR 17 to 22 start at all ones (PC Client Platform TPM Profile, 4.6.2).
  EXPECT_EQ((*values)[16].digest, Bytes(32));
  EXPECT_EQ((*values)[17].digest, Bytes(32, std::byte{0xFF}));
}

TEST_F(ClientTest, RefusesAnEmptyOrTooLargePcrSelection) {
  EXPECT_EQ(client_.pcr_read({Algorithm::sha256, 0}).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(client_.pcr_read({Algorithm::sha256, 1U << 24}).error().code, ErrorCode::invalid_argument);
}

TEST_F(ClientTest, AllocatesOneBankFromTheNextPowerOn) {
  ASSERT_TRUE(client_.pcr_allocate(
      {Algorithm::sha256}, {Algorithm::sha1, Algorithm::sha256, Algorithm::sha384, Algorithm::sha512}));
  ASSERT_TRUE(client_.shutdown());
  tpm_->power_cycle();
  ASSERT_TRUE(client_.startup());
  EXPECT_TRUE(client_.pcr_read({Algorithm::sha256, 1}));
  const auto sha1 = client_.pcr_read({Algorithm::sha1, 1});
  ASSERT_FALSE(sha1);
  EXPECT_EQ(sha1.error().code, ErrorCode::unsupported);
}

TEST_F(ClientTest, MakesTheSameEndorsementKeyFromTheSameTemplate) {
  for (const Bytes& form : {ek_template_rsa2048(), ek_template_ecc_p256()}) {
    const auto first = client_.create_primary(kEndorsement, form);
    ASSERT_TRUE(first) << first.error().message;
    ASSERT_TRUE(client_.flush_context(first->handle));
    const auto second = client_.create_primary(kEndorsement, form);
    ASSERT_TRUE(second);
    EXPECT_EQ(first->public_area, second->public_area);
    // Part 1, 16: the name is nameAlg and the hash of the public area.
    Bytes name = {std::byte{0x00}, std::byte{0x0B}};
    append(name, crypto::digest(crypto::HashAlgorithm::sha256, first->public_area));
    EXPECT_EQ(to_hex(first->name), to_hex(name));
    ASSERT_TRUE(client_.flush_context(second->handle));
  }
  EXPECT_EQ(open_handles(), 0U);
}

TEST_F(ClientTest, KeepsAPersistentKeyAcrossPowerCyclesUntilItIsEvicted) {
  const CreatedObject ak = persistent_ak();
  ASSERT_TRUE(client_.shutdown());
  tpm_->power_cycle();
  ASSERT_TRUE(client_.startup());
  const auto found = client_.read_public(kAttestationKey);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->name, ak.name);
  EXPECT_EQ(*client_.handles(0x81000000), std::vector<Handle>{kAttestationKey});
  ASSERT_TRUE(client_.evict_control(kOwner, kAttestationKey, kAttestationKey));
  const auto gone = client_.read_public(kAttestationKey);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ErrorCode::not_found);
}

TEST_F(ClientTest, WritesAndReadsAnIndexLargerThanOnePiece) {
  constexpr Handle kIndex = 0x01500001;
  constexpr std::uint32_t kAttributes = kNvOwnerWrite | kNvOwnerRead | kNvAuthRead | kNvNoDa;
  Bytes data(2000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  ASSERT_TRUE(client_.nv_define(kOwner, kIndex, kAttributes, 2000));
  const auto unwritten = client_.nv_read(kOwner, kIndex);
  ASSERT_FALSE(unwritten);
  EXPECT_THAT(unwritten.error().message, HasSubstr("TPM_RC_NV_UNINITIALIZED"));
  ASSERT_TRUE(client_.nv_write(kOwner, kIndex, data));
  EXPECT_EQ(*client_.nv_read(kOwner, kIndex), data);
  EXPECT_EQ(*client_.nv_read(kIndex, kIndex), data);
  const auto described = client_.nv_read_public(kIndex);
  ASSERT_TRUE(described);
  EXPECT_EQ(described->data_size, 2000U);
  EXPECT_EQ(described->attributes, kAttributes | kNvWritten);

  EXPECT_EQ(client_.nv_define(kOwner, kIndex, kAttributes, 8).error().code, ErrorCode::conflict);
  EXPECT_EQ(client_.nv_write(kOwner, kIndex, Bytes(2001)).error().code, ErrorCode::conflict);
  EXPECT_EQ(client_.nv_write(kPlatform, kIndex, data).error().code, ErrorCode::conflict);
  ASSERT_TRUE(client_.nv_undefine(kOwner, kIndex));
  EXPECT_EQ(client_.nv_read(kOwner, kIndex).error().code, ErrorCode::not_found);
}

TEST_F(ClientTest, CountsUpwardsOnly) {
  constexpr Handle kIndex = 0x01500002;
  ASSERT_TRUE(client_.nv_define(kOwner, kIndex, kNvOwnerWrite | kNvOwnerRead | kNvCounter, 8));
  ASSERT_TRUE(client_.nv_increment(kOwner, kIndex));
  const std::uint64_t first = load_be64(*client_.nv_read(kOwner, kIndex), 0);
  ASSERT_TRUE(client_.nv_increment(kOwner, kIndex));
  EXPECT_EQ(load_be64(*client_.nv_read(kOwner, kIndex), 0), first + 1);
}

TEST_F(ClientTest, UnsealsUntilAPcrChanges) {
  const auto srk = client_.create_primary(kOwner, srk_template_ecc_p256());
  ASSERT_TRUE(srk) << srk.error().message;
  const PcrSelection selection{Algorithm::sha256, (1U << 7) | (1U << 11)};
  const auto sealed = client_.seal_to_pcrs(srk->handle, as_bytes("the disk key"), selection);
  ASSERT_TRUE(sealed) << sealed.error().message;
  const auto opened = client_.unseal_with_pcrs(srk->handle, *sealed, selection);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(as_text(*opened), "the disk key");

  ASSERT_TRUE(client_.pcr_extend(7, Algorithm::sha256, Bytes(32)));
  const auto refused = client_.unseal_with_pcrs(srk->handle, *sealed, selection);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  EXPECT_EQ(client_.last_response_code(), 0x99DU);
  EXPECT_THAT(refused.error().message, HasSubstr("TPM_RC_POLICY_FAIL"));

  SealedObject damaged = *sealed;
  damaged.private_part.back() ^= std::byte{1};
  const auto broken = client_.unseal_with_pcrs(srk->handle, damaged, selection);
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("TPM_RC_INTEGRITY"));
  ASSERT_TRUE(client_.flush_context(srk->handle));
  EXPECT_EQ(open_handles(), 0U);
}

TEST_F(ClientTest, RefusesToSealNothingOrTooMuch) {
  EXPECT_EQ(client_.seal_to_pcrs(kOwner, {}, {Algorithm::sha256, 1}).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(client_.seal_to_pcrs(kOwner, Bytes(129), {Algorithm::sha256, 1}).error().code,
            ErrorCode::invalid_argument);
}

TEST_F(ClientTest, QuotesWithTheAttestationKey) {
  persistent_ak();
  const auto quote = client_.quote(kAttestationKey, as_bytes("nonce"), {Algorithm::sha256, 0xFF});
  ASSERT_TRUE(quote) << quote.error().message;
  EXPECT_EQ(load_be32(quote->attest, 0), 0xFF544347U);
  EXPECT_EQ(quote->signature.size(), 2U + 2U + 2U + 256U);
  EXPECT_EQ(client_.quote(0x81000099, as_bytes("nonce"), {Algorithm::sha256, 0xFF}).error().code,
            ErrorCode::not_found);
  EXPECT_EQ(client_.quote(kAttestationKey, Bytes(65), {Algorithm::sha256, 0xFF}).error().code,
            ErrorCode::invalid_argument);
}

TEST_F(ClientTest, KnowsTheTpmsProperties) {
  const auto family = client_.property(0x00000100);  // TPM_PT_FAMILY_INDICATOR
  ASSERT_TRUE(family);
  EXPECT_EQ(*family, 0x322E3000U);  // "2.0"
  EXPECT_EQ(client_.property(0x00000001).error().code, ErrorCode::not_found);
}

// Answers every command with the same bytes.
class Canned final : public Transport {
 public:
  explicit Canned(std::string_view hex) : response_(*from_hex(hex)) {}
  Result<Bytes> transceive(ByteSpan) override { return response_; }

 private:
  Bytes response_;
};

TEST(ClientAgainstAHostileTpm, RefusesResponsesThatDoNotFitTheirSizes) {
  for (const std::string_view response : {
           "",                                      // nothing
           "800100000009",                          // no whole header
           "80010000000b00000000",                  // says 11 bytes, has 10
           "8001000000120000000000000005000102",    // TPM2B longer than the rest
           "80010000000c000000000000",              // no random bytes at all
           "800200000010000000000000000200000000",  // sessions nobody asked for
       }) {
    Canned tpm(response);
    const auto random = Client(tpm).get_random(16);
    ASSERT_FALSE(random) << response;
    EXPECT_EQ(random.error().code, ErrorCode::corrupt) << response;
  }
}

TEST(ClientAgainstAHostileTpm, RefusesPcrsThatWereNotAskedFor) {
  // Counter 1, one selection (sha256, PCR 1), one digest of 32 bytes.
  Canned tpm(
      "80010000003e00000000"
      "00000001"
      "00000001000b03020000"
      "00000001"
      "0020" +
      std::string(64, '0'));
  const auto values = Client(tpm).pcr_read({Algorithm::sha256, 1});
  ASSERT_FALSE(values);
  EXPECT_EQ(values.error().code, ErrorCode::corrupt);
  EXPECT_TRUE(Client(tpm).pcr_read({Algorithm::sha256, 2}));
}

TEST(ClientAgainstAHostileTpm, SaysUnavailableWhenTheTpmAsksToTryAgain) {
  Canned tpm("80010000000a00000922");
  const auto random = Client(tpm).get_random(16);
  ASSERT_FALSE(random);
  EXPECT_EQ(random.error().code, ErrorCode::unavailable);
  EXPECT_THAT(random.error().message, HasSubstr("TPM2_GetRandom: the TPM answered 0x922, TPM_RC_RETRY"));
}

}  // namespace
}  // namespace bootseal::tpm

// Quotes of real and software TPMs; OpenSSL's command line verified the same signatures
// (tests/data/README.md).
#include "bootseal/tpm/quote.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bootseal/crypto/x509.h"
#include "bootseal/tpm/public_key.h"
#include "fixtures.h"
#include "software_tpm.h"

namespace bootseal::tpm {
namespace {

using testing::fixture;
using ::testing::HasSubstr;
using testing::manifest;
using testing::quote_entry;

struct RecordedQuote {
  Bytes attest;
  Bytes signature;  // TPMT_SIGNATURE
  std::optional<crypto::PublicKey> key;
  std::vector<PcrValue> values;
};

std::string text_of(const json::Value& value) {
  return std::string(value.as_string());
}

RecordedQuote load(const std::string& name) {
  const json::Object& entry = quote_entry(name);
  RecordedQuote quote;
  quote.attest = fixture("quotes/" + name + ".attest");
  if (entry.at("signature").is_object()) {
    quote.signature = fixture("quotes/" + name + ".sig");
    if (text_of(entry.at("signature_format")).starts_with("raw")) {
      quote.signature = marshal_signature(
          {.scheme = kAlgRsaSsa, .hash = Algorithm::sha256, .rsa = quote.signature, .r = {}, .s = {}});
    }
  }
  if (entry.at("ak_public").is_object()) {
    auto key = crypto::PublicKey::from_pem(as_text(fixture("quotes/" + name + ".ak.pem")));
    BOOTSEAL_CHECK(key.has_value());
    quote.key = *std::move(key);
  }
  if (entry.at("pcr_values").is_object()) {
    for (const auto& [index, value] : entry.at("pcr_values").as_object().begin()->value().as_object()) {
      quote.values.push_back(
          {static_cast<unsigned>(std::stoul(std::string(index))), *from_hex(value.as_string())});
    }
  }
  return quote;
}

class RecordedQuotes : public ::testing::TestWithParam<std::size_t> {
 protected:
  [[nodiscard]] const json::Object& entry() const {
    return manifest().at("quotes").as_array().at(GetParam()).as_object();
  }
};

TEST_P(RecordedQuotes, SayWhatTheirSourcesSay) {
  const RecordedQuote recorded = load(text_of(entry().at("name")));
  const auto quote = parse_quote(recorded.attest);
  ASSERT_TRUE(quote) << quote.error().message;
  EXPECT_EQ(to_hex(quote->qualified_signer), text_of(entry().at("qualified_signer")));
  EXPECT_EQ(to_hex(quote->nonce), text_of(entry().at("nonce")));
  EXPECT_EQ(quote->clock_ms, static_cast<std::uint64_t>(entry().at("clock").as_int64()));
  EXPECT_EQ(quote->reset_count, static_cast<std::uint32_t>(entry().at("reset_count").as_int64()));
  EXPECT_EQ(quote->restart_count, static_cast<std::uint32_t>(entry().at("restart_count").as_int64()));
  EXPECT_EQ(quote->safe, entry().at("safe").as_int64() == 1);
  EXPECT_EQ(quote->firmware_version, std::stoull(text_of(entry().at("firmware_version")), nullptr, 16));
  EXPECT_EQ(to_hex(quote->pcr_digest), text_of(entry().at("pcr_digest")));
  const json::Array& selections = entry().at("selection").as_array();
  ASSERT_EQ(quote->selections.size(), selections.size());
  for (std::size_t i = 0; i < selections.size(); ++i) {
    PcrSelection wanted{*algorithm_from_name(selections[i].at("bank").as_string()), 0};
    for (const json::Value& pcr : selections[i].at("pcrs").as_array()) wanted.mask |= 1U << pcr.as_int64();
    EXPECT_EQ(quote->selections[i], wanted);
  }
}

TEST_P(RecordedQuotes, VerifyWithTheirKeyAndNoOther) {
  const RecordedQuote recorded = load(text_of(entry().at("name")));
  if (!recorded.key) {
    EXPECT_TRUE(entry().at("signature_valid").is_null());
    return;
  }
  ASSERT_TRUE(entry().at("signature_valid").as_bool());
  const auto signature = parse_signature(recorded.signature);
  ASSERT_TRUE(signature) << signature.error().message;
  EXPECT_EQ(marshal_signature(*signature), recorded.signature);
  const Status verified = verify_signature(recorded.attest, *signature, *recorded.key);
  EXPECT_TRUE(verified) << verified.error().message;
  for (const json::Value& other : manifest().at("quotes").as_array()) {
    const RecordedQuote stranger = load(text_of(other.at("name")));
    if (!stranger.key || *stranger.key == *recorded.key) continue;
    EXPECT_EQ(verify_signature(recorded.attest, *signature, *stranger.key).error().code,
              ErrorCode::permission_denied);
  }
  for (std::size_t byte = 0; byte < recorded.attest.size(); byte += 3) {
    Bytes flipped = recorded.attest;
    flipped[byte] ^= std::byte{0x10};
    EXPECT_FALSE(verify_signature(flipped, *signature, *recorded.key)) << byte;
  }
  for (std::size_t byte = 6; byte < recorded.signature.size(); byte += 5) {
    Bytes flipped = recorded.signature;
    flipped[byte] ^= std::byte{1};
    const auto parsed = parse_signature(flipped);
    if (parsed) {
      EXPECT_FALSE(verify_signature(recorded.attest, *parsed, *recorded.key)) << byte;
    }
  }
}

TEST_P(RecordedQuotes, AreOverThePcrValuesThatWerePublished) {
  const RecordedQuote recorded = load(text_of(entry().at("name")));
  if (recorded.values.empty()) {
    EXPECT_TRUE(entry().at("pcr_values").is_null());
    return;
  }
  auto quote = parse_quote(recorded.attest);
  ASSERT_TRUE(quote);
  quote->digest_algorithm = parse_signature(recorded.signature)->hash;
  const Status checked = check_pcr_values(*quote, recorded.values);
  EXPECT_TRUE(checked) << checked.error().message;
  std::vector<PcrValue> changed = recorded.values;
  changed.back().digest[0] ^= std::byte{1};
  EXPECT_EQ(check_pcr_values(*quote, changed).error().code, ErrorCode::permission_denied);
  changed = recorded.values;
  changed.pop_back();
  EXPECT_EQ(check_pcr_values(*quote, changed).error().code, ErrorCode::invalid_argument);
  changed = recorded.values;
  changed.push_back(changed.front());
  EXPECT_EQ(check_pcr_values(*quote, changed).error().code, ErrorCode::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(All, RecordedQuotes, ::testing::Range<std::size_t>(0, 11));
TEST(RecordedQuotes, AreEleven) {
  EXPECT_EQ(manifest().at("quotes").as_array().size(), 11U);
}

class VerifyQuote : public ::testing::TestWithParam<const char*> {
 protected:
  VerifyQuote() : quote_(load(GetParam())) {}
  [[nodiscard]] Result<Attestation> verify(ByteSpan nonce, PcrSelection selection) const {
    return verify_quote(quote_.attest, quote_.signature, *quote_.key, nonce, selection);
  }
  RecordedQuote quote_;
  Bytes nonce_ = *from_hex("aabbccddeeff00112233445566778899");
  PcrSelection selection_{Algorithm::sha256, 0x5BFF};  // PCR 0-9, 11, 12, 14
};

TEST_P(VerifyQuote, AcceptsTheNonceAndTheSelectionThatWereAskedForAndNoOthers) {
  const auto quote = verify(nonce_, selection_);
  ASSERT_TRUE(quote) << quote.error().message;
  EXPECT_EQ(quote->digest_algorithm, Algorithm::sha256);
  Bytes other = nonce_;
  other.back() ^= std::byte{1};
  EXPECT_THAT(verify(other, selection_).error().message, HasSubstr("another challenge"));
  other = nonce_;
  other.push_back(std::byte{0});
  EXPECT_EQ(verify(other, selection_).error().code, ErrorCode::permission_denied);
  EXPECT_EQ(verify(ByteSpan(nonce_).first(15), selection_).error().code, ErrorCode::invalid_argument);
  EXPECT_THAT(verify(nonce_, {Algorithm::sha256, 0x5BFE}).error().message, HasSubstr("sha256:0x005bff"));
  EXPECT_EQ(verify(nonce_, {Algorithm::sha384, 0x5BFF}).error().code, ErrorCode::permission_denied);
}

INSTANTIATE_TEST_SUITE_P(Keys, VerifyQuote, ::testing::Values("swtpm-rsa", "swtpm-ecc"));

TEST(VerifyQuoteFreshness, RefusesAnEmptyNonceAsGceRecordedIt) {
  const RecordedQuote recorded = load("gce-cos-85-no-nonce-sha256");
  const auto quote =
      verify_quote(recorded.attest, recorded.signature, *recorded.key, {}, {Algorithm::sha256, 0xFFFFFF});
  ASSERT_FALSE(quote);
  EXPECT_EQ(quote.error().code, ErrorCode::invalid_argument);
}

TEST(ParseQuote, RefusesOtherStructuresAndAnythingBehindTheEnd) {
  const Bytes genuine = fixture("quotes/swtpm-ecc.attest");
  Bytes changed = genuine;
  changed[0] = std::byte{0xFE};
  EXPECT_EQ(parse_quote(changed).error().code, ErrorCode::corrupt);
  changed = genuine;
  changed[5] = std::byte{0x17};  // TPM_ST_ATTEST_CERTIFY
  EXPECT_THAT(parse_quote(changed).error().message, HasSubstr("0x8017"));
  changed = genuine;
  changed.push_back(std::byte{0});
  EXPECT_EQ(parse_quote(changed).error().code, ErrorCode::corrupt);
  for (std::size_t size = 0; size < genuine.size(); ++size)
    EXPECT_FALSE(parse_quote(ByteSpan(genuine).first(size))) << size;
}

TEST(VerifySignature, RefusesSha1) {
  const RecordedQuote recorded = load("rust-keylime-agent-reply");
  const auto signature = parse_signature(recorded.signature);
  ASSERT_TRUE(signature);
  EXPECT_EQ(signature->hash, Algorithm::sha1);
  EXPECT_THAT(verify_signature(recorded.attest, *signature, *load("swtpm-rsa").key).error().message,
              HasSubstr("SHA-1"));
}

TEST(ParseSignature, RefusesOtherSchemes) {
  EXPECT_EQ(parse_signature(*from_hex("001a000b0000")).error().code, ErrorCode::unsupported);  // ECDAA
  EXPECT_EQ(parse_signature(*from_hex("0014000b000100ff")).error().code,
            ErrorCode::corrupt);  // one byte too many
  EXPECT_EQ(parse_signature(*from_hex("0014000bffff")).error().code, ErrorCode::corrupt);
}

// End to end: the client, libtpms, and RSASSA, RSAPSS and ECDSA keys.
class LiveQuote : public ::testing::TestWithParam<std::uint16_t> {
 protected:
  static Bytes form(std::uint16_t scheme) {
    if (scheme == kAlgEcdsa) return ak_template_ecc_p256();
    Bytes bytes = ak_template_rsa2048();
    store_be16(bytes, 12, scheme);  // type, nameAlg, attributes, policy size, symmetric
    return bytes;
  }
};

TEST_P(LiveQuote, VerifiesAgainstThePcrsOfTheTpm) {
  const auto tpm = testing::SoftwareTpm::manufacture();
  Client client(*tpm);
  ASSERT_TRUE(client.startup());
  const auto key = client.create_primary(kEndorsement, form(GetParam()));
  ASSERT_TRUE(key) << key.error().message;
  const auto area = parse_public(key->public_area);
  ASSERT_TRUE(area) << area.error().message;
  EXPECT_TRUE(check_attestation_key(*area));
  ASSERT_TRUE(client.pcr_extend(7, Algorithm::sha256, Bytes(32, std::byte{5})));
  const PcrSelection selection{Algorithm::sha256, 0x7BFF};
  const Bytes nonce(32, std::byte{0x42});
  const auto quote = client.quote(key->handle, nonce, selection);
  ASSERT_TRUE(quote) << quote.error().message;
  const auto verified = verify_quote(quote->attest, quote->signature, *key_of(*area), nonce, selection);
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_EQ(parse_signature(quote->signature)->scheme, GetParam());
  EXPECT_TRUE(check_pcr_values(*verified, *client.pcr_read(selection)));
  ASSERT_TRUE(client.pcr_extend(7, Algorithm::sha256, Bytes(32, std::byte{5})));
  EXPECT_EQ(check_pcr_values(*verified, *client.pcr_read(selection)).error().code,
            ErrorCode::permission_denied);
}

INSTANTIATE_TEST_SUITE_P(Schemes, LiveQuote, ::testing::Values(kAlgRsaSsa, kAlgRsaPss, kAlgEcdsa));

}  // namespace
}  // namespace bootseal::tpm

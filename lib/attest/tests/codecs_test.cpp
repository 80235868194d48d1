// Evidence, expectations, verdicts as JSON, and challenges.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bootseal/attest/challenges.h"
#include "bootseal/base/fds.h"
#include "test_tpm.h"

namespace bootseal::attest {
namespace {

using ::testing::HasSubstr;
using testing::kNow;
using testing::test_vm;

TEST(EvidenceCodec, SurvivesARoundTrip) {
  Evidence evidence;
  evidence.quote = to_bytes("quote");
  evidence.signature = to_bytes("signature");
  evidence.ak_certificate = to_bytes("certificate");
  evidence.event_log = Bytes(100, std::byte{7});
  evidence.pcr_bank = "sha256";
  evidence.pcr_values = {{0, Bytes(32)}, {14, Bytes(32, std::byte{1})}};
  evidence.agent_version = "0.1.0";
  evidence.boot_id = "b";
  const json::Value document = to_json(evidence);
  const Evidence again = *parse_evidence(document);
  EXPECT_EQ(json::serialize(to_json(again)), json::serialize(document));
  EXPECT_EQ(again.pcr_values, evidence.pcr_values);
  EXPECT_EQ(again.event_log, evidence.event_log);
}

TEST(EvidenceCodec, NamesTheFieldThatIsWrong) {
  const auto problem = [](std::string_view text) {
    return parse_evidence(*json::parse(text)).error().message;
  };
  EXPECT_THAT(problem("[]"), HasSubstr("evidence"));
  EXPECT_THAT(problem("{}"), HasSubstr("quote"));
  const std::string start = R"({"quote":"","signature":"","akCertificate":"","eventLog":"",)";
  EXPECT_THAT(problem(start + R"("pcrs":{"bank":"sha256","values":{"24":"00"}}})"),
              HasSubstr("\"24\" is no index of a PCR"));
  EXPECT_THAT(problem(start + R"("pcrs":{"bank":"sha256","values":{"07":"00"}}})"), HasSubstr("no index"));
  EXPECT_THAT(problem(start + R"("pcrs":{"bank":"sha256","values":{"7":"xy"}}})"), HasSubstr("no digest"));
  EXPECT_THAT(
      problem(start + R"("pcrs":{"bank":"sha256","values":{}},"osName":")" + std::string(1025, 'x') + "\"}"),
      HasSubstr("osName"));
  EXPECT_TRUE(parse_evidence(*json::parse(start + R"("pcrs":{"bank":"sha256","values":{}}})")));
}

TEST(ExpectationCodec, ReadsWhatTheContractSaysAndSurvivesARoundTrip) {
  const auto document = json::parse(
      R"({"vmName":"web-1","secureBoot":true,"vtpm":true,"baseline":{"image":"debian-12","components":[
    {"role":"shim","file":"/EFI/BOOT/BOOTX64.EFI","authenticodeSha256":"80A66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8",
     "signers":["Microsoft"],"version":"16.1","sbat":"shim,4"},
    {"role":"bootApplication","file":"x","authenticodeSha256":"5f21ff2c0d5d899842b28a8b19901ba72cf7a7ab93c02a77fadc6ff72be85b31","signers":[],"version":""}]}})");
  const Expectation expectation = *parse_expectation(*document);
  EXPECT_EQ(expectation.baseline.components.size(), 2U);
  EXPECT_EQ(expectation.baseline.components[0].sbat, "shim,4");
  EXPECT_EQ(expectation.baseline.components[1].role, Role::boot_application);
  const json::Value written = to_json(expectation);
  EXPECT_EQ(json::serialize(to_json(*parse_expectation(written))), json::serialize(written));
}

TEST(ExpectationCodec, RefusesUnknownRolesAndMalformedHashes) {
  const auto problem = [](std::string_view component) {
    return parse_expectation(
               *json::parse(
                   R"({"vmName":"a","secureBoot":true,"vtpm":true,"baseline":{"image":"i","components":[)" +
                   std::string(component) + "]}}"))
        .error()
        .message;
  };
  EXPECT_THAT(problem(R"({"role":"initrd","authenticodeSha256":""})"), HasSubstr("\"initrd\" is none of"));
  EXPECT_THAT(problem(R"({"role":"shim","authenticodeSha256":"80a6"})"), HasSubstr("64 hex digits"));
}

TEST(VerdictCodec, SurvivesARoundTrip) {
  Verdict verdict = unknown_verdict("EventLogEmpty", "no log");
  verdict.status = VerdictStatus::unhealthy;
  verdict.evidence_time = kNow;
  verdict.secure_boot = SecureBootState::disabled;
  verdict.vtpm_present = true;
  verdict.boot_chain = {{"shim", "/EFI/x", "ab", "Microsoft", "16", true}};
  verdict.pcrs = {{7, "00"}};
  verdict.bank = "sha256";
  const json::Value document = to_json(verdict);
  EXPECT_EQ(document.at("status").as_string(), "Unhealthy");
  EXPECT_EQ(document.at("secureBoot").as_string(), "Disabled");
  EXPECT_EQ(json::serialize(to_json(*parse_verdict(document))), json::serialize(document));
  EXPECT_EQ(parse_verdict(to_json(pending_verdict()))->status, VerdictStatus::pending);
  EXPECT_FALSE(parse_verdict(*json::parse(R"({"status":"Fine"})")));
}

TEST(Reasons, EveryCodeIsInTheManual) {
  const std::filesystem::path root(BOOTSEAL_SOURCE_DIR);
  const std::string manual(as_text(*read_file(root / "docs/attestation.md", 1 << 20)));
  const std::string codes(as_text(*read_file(root / "lib/attest/src/reasons.h", 1 << 20)));
  std::size_t count = 0;
  constexpr std::string_view kStart = "inline constexpr std::string_view k";
  for (std::size_t at = codes.find(kStart); at != std::string::npos;
       at = codes.find(kStart, at + 1), ++count) {
    const std::size_t quote = codes.find('"', at) + 1;
    const std::string code = codes.substr(quote, codes.find('"', quote) - quote);
    EXPECT_THAT(manual, HasSubstr(code));
  }
  EXPECT_GT(count, 25U);
}

class Challenges : public ::testing::Test {
 protected:
  FixedClock clock_{kNow};
  ChallengeStore store_{clock_};
};

TEST_F(Challenges, AreRandomAndForOneUse) {
  const Challenge first = *store_.issue(test_vm()), second = *store_.issue(test_vm());
  EXPECT_EQ(first.nonce.size(), kNonceSize);
  EXPECT_NE(first.nonce, second.nonce);
  EXPECT_EQ(first.expires, kNow + std::chrono::minutes(5));
  EXPECT_EQ(*store_.consume(test_vm(), first.id), first.nonce);
  EXPECT_EQ(store_.consume(test_vm(), first.id).error().code, ErrorCode::conflict);
  EXPECT_EQ(*store_.consume(test_vm(), second.id), second.nonce);
}

TEST_F(Challenges, AreBoundToTheirVm) {
  const Challenge challenge = *store_.issue(test_vm());
  EXPECT_FALSE(store_.consume(VmId::random(), challenge.id));
  EXPECT_TRUE(store_.consume(test_vm(), challenge.id));
}

TEST_F(Challenges, Expire) {
  const Challenge challenge = *store_.issue(test_vm());
  clock_.advance(std::chrono::minutes(5));
  EXPECT_FALSE(store_.consume(test_vm(), challenge.id));
  clock_.set(kNow);
  EXPECT_FALSE(store_.consume(test_vm(), challenge.id)) << "an expired challenge is used up as well";
}

TEST_F(Challenges, StayBounded) {
  const Challenge oldest = *store_.issue(test_vm());
  for (std::size_t i = 0; i < ChallengeStore::kPerVm; ++i) ASSERT_TRUE(store_.issue(test_vm()));
  EXPECT_FALSE(store_.consume(test_vm(), oldest.id));
  for (std::size_t i = ChallengeStore::kPerVm; i < ChallengeStore::kInAll; ++i)
    ASSERT_TRUE(store_.issue(VmId::random()));
  EXPECT_EQ(store_.issue(VmId::random()).error().code, ErrorCode::exhausted);
  EXPECT_TRUE(store_.issue(test_vm())) << "a VM that replaces its own oldest needs no more room";
  clock_.advance(std::chrono::minutes(6));
  EXPECT_TRUE(store_.issue(VmId::random()));
}

TEST_F(Challenges, AreForgottenWithTheirVm) {
  const Challenge challenge = *store_.issue(test_vm());
  store_.forget(test_vm());
  EXPECT_FALSE(store_.consume(test_vm(), challenge.id));
}

}  // namespace
}  // namespace bootseal::attest

// Evidence as JSON from a guest: parses or fails, survives a round trip, and is never Healthy (no key of ours
// signed it).
#include "bootseal/attest/appraise.h"
#include "test_tpm.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::attest;
  static const testing::Site site;
  static const Expectation expectation = testing::debian_expectation();
  static const Bytes nonce(kNonceSize, std::byte{9});
  const auto document = json::parse({reinterpret_cast<const char*>(data), size});
  if (!document) return 0;
  static_cast<void>(parse_expectation(*document));
  static_cast<void>(parse_verdict(*document));
  const auto evidence = parse_evidence(*document);
  if (!evidence) return 0;
  const json::Value written = to_json(*evidence);
  BOOTSEAL_CHECK(json::serialize(to_json(*parse_evidence(written))) == json::serialize(written));
  const Appraisal appraisal = appraise(
      *evidence, expectation, {testing::test_vm(), nonce, {site.certificate}, testing::kNow, std::nullopt});
  BOOTSEAL_CHECK(appraisal.verdict.status != VerdictStatus::healthy && !appraisal.clock);
  return 0;
}

// A guest that has been taken over hands out any log: whatever it says, a Healthy verdict tells the true
// boot.
//
// The first byte chooses: a whole log of its own, or edits {offset u16, value u8} of a good one (only those
// come far).
#include "bootseal/attest/appraise.h"
#include "test_tpm.h"

namespace {

using namespace bootseal;
using namespace bootseal::attest;
using namespace bootseal::attest::testing;

struct World {
  Site site;
  TestTpm tpm{site};
  Bytes log = read_log("pos-good");
  Bytes nonce = Bytes(kNonceSize, std::byte{9});
  Expectation expectation = immutable_expectation();
  Evidence evidence = [this] {
    QuoteFields fields;
    fields.nonce = nonce;
    return tpm.attest(fields, read_pcrs("pos-good"), log);
  }();
  AppraisalContext context{test_vm(), nonce, {site.certificate}, kNow, std::nullopt};
  Verdict honest = appraise(evidence, expectation, context).verdict;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const World world;
  BOOTSEAL_CHECK(world.honest.status == VerdictStatus::healthy);
  if (size == 0) return 0;
  const ByteSpan input(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  Evidence evidence = world.evidence;
  if ((data[0] & 1) != 0) {
    evidence.event_log = to_bytes(input);
  } else {
    for (std::size_t i = 0; i + 3 <= input.size(); i += 3)
      evidence.event_log[load_le16(input, i) % evidence.event_log.size()] = input[i + 2];
  }
  const Verdict verdict = appraise(evidence, world.expectation, world.context).verdict;
  if (verdict.status == VerdictStatus::healthy) {
    BOOTSEAL_CHECK(verdict.boot_chain == world.honest.boot_chain);
    BOOTSEAL_CHECK(verdict.secure_boot == SecureBootState::enabled);
    BOOTSEAL_CHECK(verdict.kernel_command_line == world.honest.kernel_command_line);
  }
  BOOTSEAL_CHECK(parse_verdict(*json::parse(json::serialize(to_json(verdict)))).has_value());
  return 0;
}

// Appraisals a second on one core: everything from the certificate to the verdict, the site's CA being P-384
// as the vault makes it.
#include <benchmark/benchmark.h>

#include "../tests/test_tpm.h"

namespace bootseal::attest::testing {
namespace {

void appraise_boot(benchmark::State& state, const std::string& name, crypto::KeyKind kind) {
  Site site;
  site.key = *crypto::PrivateKey::generate(crypto::KeyKind::ec_p384);
  site.certificate = *crypto::make_self_signed(
      site.key, crypto::site_ca_content("bench", kNow - std::chrono::days(1), std::chrono::days(100)));
  const TestTpm tpm(site, test_vm(), kind);
  QuoteFields fields;
  fields.nonce = Bytes(kNonceSize, std::byte{9});
  const Evidence evidence = tpm.attest(fields, read_pcrs(name), read_log(name));
  const Expectation expectation = debian_expectation();
  const AppraisalContext context{test_vm(), fields.nonce, {site.certificate}, kNow, std::nullopt};
  for (auto _ : state) {
    const Appraisal appraisal = appraise(evidence, expectation, context);
    if (appraisal.verdict.status != VerdictStatus::healthy) state.SkipWithError("not healthy");
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK_CAPTURE(appraise_boot, rsa_small_dbx, "pos-good", crypto::KeyKind::rsa);
BENCHMARK_CAPTURE(appraise_boot, rsa_large_dbx, "pos-sid-ms", crypto::KeyKind::rsa);
BENCHMARK_CAPTURE(appraise_boot, p256_small_dbx, "pos-good", crypto::KeyKind::ec_p256);

}  // namespace
}  // namespace bootseal::attest::testing

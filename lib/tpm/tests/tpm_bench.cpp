// What one attestation costs in this library: parsing and replaying a log, checking what its digests cover,
// verifying a quote.
#include <benchmark/benchmark.h>

#include "bootseal/tpm/event_content.h"
#include "bootseal/tpm/quote.h"
#include "fixtures.h"

namespace bootseal::tpm {
namespace {

// 114 events, 41 KB, two banks.
Bytes desktop_log() {
  return testing::fixture("event-logs/ubuntu-desktop-sb-on.bin.gz");
}

void parse_event_log(benchmark::State& state) {
  const Bytes bytes = desktop_log();
  for ([[maybe_unused]] auto step : state) benchmark::DoNotOptimize(EventLog::parse(bytes));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK(parse_event_log);

void replay_sha256(benchmark::State& state) {
  const auto log = EventLog::parse(desktop_log());
  for ([[maybe_unused]] auto step : state) benchmark::DoNotOptimize(log->replay(Algorithm::sha256));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(log->events().size()));
}
BENCHMARK(replay_sha256);

void check_all_digests(benchmark::State& state) {
  const auto log = EventLog::parse(desktop_log());
  for ([[maybe_unused]] auto step : state) {
    for (const Event& event : log->events()) benchmark::DoNotOptimize(check_digest(event, Algorithm::sha256));
  }
}
BENCHMARK(check_all_digests);

void verify(benchmark::State& state, const std::string& name) {
  const Bytes attest = testing::fixture("quotes/" + name + ".attest");
  const Bytes signature = testing::fixture("quotes/" + name + ".sig");
  const auto key = crypto::PublicKey::from_pem(as_text(testing::fixture("quotes/" + name + ".ak.pem")));
  const Bytes nonce = *from_hex("aabbccddeeff00112233445566778899");
  for ([[maybe_unused]] auto step : state) {
    const auto quote = verify_quote(attest, signature, *key, nonce, {Algorithm::sha256, 0x5BFF});
    BOOTSEAL_CHECK(quote.has_value());
  }
}
BENCHMARK_CAPTURE(verify, rsa2048, "swtpm-rsa");
BENCHMARK_CAPTURE(verify, ecc_p256, "swtpm-ecc");

}  // namespace
}  // namespace bootseal::tpm

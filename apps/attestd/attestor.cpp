#include "attestor.h"

#include <fmt/format.h>

namespace bootseal::attestd {
namespace {

using attest::Appraisal;
using attest::ClockState;
using attest::Expectation;
using attest::Verdict;

std::string expectation_key(const VmId& vm) {
  return "expectations/" + vm.to_string();
}
std::string verdict_key(const VmId& vm) {
  return "verdicts/" + vm.to_string();
}
std::string clock_key(const VmId& vm) {
  return "clocks/" + vm.to_string();
}

std::string write_clock(const ClockState& clock) {
  return json::serialize({{"ak", clock.ak.to_hex()},
                          {"resetCount", clock.reset_count},
                          {"restartCount", clock.restart_count},
                          {"clockMs", clock.clock_ms}});
}

Result<ClockState> parse_clock(const json::Value& document) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "clock"));
  ClockState clock;
  BOOTSEAL_TRY(const std::string ak, reader.string("ak"));
  BOOTSEAL_TRY(clock.ak, crypto::Sha256Digest::parse(ak));
  BOOTSEAL_TRY(const std::uint64_t resets, reader.unsigned_integer("resetCount"));
  BOOTSEAL_TRY(const std::uint64_t restarts, reader.unsigned_integer("restartCount"));
  clock.reset_count = static_cast<std::uint32_t>(resets);
  clock.restart_count = static_cast<std::uint32_t>(restarts);
  BOOTSEAL_TRY(clock.clock_ms, reader.unsigned_integer("clockMs"));
  return clock;
}

// nullopt when the key is absent; corrupt when its value is malformed.
template <typename T>
Result<std::optional<T>> read_record(store::Store& store, const std::string& key,
                                     Result<T> (*parse)(const json::Value&)) {
  BOOTSEAL_TRY(const std::optional<store::Entry> entry, store.get(key));
  if (!entry) return std::nullopt;
  const auto whole = [&]() -> Result<T> {
    BOOTSEAL_TRY(const json::Value document, json::parse(entry->value));
    return parse(document);
  };
  Result<T> value = whole();
  if (!value)
    return fail(
        ErrorCode::corrupt,
        fmt::format("attestd's record {} is damaged; delete the VM's record or restore attestd's store", key),
        value.error());
  return std::make_optional(*std::move(value));
}

}  // namespace

Attestor::Attestor(store::Store& store, crypto::Certificate site_ca, const Clock& clock)
    : store_(store), roots_{std::move(site_ca)}, clock_(clock), challenges_(clock) {}

std::mutex& Attestor::mutex_of(const VmId& vm) {
  return mutexes_[std::to_integer<std::size_t>(vm.guid.bytes.back()) % mutexes_.size()];
}

Result<std::optional<Expectation>> Attestor::expectation_of(const VmId& vm) {
  return read_record<Expectation>(store_, expectation_key(vm), &attest::parse_expectation);
}

Result<std::optional<ClockState>> Attestor::clock_of(const VmId& vm) {
  return read_record<ClockState>(store_, clock_key(vm), &parse_clock);
}

Status Attestor::expect(const VmId& vm, const Expectation& expectation) {
  const std::lock_guard lock(mutex_of(vm));
  const std::string text = json::serialize(attest::to_json(expectation));
  BOOTSEAL_TRY(const std::optional<store::Entry> known, store_.get(expectation_key(vm)));
  if (known && known->value == text) return {};
  BOOTSEAL_TRY_STATUS(
      store_.transact({}, {store::Put{expectation_key(vm), text, {}}, store::Delete{verdict_key(vm)}}));
  return {};
}

Status Attestor::forget(const VmId& vm) {
  const std::lock_guard lock(mutex_of(vm));
  challenges_.forget(vm);
  BOOTSEAL_TRY_STATUS(store_.transact({}, {store::Delete{expectation_key(vm)}, store::Delete{verdict_key(vm)},
                                           store::Delete{clock_key(vm)}}));
  return {};
}

Result<attest::Challenge> Attestor::challenge(const VmId& vm) {
  return challenges_.issue(vm);
}

Result<Verdict> Attestor::judge(const VmId& vm, const std::string& challenge_id,
                                const json::Value& document) {
  BOOTSEAL_TRY(const Bytes nonce, challenges_.consume(vm, challenge_id));
  const std::lock_guard lock(mutex_of(vm));
  BOOTSEAL_TRY(const std::optional<Expectation> expectation, expectation_of(vm));
  if (!expectation) {
    return attest::unknown_verdict(
        "ExpectationMissing",
        "it is not known what this VM should be; the control plane has not told it yet");
  }
  BOOTSEAL_TRY(std::optional<ClockState> last_clock, clock_of(vm));
  Appraisal appraisal;
  if (const auto evidence = attest::parse_evidence(document)) {
    appraisal =
        attest::appraise(*evidence, *expectation, {vm, nonce, roots_, clock_.now(), std::move(last_clock)});
  } else {
    appraisal.verdict = attest::unknown_verdict(
        "EvidenceMalformed", "the agent's evidence cannot be read: " + evidence.error().message);
    appraisal.verdict.evidence_time = clock_.now();
  }
  std::vector<store::Operation> changes = {
      store::Put{verdict_key(vm), json::serialize(attest::to_json(appraisal.verdict)), {}}};
  if (appraisal.clock) changes.emplace_back(store::Put{clock_key(vm), write_clock(*appraisal.clock), {}});
  BOOTSEAL_TRY_STATUS(store_.transact({}, changes));
  return std::move(appraisal.verdict);
}

Result<Verdict> Attestor::verdict(const VmId& vm) {
  BOOTSEAL_TRY(const std::optional<Expectation> expectation, expectation_of(vm));
  if (!expectation)
    return fail(ErrorCode::not_found, fmt::format("attestd does not know VM {}", vm.to_string()));
  if (!expectation->vtpm)
    return attest::unknown_verdict("NoVtpm", "the VM has no vTPM, so it cannot prove how it booted");
  BOOTSEAL_TRY(std::optional<Verdict> last,
               read_record<Verdict>(store_, verdict_key(vm), &attest::parse_verdict));
  if (!last) return attest::pending_verdict();
  const bool stale = !last->evidence_time || clock_.now() - *last->evidence_time > kVerdictLifetime;
  if (stale && last->status == attest::VerdictStatus::healthy) {
    last->status = attest::VerdictStatus::unknown;
    last->reasons.push_back({"EvidenceStale", attest::Severity::failure,
                             "the last evidence is older than 24 hours: the VM was healthy then, and nothing "
                             "has been heard since",
                             ""});
  }
  return *std::move(last);
}

}  // namespace bootseal::attestd

// The appraiser's memory: expectations, challenges, last verdicts and clocks of all VMs.
#pragma once

#include <array>
#include <mutex>

#include "bootseal/attest/appraise.h"
#include "bootseal/attest/challenges.h"
#include "bootseal/store/store.h"

namespace bootseal::attestd {

// A verdict says nothing about a VM that has been silent for longer.
inline constexpr std::chrono::hours kVerdictLifetime{24};

// Thread safe. Errors of all calls beside those each names: those of the store, corrupt for a damaged record.
class Attestor {
 public:
  // `store` and `clock` outlive it.
  Attestor(store::Store& store, crypto::Certificate site_ca, const Clock& clock = Clock::system());

  // Another expectation than before makes the last verdict void.
  Status expect(const VmId& vm, const attest::Expectation& expectation);
  // Success when nothing was known.
  Status forget(const VmId& vm);
  // exhausted.
  Result<attest::Challenge> challenge(const VmId& vm);
  // Consumes the challenge, then judges. conflict when the challenge is not an open one of this VM (the last
  // verdict stays). Evidence that cannot even be read is Unknown.
  Result<attest::Verdict> judge(const VmId& vm, const std::string& challenge_id, const json::Value& evidence);
  // The last verdict: Pending before the first one, Unknown when it has become too old. not_found without an
  // expectation.
  Result<attest::Verdict> verdict(const VmId& vm);

 private:
  std::mutex& mutex_of(const VmId& vm);
  Result<std::optional<attest::Expectation>> expectation_of(const VmId& vm);
  Result<std::optional<attest::ClockState>> clock_of(const VmId& vm);

  store::Store& store_;
  const std::vector<crypto::Certificate> roots_;
  const Clock& clock_;
  attest::ChallengeStore challenges_;
  std::array<std::mutex, 64> mutexes_;  // one VM is judged by one thread at a time
};

}  // namespace bootseal::attestd

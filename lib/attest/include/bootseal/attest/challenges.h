// Challenges: a nonce for one VM, for one use, for five minutes.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "bootseal/base/clock.h"
#include "bootseal/base/ids.h"

namespace bootseal::attest {

struct Challenge {
  std::string id;
  Bytes nonce;  // kNonceSize random bytes
  TimePoint expires;
};

// Thread safe. Lives in memory: a restart forgets all challenges, and evidence for them is refused.
class ChallengeStore {
 public:
  static constexpr std::chrono::minutes kLifetime{5};
  static constexpr std::size_t kPerVm = 4;        // a new one ends the oldest
  static constexpr std::size_t kInAll = 100'000;  // exhausted past it

  explicit ChallengeStore(const Clock& clock) : clock_(clock) {}

  // exhausted when too many are open.
  Result<Challenge> issue(const VmId& vm);
  // Takes the challenge out, whatever comes of it. conflict when it is not one of this VM, was used, was
  // replaced by newer ones, or has expired: the message does not say which.
  Result<Bytes> consume(const VmId& vm, const std::string& id);
  void forget(const VmId& vm);

 private:
  void drop_expired(TimePoint now);

  const Clock& clock_;
  std::mutex mutex_;
  std::map<VmId, std::deque<Challenge>> open_;  // oldest first
  std::size_t count_ = 0;
};

}  // namespace bootseal::attest

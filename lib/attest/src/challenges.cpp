#include "bootseal/attest/challenges.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/attest/appraise.h"
#include "bootseal/crypto/digest.h"

namespace bootseal::attest {

Result<Challenge> ChallengeStore::issue(const VmId& vm) {
  const TimePoint now = clock_.now();
  const std::lock_guard lock(mutex_);
  if (count_ >= kInAll) drop_expired(now);
  auto open = open_.find(vm);
  const bool replaces = open != open_.end() && open->second.size() == kPerVm;
  if (count_ >= kInAll && !replaces) {
    return fail(ErrorCode::exhausted, "too many challenges are open; try again in a few minutes");
  }
  if (open == open_.end()) open = open_.try_emplace(vm).first;
  if (replaces) {
    open->second.pop_front();
    --count_;
  }
  open->second.push_back({Guid::random().to_string(), crypto::random_bytes(kNonceSize), now + kLifetime});
  ++count_;
  return open->second.back();
}

Result<Bytes> ChallengeStore::consume(const VmId& vm, const std::string& id) {
  const TimePoint now = clock_.now();
  const std::lock_guard lock(mutex_);
  const auto refusal = [&] {
    return fail(ErrorCode::conflict, fmt::format("there is no open challenge of this id for VM {}: it was "
                                                 "used, has expired, or was never given; ask for a new one",
                                                 vm.to_string()));
  };
  const auto open = open_.find(vm);
  if (open == open_.end()) return refusal();
  const auto found = std::ranges::find(open->second, id, &Challenge::id);
  if (found == open->second.end()) return refusal();
  Challenge challenge = std::move(*found);
  open->second.erase(found);
  --count_;
  if (open->second.empty()) open_.erase(open);
  if (now >= challenge.expires) return refusal();
  return std::move(challenge.nonce);
}

void ChallengeStore::forget(const VmId& vm) {
  const std::lock_guard lock(mutex_);
  const auto open = open_.find(vm);
  if (open == open_.end()) return;
  count_ -= open->second.size();
  open_.erase(open);
}

void ChallengeStore::drop_expired(TimePoint now) {
  for (auto open = open_.begin(); open != open_.end();) {
    count_ -=
        std::erase_if(open->second, [&](const Challenge& challenge) { return now >= challenge.expires; });
    open = open->second.empty() ? open_.erase(open) : std::next(open);
  }
}

}  // namespace bootseal::attest

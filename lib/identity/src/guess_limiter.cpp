#include "bootseal/identity/guess_limiter.h"

#include <algorithm>

namespace bootseal::identity {

std::chrono::microseconds GuessLimiter::wait_of(std::string_view key, TimePoint now) {
  const std::lock_guard lock(mutex_);
  const auto found = records_.find(key);
  if (found == records_.end()) return {};
  return std::max(found->second.until - now, std::chrono::microseconds::zero());
}

void GuessLimiter::failed(std::string_view key, TimePoint now) {
  const std::lock_guard lock(mutex_);
  auto found = records_.find(key);
  if (found == records_.end()) {
    make_room(now);
    found = records_.emplace(std::string(key), Record{}).first;
  }
  Record& record = found->second;
  if (record.last + limits_.memory < now) record.failures = 0;
  record.failures = std::min(record.failures + 1, limits_.free_attempts + 32);
  record.last = now;
  if (record.failures <= limits_.free_attempts) return;
  std::chrono::seconds wait = limits_.first_wait;
  for (unsigned i = limits_.free_attempts + 1; i < record.failures && wait < limits_.last_wait; ++i)
    wait *= 2;
  record.until = now + std::min(wait, limits_.last_wait);
}

void GuessLimiter::succeeded(std::string_view key) {
  const std::lock_guard lock(mutex_);
  if (const auto found = records_.find(key); found != records_.end()) records_.erase(found);
}

std::size_t GuessLimiter::size() const {
  const std::lock_guard lock(mutex_);
  return records_.size();
}

void GuessLimiter::make_room(TimePoint now) {
  if (records_.size() < limits_.keys) return;
  std::erase_if(records_, [&](const auto& one) { return one.second.last + limits_.memory < now; });
  while (records_.size() >= limits_.keys) {
    records_.erase(std::min_element(records_.begin(), records_.end(), [](const auto& a, const auto& b) {
      return std::pair(a.second.failures, a.second.last) < std::pair(b.second.failures, b.second.last);
    }));
  }
}

}  // namespace bootseal::identity

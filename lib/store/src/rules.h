// What every store checks before it does anything, and the leases' time.
#pragma once

#include <map>
#include <mutex>

#include "bootseal/store/store.h"

namespace bootseal::store {

Status check_key(std::string_view key);
// A prefix may be empty.
Status check_prefix(std::string_view prefix);
Status check_list(std::string_view prefix, std::size_t limit, std::string_view after);
// Keys, values, their number, and that no two operations name the same key.
Status check_transaction(const std::vector<Condition>& conditions, const std::vector<Operation>& operations);
Status check_time_to_live(std::chrono::milliseconds time_to_live);

// The first text after all texts with this prefix, in the order of bytes.
std::string prefix_end(std::string_view prefix);

const std::string& key_of(const Operation& operation);
tl::unexpected<Error> condition_failed(const Condition& condition, Revision found);
tl::unexpected<Error> lease_is_gone(LeaseId lease);
tl::unexpected<Error> since_is_unknown(Revision since, Revision oldest, Revision newest);

// When each lease ends. Thread safe.
class LeaseTimes {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Begins the lease's time anew.
  void add(LeaseId lease, std::chrono::milliseconds time_to_live);
  bool extend(LeaseId lease);  // false when there is none
  bool remove(LeaseId lease);
  [[nodiscard]] bool contains(LeaseId lease) const;
  [[nodiscard]] std::vector<LeaseId> due(Time now) const;
  // The end that comes first; Time::max() without leases.
  [[nodiscard]] Time next_end() const;

 private:
  struct Times {
    std::chrono::milliseconds time_to_live;
    Time end;
  };
  mutable std::mutex mutex_;
  std::map<LeaseId, Times> leases_;  // guarded by mutex_
};

}  // namespace bootseal::store

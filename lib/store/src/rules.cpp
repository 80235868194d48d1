#include "rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bootseal/base/bytes.h"

namespace bootseal::store {
namespace {

constexpr std::chrono::milliseconds kMaxTimeToLive = std::chrono::hours{24 * 365};

}  // namespace

Status check_key(std::string_view key) {
  if (key.empty()) return fail(ErrorCode::invalid_argument, "a key of the store is empty");
  return check_prefix(key);
}

Status check_prefix(std::string_view prefix) {
  if (prefix.size() > kMaxKeyBytes) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a key of the store has at most {} bytes, \"{}…\" has {}", kMaxKeyBytes,
                            prefix.substr(0, 40), prefix.size()));
  }
  if (prefix.find('\0') != std::string_view::npos || !is_utf8(prefix)) {
    return fail(ErrorCode::invalid_argument, "a key of the store is no UTF-8 or has a NUL");
  }
  return {};
}

Status check_list(std::string_view prefix, std::size_t limit, std::string_view after) {
  if (limit == 0) return fail(ErrorCode::invalid_argument, "a list of the store has a limit of at least 1");
  BOOTSEAL_TRY_STATUS(check_prefix(prefix));
  return check_prefix(after);
}

Status check_transaction(const std::vector<Condition>& conditions, const std::vector<Operation>& operations) {
  if (conditions.size() > kMaxOperations || operations.size() > kMaxOperations) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a transaction has at most {} conditions and {} operations, this one {} and {}",
                            kMaxOperations, kMaxOperations, conditions.size(), operations.size()));
  }
  for (const Condition& condition : conditions) BOOTSEAL_TRY_STATUS(check_key(condition.key));
  std::set<std::string_view> keys;
  for (const Operation& operation : operations) {
    const std::string& key = key_of(operation);
    BOOTSEAL_TRY_STATUS(check_key(key));
    if (!keys.insert(key).second) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("two operations of a transaction name the key \"{}\"", key));
    }
    const Put* const put = std::get_if<Put>(&operation);
    if (put != nullptr && put->value.size() > kMaxValueBytes) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("a value has at most {} bytes, that of \"{}\" has {}", kMaxValueBytes, key,
                              put->value.size()));
    }
  }
  return {};
}

Status check_time_to_live(std::chrono::milliseconds time_to_live) {
  if (time_to_live < std::chrono::milliseconds{1} || time_to_live > kMaxTimeToLive) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a lease lives from 1 ms to a year, not {} ms", time_to_live.count()));
  }
  return {};
}

std::string prefix_end(std::string_view prefix) {
  // No byte of UTF-8 is 0xff.
  if (prefix.empty()) return "\xff";
  std::string end(prefix);
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

const std::string& key_of(const Operation& operation) {
  return std::visit([](const auto& each) -> const std::string& { return each.key; }, operation);
}

tl::unexpected<Error> condition_failed(const Condition& condition, Revision found) {
  if (condition.mod_revision == 0) {
    return fail(ErrorCode::conflict,
                fmt::format("\"{}\" exists already (revision {})", condition.key, found));
  }
  if (found == 0)
    return fail(ErrorCode::conflict, fmt::format("\"{}\" was deleted in the meantime", condition.key));
  return fail(ErrorCode::conflict,
              fmt::format("\"{}\" was changed in the meantime (revision {}, expected {})", condition.key,
                          found, condition.mod_revision));
}

tl::unexpected<Error> lease_is_gone(LeaseId lease) {
  return fail(ErrorCode::not_found, fmt::format("the lease {} has ended", lease.value));
}

tl::unexpected<Error> since_is_unknown(Revision since, Revision oldest, Revision newest) {
  return fail(
      ErrorCode::conflict,
      fmt::format(
          "the changes since revision {} are not known (kept: {} to {}); list again and watch from there",
          since, oldest, newest));
}

void LeaseTimes::add(LeaseId lease, std::chrono::milliseconds time_to_live) {
  const std::lock_guard lock(mutex_);
  leases_[lease] = {time_to_live, std::chrono::steady_clock::now() + time_to_live};
}

bool LeaseTimes::extend(LeaseId lease) {
  const std::lock_guard lock(mutex_);
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return false;
  found->second.end = std::chrono::steady_clock::now() + found->second.time_to_live;
  return true;
}

bool LeaseTimes::remove(LeaseId lease) {
  const std::lock_guard lock(mutex_);
  return leases_.erase(lease) > 0;
}

bool LeaseTimes::contains(LeaseId lease) const {
  const std::lock_guard lock(mutex_);
  return leases_.contains(lease);
}

std::vector<LeaseId> LeaseTimes::due(Time now) const {
  const std::lock_guard lock(mutex_);
  std::vector<LeaseId> ended;
  for (const auto& [lease, times] : leases_) {
    if (times.end <= now) ended.push_back(lease);
  }
  return ended;
}

LeaseTimes::Time LeaseTimes::next_end() const {
  const std::lock_guard lock(mutex_);
  Time next = Time::max();
  for (const auto& [lease, times] : leases_) next = std::min(next, times.end);
  return next;
}

}  // namespace bootseal::store

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>

#include "rules.h"

namespace bootseal::store {
namespace {

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(StoreOptions options) : options_(options) {}

  Result<std::optional<Entry>> get(std::string_view key) override {
    BOOTSEAL_TRY_STATUS(check_key(key));
    const std::lock_guard lock(mutex_);
    end_due_leases();
    const auto found = entries_.find(key);
    return found == entries_.end() ? std::nullopt : std::optional(found->second);
  }

  Result<Page> list(std::string_view prefix, std::size_t limit, std::string_view after) override {
    BOOTSEAL_TRY_STATUS(check_list(prefix, limit, after));
    const std::lock_guard lock(mutex_);
    end_due_leases();
    Page page{.entries = {}, .more = false, .revision = revision_};
    auto next = after < prefix ? entries_.lower_bound(prefix) : entries_.upper_bound(after);
    if (after.empty()) next = entries_.lower_bound(prefix);
    for (; next != entries_.end() && next->first.starts_with(prefix); ++next) {
      if (page.entries.size() == limit) {
        page.more = true;
        break;
      }
      page.entries.push_back(next->second);
    }
    return page;
  }

  Result<Revision> transact(const std::vector<Condition>& conditions,
                            const std::vector<Operation>& operations) override {
    BOOTSEAL_TRY_STATUS(check_transaction(conditions, operations));
    const std::lock_guard lock(mutex_);
    end_due_leases();
    for (const Condition& condition : conditions) {
      const auto found = entries_.find(condition.key);
      const Revision revision = found == entries_.end() ? 0 : found->second.mod_revision;
      if (revision != condition.mod_revision) return condition_failed(condition, revision);
    }
    for (const Operation& operation : operations) {
      const Put* const put = std::get_if<Put>(&operation);
      if (put != nullptr && put->lease != LeaseId{} && !leases_.contains(put->lease))
        return lease_is_gone(put->lease);
    }
    apply(operations);
    return revision_;
  }

  Result<Revision> revision() override {
    const std::lock_guard lock(mutex_);
    end_due_leases();
    return revision_;
  }

  Result<Changes> watch(std::string_view prefix, Revision since, std::chrono::milliseconds limit,
                        std::stop_token stop) override {
    BOOTSEAL_TRY_STATUS(check_prefix(prefix));
    const auto give_up = std::chrono::steady_clock::now() + limit;
    std::unique_lock lock(mutex_);
    for (;;) {
      end_due_leases();
      if (stop.stop_requested()) return fail(ErrorCode::cancelled, "the watch was stopped on request");
      if (since < compacted_ || since > revision_) return since_is_unknown(since, compacted_, revision_);
      Changes found{.changes = {}, .revision = revision_};
      for (const Change& change : changes_) {
        if (change.revision > since && change.key.starts_with(prefix)) found.changes.push_back(change);
      }
      if (!found.changes.empty() || std::chrono::steady_clock::now() >= give_up) return found;
      changed_.wait_until(lock, stop, std::min(give_up, leases_.next_end()),
                          [this, seen = revision_] { return revision_ != seen; });
    }
  }

  Result<LeaseId> grant(std::chrono::milliseconds time_to_live) override {
    BOOTSEAL_TRY_STATUS(check_time_to_live(time_to_live));
    const std::lock_guard lock(mutex_);
    const LeaseId lease{++last_lease_};
    leases_.add(lease, time_to_live);
    return lease;
  }

  Status keep_alive(LeaseId lease) override {
    const std::lock_guard lock(mutex_);
    end_due_leases();
    if (!leases_.extend(lease)) return lease_is_gone(lease);
    return {};
  }

  Status revoke(LeaseId lease) override {
    const std::lock_guard lock(mutex_);
    end_due_leases();
    if (!leases_.contains(lease)) return lease_is_gone(lease);
    end_leases({lease});
    return {};
  }

 private:
  // Everything below: mutex_ is held.

  void end_due_leases() {
    const auto now = std::chrono::steady_clock::now();
    if (leases_.next_end() > now) return;
    end_leases(leases_.due(now));
  }

  void end_leases(const std::vector<LeaseId>& ended) {
    std::vector<Operation> operations;
    for (const auto& [key, entry] : entries_) {
      if (std::find(ended.begin(), ended.end(), entry.lease) != ended.end())
        operations.emplace_back(Delete{key});
    }
    for (const LeaseId lease : ended) leases_.remove(lease);
    apply(operations);
  }

  void apply(const std::vector<Operation>& operations) {
    const Revision next = revision_ + 1;
    const std::size_t changes_before = changes_.size();
    for (const Operation& operation : operations) {
      const std::string& key = key_of(operation);
      const auto found = entries_.find(key);
      if (const Put* const put = std::get_if<Put>(&operation)) {
        const Revision created = found == entries_.end() ? next : found->second.create_revision;
        entries_[key] = {key, put->value, created, next, put->lease};
        changes_.push_back({next, key, put->value});
      } else if (found != entries_.end()) {
        entries_.erase(found);
        changes_.push_back({next, key, std::nullopt});
      }
    }
    if (changes_.size() == changes_before) return;
    revision_ = next;
    while (changes_.size() > options_.kept_changes) {
      compacted_ = changes_.front().revision;
      changes_.pop_front();
    }
    changed_.notify_all();
  }

  const StoreOptions options_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, Entry, std::less<>> entries_;  // guarded by mutex_, as all below
  std::deque<Change> changes_;
  Revision revision_ = 0;
  Revision compacted_ = 0;
  std::uint64_t last_lease_ = 0;
  LeaseTimes leases_;
};

}  // namespace

std::unique_ptr<Store> make_memory_store(StoreOptions options) {
  return std::make_unique<MemoryStore>(options);
}

}  // namespace bootseal::store

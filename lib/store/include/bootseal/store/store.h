// Keys with values and revisions: all-or-nothing transactions, watching, leases.
//
//   BOOTSEAL_TRY(const auto found, store.get("placements/7"));
//   const auto written = store.transact({Condition::same(*found)}, {Put{"placements/7", text}});   //
//   Conflict when somebody was faster
//
// Every transaction that changes something makes one new store revision. All calls are thread safe. A key is
// 1 to 1024 bytes of UTF-8 without NUL, a value at most 1 MiB, a transaction at most 128 conditions and 128
// operations (the limits that etcd shares).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal::store {

using Revision = std::uint64_t;

inline constexpr std::size_t kMaxKeyBytes = 1024;
inline constexpr std::size_t kMaxValueBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxOperations = 128;

struct LeaseId {
  std::uint64_t value = 0;  // 0 = no lease
  auto operator<=>(const LeaseId&) const = default;
};

struct Entry {
  std::string key;
  std::string value;
  Revision create_revision = 0;  // the store revision that made the key
  Revision mod_revision = 0;     // the store revision that wrote it last
  LeaseId lease;
  bool operator==(const Entry&) const = default;
};

// Holds when the key's mod_revision is this one; 0 = the key is absent.
struct Condition {
  std::string key;
  Revision mod_revision = 0;

  static Condition absent(std::string key) { return {std::move(key), 0}; }
  static Condition same(const Entry& entry) { return {entry.key, entry.mod_revision}; }
};

struct Put {
  std::string key;
  std::string value;
  LeaseId lease;  // the key vanishes with this lease; none = it stays, also when it was bound before
};
struct Delete {
  std::string key;  // nothing happens when it is absent
};
using Operation = std::variant<Put, Delete>;

struct Page {
  std::vector<Entry> entries;  // in the order of the keys' bytes
  bool more = false;           // there are entries after the last one: ask again with its key as `after`
  Revision revision = 0;       // of the store when the page was read
};

struct Change {
  Revision revision = 0;
  std::string key;
  std::optional<std::string> value;  // nullopt = the key was deleted, or its lease ended
  bool operator==(const Change&) const = default;
};

struct Changes {
  std::vector<Change> changes;  // in the order in which they happened
  Revision revision = 0;        // hand this to the next watch()
};

class Store {
 public:
  virtual ~Store() = default;

  // Errors of every call: invalid_argument (a key or value out of its limits), exhausted (disk full),
  // io_error, corrupt.

  // nullopt when the key is absent.
  virtual Result<std::optional<Entry>> get(std::string_view key) = 0;
  // The first `limit` (at least 1) entries whose key begins with `prefix` and comes after `after`.
  virtual Result<Page> list(std::string_view prefix, std::size_t limit, std::string_view after = {}) = 0;
  // All entries with the prefix; all of them from one revision or later.
  Result<std::vector<Entry>> list_all(std::string_view prefix);

  // Carries out all operations, when all conditions hold, and returns the store's revision after it (on the
  // disk when it returns). conflict names the first key whose condition does not hold; invalid_argument when
  // two operations name the same key; not_found when a put names a lease that is gone.
  virtual Result<Revision> transact(const std::vector<Condition>& conditions,
                                    const std::vector<Operation>& operations) = 0;
  // One put or delete without a condition.
  Result<Revision> put(std::string key, std::string value, LeaseId lease = {});
  Result<Revision> remove(std::string key);

  virtual Result<Revision> revision() = 0;
  // The changes of keys with the prefix after revision `since`. Waits for one at most `limit`; none = an
  // empty list. Errors: cancelled (stop was requested), conflict (`since` is older than the changes the store
  // keeps, or newer than the store: list() again and go on from that page's revision).
  virtual Result<Changes> watch(std::string_view prefix, Revision since, std::chrono::milliseconds limit,
                                std::stop_token stop = {}) = 0;

  // A lease ends `time_to_live` (at least 1 ms) after its grant or last keep_alive(); the keys bound to it
  // vanish then in one transaction. A restart of the store gives every lease its whole time again: late,
  // never early.
  virtual Result<LeaseId> grant(std::chrono::milliseconds time_to_live) = 0;
  // not_found when the lease has ended.
  virtual Status keep_alive(LeaseId lease) = 0;
  // Ends the lease now. not_found when it has ended already.
  virtual Status revoke(LeaseId lease) = 0;
};

struct StoreOptions {
  // That watch() can go back; older ones are forgotten. 0 = nobody watches, and nothing of a value that was
  // overwritten or deleted is kept.
  std::size_t kept_changes = 10000;
};

// Lives as long as the object; for tests.
std::unique_ptr<Store> make_memory_store(StoreOptions options = {});
// An SQLite file (mode 0600, its folder must exist) that only one object at a time may have open. Errors:
// conflict (somebody has it open), corrupt (the file fails its integrity check; the message says what to do),
// unsupported (written by a newer version), as fail_errno.
Result<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& path,
                                                 StoreOptions options = {});

}  // namespace bootseal::store

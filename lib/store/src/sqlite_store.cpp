#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>

#include "bootseal/base/fds.h"
#include "rules.h"
#include "sqlite.h"
#include "sqlite_reader.h"

namespace bootseal::store {
namespace {

constexpr std::array kMigrations = {
    Migration{1, R"sql(
      CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
      INSERT INTO state VALUES (1, 0, 0);
      CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL,
                            mod_revision INTEGER NOT NULL, lease INTEGER NOT NULL) WITHOUT ROWID, STRICT;
      CREATE INDEX entries_by_lease ON entries (lease) WHERE lease <> 0;
      CREATE TABLE changes (id INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL, key TEXT NOT NULL,
                            value BLOB) STRICT;
      CREATE INDEX changes_by_revision ON changes (revision);
      CREATE TABLE leases (id INTEGER PRIMARY KEY AUTOINCREMENT, time_to_live_ms INTEGER NOT NULL) STRICT;
    )sql"},
};

class SqliteStore final : public Store {
 public:
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& path, StoreOptions options);

  Result<std::optional<Entry>> get(std::string_view key) override {
    BOOTSEAL_TRY_STATUS(check_key(key));
    BOOTSEAL_TRY_STATUS(end_due_leases());
    return reader_->get(key);
  }

  Result<Page> list(std::string_view prefix, std::size_t limit, std::string_view after) override {
    BOOTSEAL_TRY_STATUS(check_list(prefix, limit, after));
    BOOTSEAL_TRY_STATUS(end_due_leases());
    return reader_->list(prefix, limit, after);
  }

  Result<Revision> transact(const std::vector<Condition>& conditions,
                            const std::vector<Operation>& operations) override;

  Result<Revision> revision() override {
    BOOTSEAL_TRY_STATUS(end_due_leases());
    const std::lock_guard lock(mutex_);
    return revision_;
  }

  Result<Changes> watch(std::string_view prefix, Revision since, std::chrono::milliseconds limit,
                        std::stop_token stop) override;
  Result<LeaseId> grant(std::chrono::milliseconds time_to_live) override;
  Status keep_alive(LeaseId lease) override;
  Status revoke(LeaseId lease) override;

 private:
  SqliteStore(UniqueFd lock_file, Database database, StoreOptions options)
      : options_(options), lock_file_(std::move(lock_file)), database_(std::move(database)) {}

  Status prepare_statements();
  Status load();
  Status end_due_leases();
  Status end_leases_locked(const std::vector<LeaseId>& ended);
  Status check_conditions(const std::vector<Condition>& conditions);
  // Writes the operations as revision `next`; false when they change nothing.
  Result<bool> apply(const std::vector<Operation>& operations, Revision next);
  Status add_change(Revision revision, std::string_view key, const std::string* value);
  Status finish_revision(Revision revision);
  // After the commit: wakes the watchers.
  void publish(Revision revision);

  const StoreOptions options_;
  UniqueFd lock_file_;
  std::unique_ptr<SqliteReader> reader_;
  LeaseTimes leases_;

  std::mutex mutex_;
  Database database_;  // guarded by mutex_, as all below
  std::optional<Statement> mod_revision_, put_, delete_, add_change_, compact_, set_state_, keys_of_lease_;
  std::optional<Statement> add_lease_, remove_lease_;
  Revision revision_ = 0;
  std::uint64_t last_change_id_ = 0;

  std::mutex publish_mutex_;
  std::condition_variable_any published_;
  Revision published_revision_ = 0;  // guarded by publish_mutex_
};

Result<UniqueFd> lock(const std::filesystem::path& path) {
  std::filesystem::path lock_path = path;
  lock_path += ".lock";
  BOOTSEAL_TRY(UniqueFd file, open_file(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return file;
  if (errno == EWOULDBLOCK) {
    return fail(ErrorCode::conflict,
                fmt::format("{} is in use by another process; stop that one first", path.string()));
  }
  return fail_errno(errno, fmt::format("locking {}", lock_path.string()));
}

// SQLite would make it with the mode of the umask; its side files take the mode of this one.
Status make_private(const std::filesystem::path& path) {
  BOOTSEAL_TRY(const UniqueFd file, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::fchmod(file.get(), 0600) != 0) return fail_errno(errno, fmt::format("protecting {}", path.string()));
  return {};
}

Result<std::unique_ptr<Store>> SqliteStore::open(const std::filesystem::path& path, StoreOptions options) {
  BOOTSEAL_TRY(UniqueFd lock_file, lock(path));
  BOOTSEAL_TRY_STATUS(make_private(path));
  BOOTSEAL_TRY(Database database, Database::open(path));
  std::unique_ptr<SqliteStore> store(new SqliteStore(std::move(lock_file), std::move(database), options));
  Database& own = store->database_;
  BOOTSEAL_TRY_STATUS(own.execute(kConnectionPragmas));
  BOOTSEAL_TRY(const std::string mode, own.query_text("PRAGMA journal_mode = WAL"));
  if (mode != "wal") {
    return fail(
        ErrorCode::unsupported,
        fmt::format("{} is on a file system without shared memory; put it on a local disk", path.string()));
  }
  BOOTSEAL_TRY(const std::string integrity, own.query_text("PRAGMA integrity_check(1)"));
  if (integrity != "ok") {
    return fail(
        ErrorCode::corrupt,
        fmt::format(
            "{} is damaged ({}); restore it from a backup, or move it away to begin with an empty store",
            path.string(), integrity));
  }
  BOOTSEAL_TRY_STATUS(migrate(own, path, kMigrations));
  BOOTSEAL_TRY_STATUS(sync_folder(path.has_parent_path() ? path.parent_path() : "."));
  BOOTSEAL_TRY_STATUS(store->prepare_statements());
  BOOTSEAL_TRY(store->reader_, SqliteReader::open(path));
  BOOTSEAL_TRY_STATUS(store->load());
  return store;
}

Status SqliteStore::prepare_statements() {
  const auto prepare = [this](std::optional<Statement>& statement, const char* sql) -> Status {
    BOOTSEAL_TRY(Statement prepared, database_.prepare(sql));
    statement.emplace(std::move(prepared));
    return {};
  };
  BOOTSEAL_TRY_STATUS(prepare(mod_revision_, "SELECT mod_revision FROM entries WHERE key = ?"));
  BOOTSEAL_TRY_STATUS(
      prepare(put_,
              "INSERT INTO entries VALUES (?1, ?2, ?3, ?3, ?4) ON CONFLICT (key) DO UPDATE SET "
              "value = excluded.value, mod_revision = excluded.mod_revision, lease = excluded.lease"));
  BOOTSEAL_TRY_STATUS(prepare(delete_, "DELETE FROM entries WHERE key = ? RETURNING key"));
  BOOTSEAL_TRY_STATUS(
      prepare(add_change_, "INSERT INTO changes (revision, key, value) VALUES (?, ?, ?) RETURNING id"));
  BOOTSEAL_TRY_STATUS(prepare(compact_, "DELETE FROM changes WHERE id <= ? RETURNING revision"));
  BOOTSEAL_TRY_STATUS(prepare(set_state_, "UPDATE state SET revision = ?, compacted = max(compacted, ?)"));
  BOOTSEAL_TRY_STATUS(prepare(keys_of_lease_, "SELECT key FROM entries WHERE lease = ? AND lease <> 0"));
  BOOTSEAL_TRY_STATUS(prepare(add_lease_, "INSERT INTO leases (time_to_live_ms) VALUES (?) RETURNING id"));
  return prepare(remove_lease_, "DELETE FROM leases WHERE id = ?");
}

Status SqliteStore::load() {
  BOOTSEAL_TRY(revision_, database_.query_integer("SELECT revision FROM state"));
  BOOTSEAL_TRY(last_change_id_, database_.query_integer("SELECT coalesce(max(id), 0) FROM changes"));
  published_revision_ = revision_;
  // Fewer changes may be kept than when the file was written.
  BOOTSEAL_TRY(Transaction transaction, Transaction::begin(database_, true));
  BOOTSEAL_TRY_STATUS(finish_revision(revision_));
  BOOTSEAL_TRY_STATUS(transaction.commit());
  BOOTSEAL_TRY(Statement leases, database_.prepare("SELECT id, time_to_live_ms FROM leases"));
  Statement::Run run(leases);
  for (;;) {
    BOOTSEAL_TRY(const bool row, run.next());
    if (!row) return {};
    leases_.add(LeaseId{run.integer_at(0)}, std::chrono::milliseconds(run.integer_at(1)));
  }
}

Status SqliteStore::check_conditions(const std::vector<Condition>& conditions) {
  for (const Condition& condition : conditions) {
    Statement::Run run(*mod_revision_);
    run.text(condition.key);
    BOOTSEAL_TRY(const bool exists, run.next());
    const Revision found = exists ? run.integer_at(0) : 0;
    if (found != condition.mod_revision) return condition_failed(condition, found);
  }
  return {};
}

Status SqliteStore::add_change(Revision revision, std::string_view key, const std::string* value) {
  if (options_.kept_changes == 0) return {};
  Statement::Run run(*add_change_);
  run.integer(revision).text(key);
  value == nullptr ? run.null() : run.blob(*value);
  BOOTSEAL_TRY(const bool row, run.next());
  if (row) last_change_id_ = run.integer_at(0);
  return run.finish();
}

Result<bool> SqliteStore::apply(const std::vector<Operation>& operations, Revision next) {
  bool changed = false;
  for (const Operation& operation : operations) {
    if (const Put* const put = std::get_if<Put>(&operation)) {
      if (put->lease != LeaseId{} && !leases_.contains(put->lease)) return lease_is_gone(put->lease);
      Statement::Run run(*put_);
      run.text(put->key).blob(put->value).integer(next).integer(put->lease.value);
      BOOTSEAL_TRY_STATUS(run.finish());
      BOOTSEAL_TRY_STATUS(add_change(next, put->key, &put->value));
      changed = true;
      continue;
    }
    const std::string& key = std::get<Delete>(operation).key;
    Statement::Run run(*delete_);
    run.text(key);
    BOOTSEAL_TRY(const bool existed, run.next());
    BOOTSEAL_TRY_STATUS(run.finish());
    if (!existed) continue;
    BOOTSEAL_TRY_STATUS(add_change(next, key, nullptr));
    changed = true;
  }
  return changed;
}

// Forgets the oldest changes and writes down the new revision.
Status SqliteStore::finish_revision(Revision revision) {
  Revision compacted = options_.kept_changes == 0 ? revision : 0;
  if (last_change_id_ > options_.kept_changes) {
    Statement::Run run(*compact_);
    run.integer(last_change_id_ - options_.kept_changes);
    for (;;) {
      BOOTSEAL_TRY(const bool row, run.next());
      if (!row) break;
      compacted = std::max(compacted, run.integer_at(0));
    }
  }
  Statement::Run run(*set_state_);
  run.integer(revision).integer(compacted);
  return run.finish();
}

void SqliteStore::publish(Revision revision) {
  revision_ = revision;
  const std::lock_guard lock(publish_mutex_);
  published_revision_ = revision;
  published_.notify_all();
}

Result<Revision> SqliteStore::transact(const std::vector<Condition>& conditions,
                                       const std::vector<Operation>& operations) {
  BOOTSEAL_TRY_STATUS(check_transaction(conditions, operations));
  BOOTSEAL_TRY_STATUS(end_due_leases());
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(Transaction transaction, Transaction::begin(database_, true));
  BOOTSEAL_TRY_STATUS(check_conditions(conditions));
  const Revision next = revision_ + 1;
  BOOTSEAL_TRY(const bool changed, apply(operations, next));
  if (!changed) return revision_;
  BOOTSEAL_TRY_STATUS(finish_revision(next));
  BOOTSEAL_TRY_STATUS(transaction.commit());
  publish(next);
  return next;
}

Status SqliteStore::end_due_leases() {
  const auto now = std::chrono::steady_clock::now();
  if (leases_.next_end() > now) return {};
  const std::lock_guard lock(mutex_);
  return end_leases_locked(leases_.due(now));
}

Status SqliteStore::end_leases_locked(const std::vector<LeaseId>& ended) {
  if (ended.empty()) return {};
  BOOTSEAL_TRY(Transaction transaction, Transaction::begin(database_, true));
  std::vector<Operation> operations;
  for (const LeaseId lease : ended) {
    Statement::Run keys(*keys_of_lease_);
    keys.integer(lease.value);
    for (;;) {
      BOOTSEAL_TRY(const bool row, keys.next());
      if (!row) break;
      operations.emplace_back(Delete{keys.text_at(0)});
    }
    Statement::Run remove(*remove_lease_);
    remove.integer(lease.value);
    BOOTSEAL_TRY_STATUS(remove.finish());
  }
  const Revision next = revision_ + 1;
  BOOTSEAL_TRY(const bool changed, apply(operations, next));
  if (changed) BOOTSEAL_TRY_STATUS(finish_revision(next));
  BOOTSEAL_TRY_STATUS(transaction.commit());
  for (const LeaseId lease : ended) leases_.remove(lease);
  if (changed) publish(next);
  return {};
}

Result<Changes> SqliteStore::watch(std::string_view prefix, Revision since, std::chrono::milliseconds limit,
                                   std::stop_token stop) {
  BOOTSEAL_TRY_STATUS(check_prefix(prefix));
  const auto give_up = std::chrono::steady_clock::now() + limit;
  for (;;) {
    BOOTSEAL_TRY_STATUS(end_due_leases());
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "the watch was stopped on request");
    BOOTSEAL_TRY(Changes found, reader_->changes(prefix, since));
    if (!found.changes.empty() || std::chrono::steady_clock::now() >= give_up) return found;
    std::unique_lock lock(publish_mutex_);
    // A new lease wakes nobody: the transaction that binds a key to it does.
    published_.wait_until(lock, stop, std::min(give_up, leases_.next_end()),
                          [&] { return published_revision_ > found.revision; });
  }
}

Result<LeaseId> SqliteStore::grant(std::chrono::milliseconds time_to_live) {
  BOOTSEAL_TRY_STATUS(check_time_to_live(time_to_live));
  const std::lock_guard lock(mutex_);
  LeaseId lease;
  {
    Statement::Run run(*add_lease_);
    run.integer(static_cast<std::uint64_t>(time_to_live.count()));
    BOOTSEAL_TRY(const bool row, run.next());
    if (row) lease.value = run.integer_at(0);
    BOOTSEAL_TRY_STATUS(run.finish());
  }
  leases_.add(lease, time_to_live);
  return lease;
}

Status SqliteStore::keep_alive(LeaseId lease) {
  BOOTSEAL_TRY_STATUS(end_due_leases());
  const std::lock_guard lock(mutex_);
  if (!leases_.extend(lease)) return lease_is_gone(lease);
  return {};
}

Status SqliteStore::revoke(LeaseId lease) {
  BOOTSEAL_TRY_STATUS(end_due_leases());
  const std::lock_guard lock(mutex_);
  if (!leases_.contains(lease)) return lease_is_gone(lease);
  return end_leases_locked({lease});
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& path, StoreOptions options) {
  return SqliteStore::open(path, options);
}

}  // namespace bootseal::store

#include "sqlite_reader.h"

#include <fmt/format.h>

#include "rules.h"

namespace bootseal::store {
namespace {

constexpr const char* kColumns = "key, value, create_revision, mod_revision, lease";

Entry entry_of(const Statement::Run& run) {
  return {run.text_at(0), run.text_at(1), run.integer_at(2), run.integer_at(3), LeaseId{run.integer_at(4)}};
}

}  // namespace

Result<std::unique_ptr<SqliteReader>> SqliteReader::open(const std::filesystem::path& path) {
  BOOTSEAL_TRY(Database database, Database::open(path));
  std::unique_ptr<SqliteReader> reader(new SqliteReader(std::move(database)));
  BOOTSEAL_TRY_STATUS(reader->database_.execute(kConnectionPragmas));
  const auto prepare = [&](std::optional<Statement>& statement, const std::string& sql) -> Status {
    BOOTSEAL_TRY(Statement prepared, reader->database_.prepare(sql.c_str()));
    statement.emplace(std::move(prepared));
    return {};
  };
  BOOTSEAL_TRY_STATUS(prepare(reader->get_, fmt::format("SELECT {} FROM entries WHERE key = ?", kColumns)));
  BOOTSEAL_TRY_STATUS(prepare(
      reader->list_from_,
      fmt::format("SELECT {} FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?", kColumns)));
  BOOTSEAL_TRY_STATUS(prepare(
      reader->list_after_,
      fmt::format("SELECT {} FROM entries WHERE key > ? AND key < ? ORDER BY key LIMIT ?", kColumns)));
  BOOTSEAL_TRY_STATUS(prepare(reader->state_, "SELECT revision, compacted FROM state"));
  BOOTSEAL_TRY_STATUS(
      prepare(reader->changes_,
              "SELECT revision, key, value FROM changes WHERE revision > ? AND key >= ? AND key < ? "
              "ORDER BY id"));
  return reader;
}

Result<std::optional<Entry>> SqliteReader::get(std::string_view key) {
  const std::lock_guard lock(mutex_);
  Statement::Run run(*get_);
  run.text(key);
  BOOTSEAL_TRY(const bool row, run.next());
  if (!row) return std::nullopt;
  return entry_of(run);
}

Result<Page> SqliteReader::list(std::string_view prefix, std::size_t limit, std::string_view after) {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(Transaction snapshot, Transaction::begin(database_, false));
  Page page;
  const std::string end = prefix_end(prefix);
  const bool from_prefix = after.empty() || after < prefix;
  {
    Statement::Run run(from_prefix ? *list_from_ : *list_after_);
    run.text(from_prefix ? prefix : after).text(end).integer(limit + 1);
    for (;;) {
      BOOTSEAL_TRY(const bool row, run.next());
      if (!row) break;
      if (page.entries.size() == limit) {
        page.more = true;
        break;
      }
      page.entries.push_back(entry_of(run));
    }
  }
  BOOTSEAL_TRY(const State state, read_state());
  page.revision = state.revision;
  BOOTSEAL_TRY_STATUS(snapshot.commit());
  return page;
}

Result<Changes> SqliteReader::changes(std::string_view prefix, Revision since) {
  const std::lock_guard lock(mutex_);
  BOOTSEAL_TRY(Transaction snapshot, Transaction::begin(database_, false));
  BOOTSEAL_TRY(const State state, read_state());
  if (since < state.compacted || since > state.revision) {
    return since_is_unknown(since, state.compacted, state.revision);
  }
  Changes found{.changes = {}, .revision = state.revision};
  {
    const std::string end = prefix_end(prefix);
    Statement::Run run(*changes_);
    run.integer(since).text(prefix).text(end);
    for (;;) {
      BOOTSEAL_TRY(const bool row, run.next());
      if (!row) break;
      Change change{run.integer_at(0), run.text_at(1), std::nullopt};
      if (!run.null_at(2)) change.value = run.text_at(2);
      found.changes.push_back(std::move(change));
    }
  }
  BOOTSEAL_TRY_STATUS(snapshot.commit());
  return found;
}

Result<SqliteReader::State> SqliteReader::read_state() {
  Statement::Run run(*state_);
  BOOTSEAL_TRY(const bool row, run.next());
  if (!row) return fail(ErrorCode::corrupt, "the store has lost its state row; restore it from a backup");
  return State{run.integer_at(0), run.integer_at(1)};
}

}  // namespace bootseal::store

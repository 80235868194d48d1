// The reading half of the SQLite store: a connection of its own, so that readers do not wait for a writer
// that waits for the disk.
#pragma once

#include <mutex>

#include "bootseal/store/store.h"
#include "sqlite.h"

namespace bootseal::store {

// For every connection. WAL with FULL: what was acknowledged is on the disk. secure_delete: what was deleted
// is not.
inline constexpr const char* kConnectionPragmas =
    "PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA "
    "secure_delete = ON;"
    "PRAGMA synchronous = FULL";

// Thread safe.
class SqliteReader {
 public:
  // Of a file whose schema is there.
  static Result<std::unique_ptr<SqliteReader>> open(const std::filesystem::path& path);

  // As those of Store; what they are given has been checked.
  Result<std::optional<Entry>> get(std::string_view key);
  Result<Page> list(std::string_view prefix, std::size_t limit, std::string_view after);
  // What there is now, without waiting.
  Result<Changes> changes(std::string_view prefix, Revision since);

 private:
  struct State {
    Revision revision;
    Revision compacted;
  };

  explicit SqliteReader(Database database) : database_(std::move(database)) {}
  Result<State> read_state();

  std::mutex mutex_;
  Database database_;  // guarded by mutex_, as all below
  std::optional<Statement> get_;
  std::optional<Statement> list_from_;
  std::optional<Statement> list_after_;
  std::optional<Statement> state_;
  std::optional<Statement> changes_;
};

}  // namespace bootseal::store

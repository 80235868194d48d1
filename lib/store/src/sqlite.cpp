#include "sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace bootseal::store {
namespace {

// "BSls"; `file` and sqlite3 show it.
constexpr std::uint64_t kApplicationId = 0x42536c73;

ErrorCode code_for(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
      return ErrorCode::corrupt;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return ErrorCode::exhausted;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::unavailable;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return ErrorCode::permission_denied;
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
      return ErrorCode::internal;
    default:
      return ErrorCode::io_error;
  }
}

}  // namespace

Result<Database> Database::open(const std::filesystem::path& path) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                       SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
                                   nullptr);
  if (raw == nullptr) return fail(ErrorCode::exhausted, "SQLite has no memory for a connection");
  Database database(raw, path);
  if (code != SQLITE_OK) return database.failure("opening");
  return database;
}

Database::Database(Database&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)), path_(std::move(other.path_)) {}

Database::~Database() {
  sqlite3_close_v2(database_);
}

tl::unexpected<Error> Database::failure(std::string_view doing) const {
  const int code = sqlite3_extended_errcode(database_);
  const ErrorCode kind = code_for(code);
  std::string message = fmt::format("{} {}: {}", doing, path_.string(), sqlite3_errmsg(database_));
  if (kind == ErrorCode::corrupt) {
    message += "; restore the file from a backup, or move it away to begin with an empty store";
  }
  return fail(kind, std::move(message));
}

Status Database::execute(const char* sql) {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failure("writing");
  return {};
}

Result<Statement> Database::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
    return failure("preparing a statement on");
  }
  return Statement(*this, statement);
}

Result<std::string> Database::query_text(const char* sql) {
  BOOTSEAL_TRY(Statement statement, prepare(sql));
  Statement::Run run(statement);
  BOOTSEAL_TRY(const bool row, run.next());
  return row ? run.text_at(0) : std::string();
}

Result<std::uint64_t> Database::query_integer(const char* sql) {
  BOOTSEAL_TRY(Statement statement, prepare(sql));
  Statement::Run run(statement);
  BOOTSEAL_TRY(const bool row, run.next());
  return row ? run.integer_at(0) : 0;
}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}

Statement::~Statement() {
  sqlite3_finalize(statement_);
}

Statement::Run::~Run() {
  sqlite3_reset(statement_.statement_);
  sqlite3_clear_bindings(statement_.statement_);
}

void Statement::Run::check_bound(int code) {
  if (bind_code_ == SQLITE_OK) bind_code_ = code;
}

Statement::Run& Statement::Run::integer(std::uint64_t value) {
  check_bound(sqlite3_bind_int64(statement_.statement_, ++parameters_, static_cast<sqlite3_int64>(value)));
  return *this;
}

Statement::Run& Statement::Run::text(std::string_view value) {
  check_bound(sqlite3_bind_text(statement_.statement_, ++parameters_, value.empty() ? "" : value.data(),
                                static_cast<int>(value.size()), SQLITE_STATIC));
  return *this;
}

Statement::Run& Statement::Run::blob(std::string_view value) {
  check_bound(sqlite3_bind_blob(statement_.statement_, ++parameters_, value.empty() ? "" : value.data(),
                                static_cast<int>(value.size()), SQLITE_STATIC));
  return *this;
}

Statement::Run& Statement::Run::null() {
  check_bound(sqlite3_bind_null(statement_.statement_, ++parameters_));
  return *this;
}

Result<bool> Statement::Run::next() {
  if (bind_code_ != SQLITE_OK) return statement_.database_->failure("binding a parameter on");
  switch (sqlite3_step(statement_.statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return statement_.database_->failure("using");
  }
}

Status Statement::Run::finish() {
  for (;;) {
    BOOTSEAL_TRY(const bool row, next());
    if (!row) return {};
  }
}

std::uint64_t Statement::Run::integer_at(int column) const {
  return static_cast<std::uint64_t>(sqlite3_column_int64(statement_.statement_, column));
}

std::string Statement::Run::text_at(int column) const {
  const void* const data = sqlite3_column_blob(statement_.statement_, column);
  const int size = sqlite3_column_bytes(statement_.statement_, column);
  return data == nullptr ? std::string()
                         : std::string(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

bool Statement::Run::null_at(int column) const {
  return sqlite3_column_type(statement_.statement_, column) == SQLITE_NULL;
}

Result<Transaction> Transaction::begin(Database& database, bool immediate) {
  BOOTSEAL_TRY_STATUS(database.execute(immediate ? "BEGIN IMMEDIATE" : "BEGIN"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr) static_cast<void>(database_->execute("ROLLBACK"));
}

Status Transaction::commit() {
  BOOTSEAL_TRY_STATUS(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

Status migrate(Database& database, const std::filesystem::path& path, std::span<const Migration> migrations) {
  BOOTSEAL_TRY(const std::uint64_t application, database.query_integer("PRAGMA application_id"));
  BOOTSEAL_TRY(const std::uint64_t tables, database.query_integer("SELECT count(*) FROM sqlite_schema"));
  if (application != kApplicationId && (application != 0 || tables != 0)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is an SQLite file of another program", path.string()));
  }
  BOOTSEAL_TRY(const std::uint64_t version, database.query_integer("PRAGMA user_version"));
  const auto newest = static_cast<std::uint64_t>(migrations.back().to_version);
  if (version > newest) {
    return fail(
        ErrorCode::unsupported,
        fmt::format(
            "{} was written by a newer version of Bootseal (schema {}, this one knows {}); use that version",
            path.string(), version, newest));
  }
  for (const Migration& migration : migrations) {
    if (static_cast<std::uint64_t>(migration.to_version) <= version) continue;
    BOOTSEAL_TRY(Transaction transaction, Transaction::begin(database, true));
    BOOTSEAL_TRY_STATUS(database.execute(migration.sql));
    const std::string mark = fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}",
                                         kApplicationId, migration.to_version);
    BOOTSEAL_TRY_STATUS(database.execute(mark.c_str()));
    BOOTSEAL_TRY_STATUS(transaction.commit());
  }
  return {};
}

}  // namespace bootseal::store

// The little of SQLite that the store needs, with results in place of return codes.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "bootseal/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace bootseal::store {

class Statement;

// One connection; used by one thread at a time.
class Database {
 public:
  // Opens or makes the file, for writing. Nothing of it is read yet.
  static Result<Database> open(const std::filesystem::path& path);
  Database(Database&& other) noexcept;
  Database& operator=(Database&&) = delete;
  ~Database();

  // Statements without parameters, separated by semicolons.
  Status execute(const char* sql);
  Result<Statement> prepare(const char* sql);
  // The first column of the first row.
  Result<std::string> query_text(const char* sql);
  Result<std::uint64_t> query_integer(const char* sql);

  // The last error of this connection: corrupt, exhausted, unavailable (locked), permission_denied or
  // io_error.
  [[nodiscard]] tl::unexpected<Error> failure(std::string_view doing) const;

 private:
  Database(sqlite3* database, std::filesystem::path path) : database_(database), path_(std::move(path)) {}

  sqlite3* database_;
  std::filesystem::path path_;
};

// A prepared statement. Its database must outlive it and stay in its place.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // One execution: parameters in their order, then rows. The statement is free for the next one when this
  // ends.
  class Run {
   public:
    explicit Run(Statement& statement) : statement_(statement) {}
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    Run& integer(std::uint64_t value);
    // The text and the blob must live until the run ends.
    Run& text(std::string_view value);
    Run& blob(std::string_view value);
    Run& null();
    // True when there is a row.
    Result<bool> next();
    // To the end, for statements without rows.
    Status finish();

    [[nodiscard]] std::uint64_t integer_at(int column) const;
    [[nodiscard]] std::string text_at(int column) const;
    [[nodiscard]] bool null_at(int column) const;

   private:
    void check_bound(int code);

    Statement& statement_;
    int parameters_ = 0;
    int bind_code_ = 0;
  };

 private:
  friend class Database;
  Statement(Database& database, sqlite3_stmt* statement) : database_(&database), statement_(statement) {}

  Database* database_;
  sqlite3_stmt* statement_;
};

// Rolls back what was not committed.
class Transaction {
 public:
  // With `immediate`, nobody else can write from now on.
  static Result<Transaction> begin(Database& database, bool immediate);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Status commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

// One step of the schema; `sql` is carried out together with the new version number, or not at all.
struct Migration {
  int to_version;
  const char* sql;
};
// Brings the file to the last version of the list. unsupported when it is newer than that, invalid_argument
// when it is no file of ours.
Status migrate(Database& database, const std::filesystem::path& path, std::span<const Migration> migrations);

}  // namespace bootseal::store

// What the SQLite file promises beyond the contract.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "bootseal/base/fds.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/store/store.h"
#include "sqlite.h"
#include "temporary_folder.h"

namespace bootseal::store::testing {
namespace {

using ::testing::HasSubstr;

class SqliteStoreTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path path() const { return folder_.path() / "store.db"; }
  [[nodiscard]] std::unique_ptr<Store> open(StoreOptions options = {}) const {
    auto store = open_sqlite_store(path(), options);
    if (!store) ADD_FAILURE() << store.error().describe();
    return store ? *std::move(store) : nullptr;
  }
  [[nodiscard]] Error error_of_open() const {
    const auto store = open_sqlite_store(path());
    EXPECT_FALSE(store);
    return store ? Error{} : store.error();
  }
  // What SQLite itself says, over a connection of its own.
  std::string ask_sqlite(const std::string& sql) const {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
    std::string output;
    const auto collect = [](void* context, int columns, char** values, char**) {
      for (int column = 0; column < columns; ++column) *static_cast<std::string*>(context) += values[column];
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), collect, &output, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    sqlite3_close(database);
    return output;
  }

  TemporaryFolder folder_;
};

TEST_F(SqliteStoreTest, KeepsEverythingOverARestart) {
  const auto lease = [&] {
    const auto store = open();
    EXPECT_TRUE(store->put("a", "1"));
    EXPECT_TRUE(store->put("b", "2"));
    const auto granted = store->grant(std::chrono::hours{1});
    EXPECT_TRUE(store->put("leased", "3", *granted));
    return *granted;
  }();
  const auto store = open();
  EXPECT_EQ(*store->revision(), 3U);
  EXPECT_EQ((*store->get("a"))->value, "1");
  EXPECT_EQ(store->watch("", 1, std::chrono::milliseconds{0})->changes.size(), 2U);
  EXPECT_TRUE(store->keep_alive(lease));
  ASSERT_TRUE(store->revoke(lease));
  EXPECT_FALSE((*store->get("leased")).has_value());
}

TEST_F(SqliteStoreTest, NeverGivesALeaseIdTwice) {
  LeaseId first;
  {
    const auto store = open();
    first = *store->grant(std::chrono::hours{1});
    ASSERT_TRUE(store->revoke(first));
  }
  EXPECT_NE(*open()->grant(std::chrono::hours{1}), first);
}

TEST_F(SqliteStoreTest, FilesAreReadableByTheirOwnerOnly) {
  const mode_t before = ::umask(0);
  const auto store = open();
  ASSERT_TRUE(store->put("a", "1"));
  ::umask(before);
  std::size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder_.path())) {
    struct stat status {};
    ASSERT_EQ(::stat(file.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U) << file.path();
    ++files;
  }
  EXPECT_EQ(files, 4U);  // the file, its log, its shared memory, its lock
}

TEST_F(SqliteStoreTest, RefusesASecondOpener) {
  const auto store = open();
  const Error error = error_of_open();
  EXPECT_EQ(error.code, ErrorCode::conflict);
  EXPECT_THAT(error.message, HasSubstr("in use by another process"));
}

TEST_F(SqliteStoreTest, RefusesAFileThatIsNoDatabase) {
  ASSERT_TRUE(replace_file(path(), as_bytes(std::string(8192, 'x'))));
  const Error error = error_of_open();
  EXPECT_EQ(error.code, ErrorCode::corrupt);
  EXPECT_THAT(error.message, HasSubstr("store.db"));
  EXPECT_THAT(error.message, HasSubstr("restore"));
}

TEST_F(SqliteStoreTest, RefusesAFileWithADamagedPage) {
  {
    const auto store = open();
    for (int index = 0; index < 200; ++index) {
      ASSERT_TRUE(store->put("key/" + std::to_string(index), std::string(300, 'v')));
    }
  }
  const auto size = std::filesystem::file_size(path());
  const auto file = open_file(path(), O_RDWR);
  ASSERT_TRUE(file);
  // The header of each page from the fourth on.
  for (std::uint64_t offset = 4096ULL * 3; offset < size; offset += 4096) {
    ASSERT_TRUE(write_all_at(file->get(), as_bytes("damage"), offset));
  }
  const Error error = error_of_open();
  EXPECT_EQ(error.code, ErrorCode::corrupt) << error.describe();
  EXPECT_THAT(error.message, HasSubstr("restore"));
}

TEST_F(SqliteStoreTest, RefusesAFileOfAnotherProgram) {
  ask_sqlite("CREATE TABLE recipes (name TEXT)");
  const Error error = error_of_open();
  EXPECT_EQ(error.code, ErrorCode::invalid_argument);
  EXPECT_THAT(error.message, HasSubstr("another program"));
}

TEST_F(SqliteStoreTest, RefusesAFileOfANewerVersion) {
  static_cast<void>(open());
  ask_sqlite("PRAGMA user_version = 99");
  const Error error = error_of_open();
  EXPECT_EQ(error.code, ErrorCode::unsupported);
  EXPECT_THAT(error.message, HasSubstr("newer version"));
}

TEST_F(SqliteStoreTest, IsDurableByItsSettings) {
  const auto store = open();
  ASSERT_TRUE(store->put("a", "1"));
  EXPECT_EQ(ask_sqlite("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(ask_sqlite("SELECT key, value FROM entries"), "a1");
}

TEST_F(SqliteStoreTest, ForgetsDeletedValuesWhenNoChangesAreKept) {
  const std::string secret = "a wrapped key that must go";
  {
    const auto store = open({.kept_changes = 0});
    ASSERT_TRUE(store->put("key", secret));
    ASSERT_TRUE(store->remove("key"));
  }
  const auto bytes = read_file(path(), 1 << 20);
  ASSERT_TRUE(bytes);
  EXPECT_EQ(as_text(*bytes).find(secret), std::string_view::npos);
}

TEST_F(SqliteStoreTest, MigrationsRunOnceEachInTheirOrder) {
  constexpr Migration kFirst[] = {{1, "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)"}};
  constexpr Migration kBoth[] = {
      kFirst[0], {2, "ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 7; INSERT INTO t VALUES (2, 8)"}};
  constexpr Migration kBroken[] = {
      kBoth[0], kBoth[1], {3, "INSERT INTO t VALUES (3, 9); INSERT INTO nowhere VALUES (1)"}};
  auto database = Database::open(path());
  ASSERT_TRUE(database);
  ASSERT_TRUE(migrate(*database, path(), kFirst));
  ASSERT_TRUE(migrate(*database, path(), kBoth));
  ASSERT_TRUE(migrate(*database, path(), kBoth));
  EXPECT_EQ(*database->query_text("SELECT group_concat(a || ':' || b) FROM t"), "1:7,2:8");
  // One that fails leaves nothing of itself.
  EXPECT_FALSE(migrate(*database, path(), kBroken));
  EXPECT_EQ(*database->query_integer("SELECT count(*) FROM t"), 2U);
  EXPECT_EQ(*database->query_integer("PRAGMA user_version"), 2U);
}

// A child writes the same number under two keys in one transaction and tells its parent when it was
// acknowledged, until it is killed at a moment that nobody chose.
[[noreturn]] void write_until_killed(const std::filesystem::path& path, int acknowledgements) {
  auto store = open_sqlite_store(path);
  if (!store) ::_exit(1);
  const auto entry = (*store)->get("first");
  std::uint64_t number = entry && *entry ? std::stoull((*entry)->value) : 0;
  for (;;) {
    const std::string text = std::to_string(++number);
    const auto done = (*store)->transact(
        {}, {Put{"first", text, {}}, Put{"second", text, {}}, Put{"log/" + text, text, {}}});
    if (!done || ::write(acknowledgements, &number, sizeof number) != sizeof number) ::_exit(1);
  }
}

TEST_F(SqliteStoreTest, EveryAcknowledgedTransactionSurvivesSigkillAndNoneIsHalfThere) {
  constexpr int kRounds = 40;
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < kRounds; ++round) {
    auto pipe = make_pipe();
    ASSERT_TRUE(pipe);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_until_killed(path(), pipe->write_end.get());
    pipe->write_end.reset();
    // Killed while it is at the transactions after this many.
    for (int wanted = 1 + round % 7; wanted > 0; --wanted) {
      ASSERT_EQ(::read(pipe->read_end.get(), &acknowledged, sizeof acknowledged),
                ssize_t{sizeof acknowledged});
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    const auto rest = read_to_end(pipe->read_end.get(), 1 << 20);
    ASSERT_TRUE(rest);
    if (!rest->empty())
      std::memcpy(&acknowledged, rest->data() + rest->size() - sizeof acknowledged, sizeof acknowledged);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));

    const auto store = open();
    ASSERT_NE(store, nullptr);
    const auto first = store->get("first");
    const auto second = store->get("second");
    ASSERT_TRUE(first && *first && second && *second);
    EXPECT_EQ((*first)->value, (*second)->value);
    EXPECT_EQ((*first)->mod_revision, (*second)->mod_revision);
    const std::uint64_t number = std::stoull((*first)->value);
    // The one after the last acknowledged may be there too, whole.
    EXPECT_GE(number, acknowledged);
    EXPECT_LE(number, acknowledged + 1);
    EXPECT_EQ(*store->revision(), number);
    EXPECT_EQ(store->list_all("log/")->size(), number);
    EXPECT_EQ(store->watch("", 0, std::chrono::milliseconds{0})->changes.size(), number * 3);
  }
}

}  // namespace
}  // namespace bootseal::store::testing

#include "bootseal/base/fds.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

namespace bootseal {
namespace {

class FdsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "fds-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(FdsTest, ReplaceFileLeavesOneFileWithTheNewContentAndMode) {
  const auto path = folder_ / "key";
  ASSERT_TRUE(replace_file(path, as_bytes("old"), 0644));
  ASSERT_TRUE(replace_file(path, as_bytes("new"), 0600));
  EXPECT_EQ(as_text(*read_file(path, 100)), "new");
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(FdsTest, ReplaceFileInAMissingFolderFailsWithThatFolder) {
  const Status status = replace_file(folder_ / "no/such/key", as_bytes("x"));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::not_found);
  EXPECT_NE(status.error().message.find("no/such"), std::string::npos);
}

TEST_F(FdsTest, ReadFileRefusesALargerFile) {
  ASSERT_TRUE(replace_file(folder_ / "f", as_bytes("12345")));
  EXPECT_EQ(read_file(folder_ / "f", 5)->size(), 5U);
  EXPECT_EQ(read_file(folder_ / "f", 4).error().code, ErrorCode::exhausted);
}

TEST_F(FdsTest, ReadExactlyAtReportsTheEndOfTheFile) {
  ASSERT_TRUE(replace_file(folder_ / "f", as_bytes("12345")));
  const UniqueFd fd = *open_file(folder_ / "f", O_RDONLY);
  Bytes data(3);
  EXPECT_TRUE(read_exactly_at(fd.get(), data, 2));
  EXPECT_EQ(read_exactly_at(fd.get(), data, 3).error().code, ErrorCode::corrupt);
}

TEST_F(FdsTest, SocketCarriesADescriptorAndTellsWhoIsThere) {
  const UniqueFd listener = *listen_unix(folder_ / "s");
  const UniqueFd client = *connect_unix(folder_ / "s");
  const UniqueFd server(::accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(server.valid());
  EXPECT_EQ(peer_credentials(server.get())->uid, ::geteuid());
  Pipe pipe = *make_pipe();
  ASSERT_TRUE(send_with_fd(client.get(), as_bytes("hi"), pipe.write_end.get()));
  auto received = receive_with_fd(server.get(), 16);
  ASSERT_TRUE(received && received->fd.valid());
  EXPECT_EQ(as_text(received->data), "hi");
  ASSERT_TRUE(write_all(received->fd.get(), as_bytes("through")));
  received->fd.reset();
  pipe.write_end.reset();
  EXPECT_EQ(as_text(*read_to_end(pipe.read_end.get(), 100)), "through");
}

TEST_F(FdsTest, ReceiveNowTellsNothingYetFromBytesAndFromTheEnd) {
  SocketPair pair = *make_socket_pair();
  const auto nothing = receive_with_fd_now(pair.second.get(), 16);
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->has_value());
  ASSERT_TRUE(write_all(pair.first.get(), as_bytes("hi")));
  EXPECT_EQ(as_text((**receive_with_fd_now(pair.second.get(), 16)).data), "hi");
  pair.first.reset();
  const auto end = receive_with_fd_now(pair.second.get(), 16);
  ASSERT_TRUE(end && end->has_value());
  EXPECT_TRUE((*end)->data.empty());
}

TEST_F(FdsTest, ListenUnixReplacesAStaleSocketButNotAFile) {
  listen_unix(folder_ / "s")->reset();
  EXPECT_TRUE(listen_unix(folder_ / "s"));
  ASSERT_TRUE(replace_file(folder_ / "f", as_bytes("x")));
  EXPECT_EQ(listen_unix(folder_ / "f").error().code, ErrorCode::already_exists);
  EXPECT_EQ(listen_unix(folder_ / std::string(120, 'x')).error().code, ErrorCode::invalid_argument);
}

TEST_F(FdsTest, ListenUnixMakesTheSocketWithItsModeAndNeverWithAWiderOne) {
  const UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ASSERT_GE(::inotify_add_watch(watch.get(), folder_.c_str(), IN_CREATE | IN_ATTRIB), 0);
  const auto events = [&]() {
    alignas(inotify_event) std::array<char, 4096> buffer{};
    const ssize_t got = ::read(watch.get(), buffer.data(), buffer.size());
    std::uint32_t seen = 0;
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      seen |= event->mask;
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
    return seen;
  };
  const auto mode_of = [](const std::filesystem::path& path) {
    struct stat info {};
    EXPECT_EQ(::lstat(path.c_str(), &info), 0);
    return info.st_mode & 07777;
  };
  const mode_t before = ::umask(0);
  EXPECT_TRUE(listen_unix(folder_ / "private", 0600));
  EXPECT_EQ(mode_of(folder_ / "private"), 0600U);
  EXPECT_EQ(events(), static_cast<std::uint32_t>(IN_CREATE)) << "a mode that is changed was another before";
  ::umask(077);
  EXPECT_TRUE(listen_unix(folder_ / "public", 0666));
  EXPECT_EQ(mode_of(folder_ / "public"), 0666U) << "the umask does not count";
  ::umask(before);
}

TEST_F(FdsTest, WaitReadableEndsAtTheLimit) {
  Pipe pipe = *make_pipe();
  EXPECT_FALSE(*wait_readable(pipe.read_end.get(), std::chrono::milliseconds(1)));
  ASSERT_TRUE(write_all(pipe.write_end.get(), as_bytes("x")));
  EXPECT_TRUE(*wait_readable(pipe.read_end.get(), std::nullopt));
}

}  // namespace
}  // namespace bootseal

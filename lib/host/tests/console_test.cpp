#include "bootseal/host/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "bootseal/base/fds.h"
#include "fakes.h"

namespace bootseal::host {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(ConsoleLog, KeepsTheLastMebibyte) {
  ConsoleLog log;
  const std::string block(100'000, 'a');
  for (int i = 0; i < 30; ++i) log.append(block);
  log.append("the end");
  EXPECT_LE(log.text().size(), kConsoleLogBytes);
  EXPECT_GE(log.text().size(), kConsoleLogBytes * 3 / 4);
  EXPECT_EQ(log.tail(7), "the end");
  EXPECT_EQ(log.end(), 3'000'007U);
  EXPECT_EQ(log.text_from(3'000'004), "end");
}

TEST(ConsoleLog, AReaderFollowsIt) {
  ConsoleLog log;
  log.append("one");
  ConsoleLog::Piece piece = log.read(0, 0, seconds(20));
  EXPECT_EQ(piece.text, "one");
  std::thread writer([&]() { log.append("two"); });
  piece = log.read(piece.run, piece.next, seconds(20));
  EXPECT_EQ(piece.text, "two");
  writer.join();
  EXPECT_EQ(log.read(piece.run, piece.next, milliseconds(1)).text, "");
}

TEST(ConsoleLog, ANewReaderGetsTheTextAndThenWhatComesEachByteOnce) {
  ConsoleLog log;
  std::string said;
  const auto say = [&](std::size_t bytes) {
    std::string text(bytes, ' ');
    for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('a' + (said.size() + i) % 23);
    log.append(text);
    said += text;
  };
  for (int i = 0; i < 12; ++i) say(100'000);  // more than text() gives, less than is dropped
  std::string expected = log.text();
  std::string got;
  ConsoleLog::Piece piece;
  while (got.size() < expected.size() && !(piece = log.read(piece.run, piece.next, seconds(20))).text.empty())
    got += piece.text;
  EXPECT_EQ(got, expected);
  for (int i = 0; i < 5; ++i) {
    const std::size_t before = said.size();
    say(1000 + static_cast<std::size_t>(i));
    piece = log.read(piece.run, piece.next, seconds(20));
    EXPECT_EQ(piece.text, said.substr(before));
  }
}

TEST(ConsoleLog, ASlowReaderGoesOnWhereTheLogBegins) {
  ConsoleLog log;
  log.append("first");
  const ConsoleLog::Piece piece = log.read(0, 0, seconds(20));
  const std::string block(500'000, 'x');
  for (int i = 0; i < 6; ++i) log.append(block);
  const ConsoleLog::Piece later = log.read(piece.run, piece.next, seconds(20));
  EXPECT_EQ(later.text.size(), 65536U);
  EXPECT_GT(later.next, piece.next + 65536);
}

TEST(ConsoleLog, AReaderOfAnEarlierRunBeginsAnew) {
  ConsoleLog first, second;
  first.append("a long text of the run before");
  const ConsoleLog::Piece piece = first.read(0, 0, seconds(20));
  second.append("new");
  EXPECT_EQ(second.read(piece.run, piece.next, seconds(20)).text, "new");
  second.reset("kept by the file");
  EXPECT_EQ(second.read(piece.run, piece.next, seconds(20)).text, "kept by the file");
}

TEST(ConsoleFile, StaysBoundedWhileItsWriterGoesOn) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "serial.log";
  const UniqueFd qemu = open_file(path, O_WRONLY | O_CREAT | O_APPEND, 0600).value();
  ConsoleFile file(path);
  std::string everything;
  for (int i = 0; i < 50; ++i) {
    const std::string line = std::string(100'000, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(write_all(qemu.get(), as_bytes(line)));
    everything += line;
    ASSERT_TRUE(file.trim());
    ASSERT_LE(std::filesystem::file_size(path), 2 * kConsoleLogBytes + 100'000);
  }
  EXPECT_EQ(file.read(), everything.substr(everything.size() - kConsoleLogBytes));
  ASSERT_TRUE(file.start_again());
  EXPECT_EQ(file.read(), "");
}

TEST(LogKeeper, KeepsFilesBoundedThatGrowWithoutAWord) {
  const test::TemporaryFolder folder;
  const auto loop = EventLoop::start().value();
  WorkerPool pool(1);
  const auto path = folder.path() / "qemu.log";
  const UniqueFd qemu = open_file(path, O_WRONLY | O_CREAT | O_APPEND, 0600).value();
  const std::string much(2 * kConsoleLogBytes, 'x');
  const auto keeper = LogKeeper::start(*loop, pool, milliseconds(5),
                                       {ConsoleFile(folder.path() / "not-there"), ConsoleFile(path)});
  for (const std::string last : {"first", "second"}) {
    ASSERT_TRUE(write_all(qemu.get(), as_bytes(much)));
    ASSERT_TRUE(write_all(qemu.get(), as_bytes(last)));  // too much with this
    const auto deadline = std::chrono::steady_clock::now() + seconds(20);
    while (std::filesystem::file_size(path) > kConsoleLogBytes && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    ASSERT_LE(std::filesystem::file_size(path), kConsoleLogBytes) << last;
    const std::string kept = ConsoleFile(path).read();
    EXPECT_EQ(kept.size(), kConsoleLogBytes);
    EXPECT_TRUE(kept.ends_with("x" + last));
  }
}

TEST(ConsoleFile, DoesNotFollowALink) {
  const test::TemporaryFolder folder;
  std::filesystem::create_symlink("/etc/passwd", folder.path() / "serial.log");
  EXPECT_EQ(ConsoleFile(folder.path() / "serial.log").read(), "");
}

}  // namespace
}  // namespace bootseal::host

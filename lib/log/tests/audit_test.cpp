#include "bootseal/log/audit.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <thread>

#include "bootseal/base/ids.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/json/json.h"

namespace bootseal::log {
namespace {

using ::testing::HasSubstr;

std::string sha256(ByteSpan data) {
  std::array<std::byte, 32> digest{};
  BOOTSEAL_CHECK(EVP_Digest(data.data(), data.size(), reinterpret_cast<unsigned char*>(digest.data()),
                            nullptr, EVP_sha256(), nullptr) == 1);
  return to_hex(digest);
}

class AuditTest : public ::testing::Test {
 protected:
  AuditTest()
      : folder_(std::filesystem::temp_directory_path() / ("bootseal-audit-" + Guid::random().to_string())) {
    std::filesystem::create_directory(folder_);
  }
  ~AuditTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::filesystem::path path() const { return folder_ / "audit.jsonl"; }
  std::unique_ptr<AuditChain> open() {
    auto chain = AuditChain::open(path(), &sha256, clock_);
    if (!chain) ADD_FAILURE() << chain.error().describe();
    return chain ? *std::move(chain) : nullptr;
  }
  // A chain of `count` entries; its head.
  AuditHead write(int count) {
    const auto chain = open();
    for (int entry = 1; entry <= count; ++entry) {
      EXPECT_TRUE(chain->append({"host:rack-1", "key.release", fmt::format("vm:{}", entry), "ok"}));
      clock_.advance(std::chrono::seconds{1});
    }
    return chain->head();
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const auto content = read_file(path(), 1 << 24);
    std::vector<std::string> found;
    std::string_view rest = as_text(*content);
    while (!rest.empty()) {
      const std::size_t end = rest.find('\n');
      found.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end, rest.size() - 1) + 1);
    }
    return found;
  }
  void write_file(std::string_view content) const {
    std::ofstream(path(), std::ios::binary | std::ios::trunc) << content;
  }
  void replace_lines(const std::vector<std::string>& lines) {
    write_file(fmt::format("{}\n", fmt::join(lines, "\n")));
  }
  // The same line with a hash that fits it.
  static std::string seal_again(std::string line) {
    line.erase(line.rfind(",\"sha256\":"));
    return fmt::format("{},\"sha256\":\"{}\"}}", line, sha256(as_bytes(line + "}")));
  }
  void expect_broken(const std::string& where, const std::optional<AuditHead>& remembered = std::nullopt) {
    const auto head = AuditChain::verify(path(), &sha256, remembered);
    ASSERT_FALSE(head);
    EXPECT_EQ(head.error().code, ErrorCode::corrupt);
    EXPECT_THAT(head.error().message, HasSubstr(where));
  }

  std::filesystem::path folder_;
  FixedClock clock_{*parse_time("2026-11-21T20:44:45Z")};
};

TEST_F(AuditTest, WritesWhatItWasToldAndWhen) {
  write(2);
  const auto entry = json::parse(lines().at(1));
  ASSERT_TRUE(entry);
  const json::Object& object = entry->as_object();
  EXPECT_EQ(object.at("sequence").as_int64(), 2);
  EXPECT_EQ(object.at("time").as_string(), "2026-11-21T20:44:46.000000Z");
  EXPECT_EQ(object.at("actor").as_string(), "host:rack-1");
  EXPECT_EQ(object.at("action").as_string(), "key.release");
  EXPECT_EQ(object.at("object").as_string(), "vm:2");
  EXPECT_EQ(object.at("result").as_string(), "ok");
}

TEST_F(AuditTest, HashesAreThoseThatOtherToolsCompute) {
  write(2);
  // As the header describes it, with tools of the shell.
  const auto computed =
      run_checked({.arguments = {"sh", "-c",
                                 "sed -n 2p " + path().string() +
                                     " | sed 's/,\"sha256\":.*/}/' | tr -d '\\n' | sha256sum | cut -c1-64"}});
  ASSERT_TRUE(computed) << computed.error().describe();
  EXPECT_THAT(lines().at(1), HasSubstr("\"sha256\":\"" + computed->substr(0, 64) + "\"}"));
  const auto first = json::parse(lines().at(0));
  EXPECT_THAT(lines().at(1),
              HasSubstr("\"previous\":\"" + std::string(first->at("sha256").as_string()) + "\""));
  EXPECT_THAT(lines().at(0), HasSubstr("\"previous\":\"" + std::string(64, '0') + "\""));
}

TEST_F(AuditTest, AWholeChainVerifies) {
  const AuditHead head = write(5);
  EXPECT_EQ(head.sequence, 5U);
  EXPECT_EQ(AuditChain::verify(path(), &sha256), head);
  EXPECT_EQ(AuditChain::verify(path(), &sha256, head), head);
}

TEST_F(AuditTest, GoesOnWhereItEnded) {
  const AuditHead before = write(3);
  const AuditHead after = write(2);
  EXPECT_EQ(after.sequence, 5U);
  EXPECT_EQ(AuditChain::verify(path(), &sha256, before), after);
}

TEST_F(AuditTest, AnEmptyChainVerifiesAndAMissingOneDoesNot) {
  EXPECT_EQ(AuditChain::verify(path(), &sha256).error().code, ErrorCode::not_found);
  write(0);
  EXPECT_EQ(AuditChain::verify(path(), &sha256)->sequence, 0U);
}

TEST_F(AuditTest, NamesAnEntryThatWasChanged) {
  write(5);
  auto changed = lines();
  changed[2].replace(changed[2].find("vm:3"), 4, "vm:9");
  replace_lines(changed);
  expect_broken("entry 3 (line 3)");
}

TEST_F(AuditTest, EveryChangedByteOfAnEntryIsFound) {
  write(3);
  const auto whole = lines();
  for (std::size_t index = 0; index < whole[1].size(); ++index) {
    auto changed = whole;
    changed[1][index] = static_cast<char>(changed[1][index] ^ 1);
    replace_lines(changed);
    expect_broken("entry 2 ");
  }
}

TEST_F(AuditTest, NamesTheEntryAfterOneThatWasChangedAndSealedAgain) {
  write(5);
  auto changed = lines();
  changed[2].replace(changed[2].find("vm:3"), 4, "vm:9");
  changed[2] = seal_again(changed[2]);
  replace_lines(changed);
  expect_broken("entry 4 (line 4)");
}

TEST_F(AuditTest, NamesTheFirstEntryThatIsMissingOrOutOfOrder) {
  write(5);
  const auto whole = lines();
  auto without = whole;
  without.erase(without.begin() + 1);
  replace_lines(without);
  expect_broken("entry 2 (line 2)");
  auto reordered = whole;
  std::swap(reordered[2], reordered[3]);
  replace_lines(reordered);
  expect_broken("entry 3 (line 3)");
  auto repeated = whole;
  repeated.insert(repeated.begin() + 1, whole[0]);
  replace_lines(repeated);
  expect_broken("entry 2 (line 2)");
  replace_lines({whole.begin() + 1, whole.end()});
  expect_broken("entry 1 (line 1)");
}

TEST_F(AuditTest, ARememberedHeadShowsThatTheEndWasCutOff) {
  const AuditHead head = write(5);
  auto shorter = lines();
  shorter.pop_back();
  replace_lines(shorter);
  EXPECT_TRUE(AuditChain::verify(path(), &sha256));
  expect_broken("entry 5 is missing", head);
  EXPECT_THAT(AuditChain::open(path(), &sha256, clock_, head).error().message,
              HasSubstr("entry 5 is missing"));
}

TEST_F(AuditTest, ARememberedHeadShowsThatTheWholeChainWasReplaced) {
  const AuditHead head = write(3);
  std::filesystem::remove(path());
  clock_.advance(std::chrono::hours{1});
  write(4);
  EXPECT_TRUE(AuditChain::verify(path(), &sha256));
  expect_broken("entry 3 is not the one that was remembered", head);
}

TEST_F(AuditTest, RemovesAnEntryThatACrashLeftUnfinished) {
  const AuditHead head = write(3);
  const auto whole = read_file(path(), 1 << 20);
  // Cut at every place within the third line.
  const std::size_t second_end = lines()[0].size() + lines()[1].size() + 2;
  for (std::size_t size = second_end + 1; size < whole->size(); size += 29) {
    write_file(as_text(*whole).substr(0, size));
    expect_broken("entry 3 (line 3) is broken: it has no end");
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(open()->head().sequence, 2U);
    EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("audit.torn_entry_removed"));
    EXPECT_EQ(std::filesystem::file_size(path()), second_end);
  }
  EXPECT_EQ(write(1).sequence, head.sequence);
}

TEST_F(AuditTest, DoesNotOpenABrokenChain) {
  write(3);
  auto changed = lines();
  changed[0].replace(changed[0].find("vm:1"), 4, "vm:9");
  replace_lines(changed);
  const auto chain = AuditChain::open(path(), &sha256, clock_);
  ASSERT_FALSE(chain);
  EXPECT_EQ(chain.error().code, ErrorCode::corrupt);
  EXPECT_THAT(chain.error().message, HasSubstr("entry 1 "));
}

TEST_F(AuditTest, BoundsALineWithoutAnEnd) {
  write_file(std::string(4 << 20, 'x'));
  expect_broken("entry 1 (line 1)");
}

TEST_F(AuditTest, HasOneWriter) {
  const auto chain = open();
  const auto second = AuditChain::open(path(), &sha256, clock_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::conflict);
}

TEST_F(AuditTest, RefusesTextThatIsTooLongOrNoUtf8) {
  const auto chain = open();
  EXPECT_EQ(chain->append({std::string(4097, 'a'), "b", "c", "d"}).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(chain->append({"a", "b", "c", "\xff"}).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(chain->head().sequence, 0U);
  // The longest there is: every byte takes six.
  const std::string longest(4096, '\x01');
  EXPECT_TRUE(chain->append({longest, longest, longest, longest}));
  EXPECT_EQ(AuditChain::verify(path(), &sha256)->sequence, 1U);
}

TEST_F(AuditTest, AFailedWriteLeavesTheChainWhole) {
  const auto chain = open();
  ASSERT_TRUE(chain->append({"a", "b", "c", "d"}));
  // A limit on the size of files stands for a full disk: the second entry does not fit whole.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = std::filesystem::file_size(path()) + 50;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto refused = chain->append({"a", "b", "c", "d"});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(refused);
  EXPECT_EQ(AuditChain::verify(path(), &sha256)->sequence, 1U);
  EXPECT_TRUE(chain->append({"a", "b", "c", "d"}));
  EXPECT_EQ(AuditChain::verify(path(), &sha256)->sequence, 2U);
}

TEST_F(AuditTest, TakesEntriesFromManyThreads) {
  const auto chain = open();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int entry = 0; entry < 25; ++entry) EXPECT_TRUE(chain->append({"a", "b", "c", "d"}));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(AuditChain::verify(path(), &sha256)->sequence, 100U);
}

}  // namespace
}  // namespace bootseal::log

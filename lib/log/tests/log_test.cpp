#include "bootseal/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <thread>

#include "bootseal/base/clock.h"
#include "bootseal/json/json.h"

namespace bootseal::log {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

// The lines that `action` writes to standard error.
std::vector<std::string> lines_of(const std::function<void()>& action) {
  ::testing::internal::CaptureStderr();
  action();
  const std::string text = ::testing::internal::GetCapturedStderr();
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

json::Object only_line_of(const std::function<void()>& action) {
  const auto lines = lines_of(action);
  EXPECT_THAT(lines, SizeIs(1));
  const auto value = json::parse(lines.at(0));
  EXPECT_TRUE(value) << lines.at(0);
  return value->as_object();
}

class LogTest : public ::testing::Test {
 protected:
  static void start_at(const char* level) {
    ::setenv("BOOTSEAL_LOG", level, 1);
    start("testd");
  }
  void SetUp() override { start_at("info"); }
};

TEST_F(LogTest, ARaisedLevelHoldsWhateverTheEnvironmentSays) {
  start_at("debug");
  raise_level(Level::warning);
  raise_level(Level::info);  // never lower
  EXPECT_THAT(lines_of([] { info("left.out"); }), IsEmpty());
  EXPECT_THAT(lines_of([] { warning("written"); }), SizeIs(1));
}

TEST_F(LogTest, WritesOneJsonObjectALine) {
  const auto before = Clock::system().now();
  json::Object line = only_line_of([] {
    info("vm.started", {{"vm", "a\nb \"c\""},
                        {"count", 3},
                        {"big", std::uint64_t{18446744073709551615U}},
                        {"port", std::uint16_t{8443}},
                        {"ratio", 0.5},
                        {"sealed", true}});
  });
  const auto time = parse_time(std::string_view(line["time"].as_string()));
  ASSERT_TRUE(time);
  EXPECT_GE(*time, before);
  line.erase("time");
  EXPECT_EQ(
      json::Value(line),
      *json::parse(R"({"level":"info","program":"testd","event":"vm.started","vm":"a\nb \"c\"","count":3,)"
                   R"("big":18446744073709551615,"port":8443,"ratio":5E-1,"sealed":true})"));
}

TEST_F(LogTest, StaysValidJsonForTextThatIsNotUtf8) {
  const auto line = only_line_of([] { info("guest.said", {{"text", std::string("a\xff\xc3(\xe2\x82")}}); });
  EXPECT_EQ(line.at("text").as_string(), "a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd");
}

TEST_F(LogTest, CutsLongTextAtACharacter) {
  std::string text(8191, 'a');
  text += "\xc3\xa4 and more";
  const auto line = only_line_of([&] { info("guest.said", {{"text", text}}); });
  EXPECT_EQ(line.at("text").as_string(), std::string(8191, 'a') + "\xe2\x80\xa6");
}

TEST_F(LogTest, AFieldNeverTakesTheNameOfAnother) {
  const auto line = only_line_of([] {
    info("real", {{"event", "false"}, {"level", "debug"}, {"x", 1}, {"x", 2}});
  });
  EXPECT_EQ(line.at("event").as_string(), "real");
  EXPECT_EQ(line.at("event_").as_string(), "false");
  EXPECT_EQ(line.at("level").as_string(), "info");
  EXPECT_EQ(line.at("x_").as_int64(), 2);
}

TEST_F(LogTest, NumbersThatJsonHasNotBecomeNull) {
  const auto line = only_line_of([] { info("e", {{"nan", std::nan("")}}); });
  EXPECT_TRUE(line.at("nan").is_null());
}

TEST_F(LogTest, LeavesOutEventsBelowItsLevel) {
  const auto all = [] {
    debug("d");
    info("i");
    warning("w");
    error("e");
  };
  start_at("warning");
  EXPECT_THAT(lines_of(all), SizeIs(2));
  start_at("debug");
  EXPECT_THAT(lines_of(all), SizeIs(4));
  start_at("nonsense");
  EXPECT_THAT(lines_of(all), SizeIs(3));
}

TEST_F(LogTest, LinesOfManyThreadsStayWhole) {
  const auto lines = lines_of([] {
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([] {
        for (int line = 0; line < 200; ++line) info("e", {{"text", std::string(200, 'x')}});
      });
    }
    for (auto& thread : threads) thread.join();
  });
  EXPECT_THAT(lines, SizeIs(800));
  for (const std::string& line : lines) ASSERT_TRUE(json::parse(line)) << line;
}

TEST(RateLimit, AllowsABurstAndCountsWhatItRefused) {
  RateLimit limit(0, 3);
  std::uint64_t left_out = 99;
  for (int event = 0; event < 3; ++event) {
    EXPECT_TRUE(limit.allow(left_out));
    EXPECT_EQ(left_out, 0U);
  }
  EXPECT_FALSE(limit.allow(left_out));
  EXPECT_FALSE(limit.allow(left_out));
}

TEST(RateLimit, OpensAgainAndSaysHowManyWereLeftOut) {
  RateLimit limit(2000, 1);
  std::uint64_t left_out = 0;
  ASSERT_TRUE(limit.allow(left_out));
  std::uint64_t refused = 0;
  while (!limit.allow(left_out)) ++refused;
  EXPECT_EQ(left_out, refused);
}

}  // namespace
}  // namespace bootseal::log

#include "bootseal/identity/guess_limiter.h"

#include <gtest/gtest.h>

namespace bootseal::identity {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
const TimePoint kNow = *parse_time("2026-11-22T00:00:00Z");

TEST(GuessLimiter, DoublesTheWaitUpToAMinute) {
  GuessLimiter limiter;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(limiter.wait_of("a", kNow), seconds(0));
    limiter.failed("a", kNow);
  }
  EXPECT_EQ(limiter.wait_of("a", kNow), seconds(0));
  for (const int wait : {1, 2, 4, 8, 16, 32, 60, 60}) {
    limiter.failed("a", kNow);
    EXPECT_EQ(limiter.wait_of("a", kNow), seconds(wait));
  }
  EXPECT_EQ(limiter.wait_of("a", kNow + seconds(59)), seconds(1));
  EXPECT_EQ(limiter.wait_of("a", kNow + seconds(60)), seconds(0));
  EXPECT_EQ(limiter.wait_of("b", kNow), seconds(0)) << "others do not wait";
}

TEST(GuessLimiter, ForgivesAfterASuccessAndAfterAWhile) {
  GuessLimiter limiter;
  for (int i = 0; i < 10; ++i) limiter.failed("a", kNow);
  limiter.succeeded("a");
  EXPECT_EQ(limiter.wait_of("a", kNow), seconds(0));
  for (int i = 0; i < 10; ++i) limiter.failed("a", kNow);
  limiter.failed("a", kNow + minutes(16));
  EXPECT_EQ(limiter.wait_of("a", kNow + minutes(16)), seconds(0));
}

TEST(GuessLimiter, KeepsTheWorstWhenManyComeAndNeverMoreThanItsBound) {
  GuessLimiter::Limits limits;
  limits.keys = 64;
  GuessLimiter limiter(limits);
  for (int i = 0; i < 12; ++i) limiter.failed("target", kNow);
  for (int i = 0; i < 1000; ++i) limiter.failed("noise" + std::to_string(i), kNow + seconds(1));
  EXPECT_LE(limiter.size(), 64U);
  EXPECT_GT(limiter.wait_of("target", kNow + seconds(1)), seconds(30));
}

}  // namespace
}  // namespace bootseal::identity

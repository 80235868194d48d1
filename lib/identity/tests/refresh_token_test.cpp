#include "bootseal/identity/refresh_token.h"

#include <gtest/gtest.h>

namespace bootseal::identity {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::seconds;
const TimePoint kNow = *parse_time("2026-11-22T00:00:00Z");

TEST(RefreshToken, IsChangedAtEachUse) {
  auto [family, token] = begin_refresh_family("p1", "c1", kNow);
  EXPECT_EQ(family_of_refresh_token(token), family.id);
  TimePoint now = kNow;
  for (int i = 0; i < 20; ++i) {
    now += hours(1);
    const Refreshed next = use_refresh_token(family, token, now);
    ASSERT_EQ(next.outcome, RefreshOutcome::rotated);
    EXPECT_NE(next.token, token);
    token = next.token;
  }
  EXPECT_LE(family.tokens.size(), 8U);
  EXPECT_EQ(family.expires, now + days(90));
}

TEST(RefreshToken, UsedAgainLaterEndsItsFamily) {
  auto [family, token] = begin_refresh_family("p1", "c1", kNow);
  ASSERT_EQ(use_refresh_token(family, token, kNow).outcome, RefreshOutcome::rotated);
  EXPECT_EQ(use_refresh_token(family, token, kNow + kReuseGrace + seconds(1)).outcome,
            RefreshOutcome::reused);
}

TEST(RefreshToken, UsedTwiceAtOnceWorksForBoth) {
  auto [family, token] = begin_refresh_family("p1", "c1", kNow);
  const Refreshed one = use_refresh_token(family, token, kNow);
  const Refreshed two = use_refresh_token(family, token, kNow + seconds(2));
  ASSERT_EQ(two.outcome, RefreshOutcome::rotated);
  EXPECT_EQ(use_refresh_token(family, one.token, kNow + hours(1)).outcome, RefreshOutcome::rotated);
  EXPECT_EQ(use_refresh_token(family, two.token, kNow + hours(2)).outcome, RefreshOutcome::rotated);
}

TEST(RefreshToken, EndsAfterNinetyDaysWithoutUse) {
  auto [family, token] = begin_refresh_family("p1", "c1", kNow);
  EXPECT_EQ(use_refresh_token(family, token, kNow + days(90)).outcome, RefreshOutcome::expired);
}

TEST(RefreshToken, IsStoredAsAHash) {
  auto [family, token] = begin_refresh_family("p1", "c1", kNow);
  const std::string stored = json::serialize(family.to_json());
  EXPECT_EQ(stored.find(token.substr(token.find('.') + 1)), std::string::npos);
  auto read = RefreshFamily::parse(*json::parse(stored));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(use_refresh_token(*read, token, kNow).outcome, RefreshOutcome::rotated);
}

TEST(RefreshToken, RefusesWhatIsNone) {
  auto [family, token] = begin_refresh_family("p1", "c1", kNow);
  EXPECT_EQ(use_refresh_token(family, "bsr_" + family.id + ".x", kNow).outcome, RefreshOutcome::reused);
  for (const std::string& text : {std::string("x"), std::string("bsr_"), "bsr_" + family.id,
                                  "bsr_" + std::string(36, 'z') + ".x", std::string(300, 'b')})
    EXPECT_FALSE(family_of_refresh_token(text)) << text;
}

}  // namespace
}  // namespace bootseal::identity

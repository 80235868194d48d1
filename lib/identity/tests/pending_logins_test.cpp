#include "bootseal/identity/pending_logins.h"

#include <gtest/gtest.h>

namespace bootseal::identity {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
const TimePoint kNow = *parse_time("2026-11-22T00:00:00Z");

TEST(DeviceLogins, WaitsForItsApprovalAndAnswersOnce) {
  DeviceLogins logins;
  const auto code = logins.begin("c1", "s1", "peer", kNow);
  ASSERT_TRUE(code);
  EXPECT_EQ(logins.poll(code->device_code, "c1", kNow).poll, DevicePoll::pending);
  EXPECT_EQ(logins.approve(code->user_code, "p1", kNow), "c1");
  const DeviceAnswer answer = logins.poll(code->device_code, "c1", kNow + seconds(5));
  EXPECT_EQ(answer.poll, DevicePoll::approved);
  EXPECT_EQ(answer.principal_id, "p1");
  EXPECT_EQ(answer.scope, "s1");
  EXPECT_EQ(logins.poll(code->device_code, "c1", kNow + seconds(10)).poll, DevicePoll::unknown);
}

TEST(DeviceLogins, TakesTheUserCodeAsPeopleTypeIt) {
  DeviceLogins logins;
  const auto code = logins.begin("c1", "", "peer", kNow);
  ASSERT_EQ(code->user_code.size(), 9U);
  std::string typed;
  for (const char c : code->user_code) typed += c == '-' ? ' ' : static_cast<char>(std::tolower(c));
  EXPECT_TRUE(logins.approve(typed, "p1", kNow));
  EXPECT_FALSE(logins.approve(code->user_code, "p2", kNow)) << "it was approved";
  EXPECT_FALSE(logins.approve("", "p2", kNow));
}

TEST(DeviceLogins, TellsAClientThatAsksTooOftenToSlowDown) {
  DeviceLogins logins;
  const auto code = logins.begin("c1", "", "peer", kNow);
  EXPECT_EQ(logins.poll(code->device_code, "c1", kNow).poll, DevicePoll::pending);
  EXPECT_EQ(logins.poll(code->device_code, "c1", kNow + seconds(1)).poll, DevicePoll::slow_down);
  EXPECT_EQ(logins.poll(code->device_code, "c1", kNow + seconds(8)).poll, DevicePoll::slow_down);
  EXPECT_EQ(logins.poll(code->device_code, "c1", kNow + seconds(30)).poll, DevicePoll::pending);
}

TEST(DeviceLogins, EndsDeniedOrAfterFifteenMinutes) {
  DeviceLogins logins;
  const auto denied = logins.begin("c1", "", "peer", kNow), late = logins.begin("c1", "", "peer", kNow);
  ASSERT_TRUE(logins.deny(denied->user_code, kNow));
  EXPECT_EQ(logins.poll(denied->device_code, "c1", kNow).poll, DevicePoll::denied);
  EXPECT_FALSE(logins.approve(late->user_code, "p1", kNow + minutes(15)));
  const auto other = logins.begin("c1", "", "peer", kNow);
  EXPECT_EQ(logins.poll(other->device_code, "c1", kNow + minutes(15)).poll, DevicePoll::expired);
}

TEST(DeviceLogins, AnswersNobodyButTheClientThatBegan) {
  DeviceLogins logins;
  const auto code = logins.begin("c1", "", "peer", kNow);
  ASSERT_TRUE(logins.approve(code->user_code, "p1", kNow));
  EXPECT_EQ(logins.poll(code->device_code, "c2", kNow).poll, DevicePoll::unknown);
  EXPECT_EQ(logins.poll("guess", "c1", kNow).poll, DevicePoll::unknown);
  EXPECT_EQ(logins.poll(code->device_code, "c1", kNow).poll, DevicePoll::approved);
}

TEST(DeviceLogins, OfOnePeerAndOfAllAreBounded) {
  DeviceLogins logins;
  for (std::size_t i = 0; i < kMaximumPendingOfPeer; ++i) ASSERT_TRUE(logins.begin("c1", "", "peer", kNow));
  EXPECT_EQ(logins.begin("c1", "", "peer", kNow).error().code, ErrorCode::exhausted);
  EXPECT_TRUE(logins.begin("c1", "", "other", kNow));
  EXPECT_TRUE(logins.begin("c1", "", "peer", kNow + minutes(16))) << "the old ones have ended";
}

// RFC 7636, appendix B.
constexpr std::string_view kVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
constexpr std::string_view kChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

AuthorizationGrant grant() {
  return {"p1", "c1", "http://localhost:8400", "s1", std::string(kChallenge), ""};
}

TEST(AuthorizationCodes, IsExchangedOnceWithTheRightVerifier) {
  EXPECT_EQ(pkce_challenge(kVerifier), kChallenge);
  AuthorizationCodes codes;
  const std::string code = *codes.issue(grant(), kNow);
  const auto redeemed = codes.redeem(code, "c1", "http://localhost:8400", kVerifier, kNow);
  ASSERT_TRUE(redeemed) << redeemed.error().message;
  EXPECT_EQ(redeemed->principal_id, "p1");
  EXPECT_FALSE(codes.redeem(code, "c1", "http://localhost:8400", kVerifier, kNow));
}

TEST(AuthorizationCodes, IsGoneAfterOneWrongAttempt) {
  AuthorizationCodes codes;
  const auto refused = [&](std::string_view client, std::string_view redirect, std::string_view verifier,
                           TimePoint now) {
    const std::string code = *codes.issue(grant(), kNow);
    EXPECT_FALSE(codes.redeem(code, client, redirect, verifier, now));
    return !codes.redeem(code, "c1", "http://localhost:8400", kVerifier, kNow);
  };
  EXPECT_TRUE(refused("c2", "http://localhost:8400", kVerifier, kNow));
  EXPECT_TRUE(refused("c1", "http://localhost:1", kVerifier, kNow));
  EXPECT_TRUE(refused("c1", "http://localhost:8400", "guess", kNow));
  EXPECT_TRUE(refused("c1", "http://localhost:8400", kVerifier, kNow + minutes(5)));
}

}  // namespace
}  // namespace bootseal::identity

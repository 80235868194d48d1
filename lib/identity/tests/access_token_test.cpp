#include "bootseal/identity/access_token.h"

#include <gtest/gtest.h>

#include <set>

namespace bootseal::identity {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
const TimePoint kNow = *parse_time("2026-11-22T00:00:00Z");
constexpr std::string_view kTenant = "72f988bf-0000-4000-8000-000000000001";

Claims claims(TimePoint now = kNow) {
  Claims made;
  made.issuer = "https://site.test/adfs";
  made.audience = "https://site.test";
  made.object_id = "11111111-1111-4111-8111-111111111111";
  made.app_id = "22222222-2222-4222-8222-222222222222";
  made.tenant = kTenant;
  made.name = "alice@local";
  made.user = true;
  made.issued = now;
  made.expires = now + kTokenLifetime;
  made.id = "j1";
  return made;
}
KeyRing ring(TimePoint now = kNow) {
  KeyRing made;
  EXPECT_TRUE(*made.rotate(now));
  return made;
}

TEST(AccessToken, SaysWhoseItIsUntilItEnds) {
  const KeyRing keys = ring();
  const std::string token = *keys.sign(access_token_payload(claims()));
  const auto read = keys.verify(token, kTenant, kNow + minutes(59));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->object_id, claims().object_id);
  EXPECT_EQ(read->app_id, claims().app_id);
  EXPECT_EQ(read->audience, "https://site.test");
  EXPECT_EQ(read->name, "alice@local");
  EXPECT_TRUE(read->user);
  EXPECT_EQ(keys.verify(token, kTenant, kNow + hours(1)).error().code, ErrorCode::timeout);
  EXPECT_EQ(keys.verify(token, kTenant, kNow - minutes(6)).error().code, ErrorCode::unauthenticated);
}

TEST(AccessToken, HasTheClaimsThatAzuresServicesRead) {
  const KeyRing keys = ring();
  const auto jws = crypto::Jws::parse(*keys.sign(access_token_payload(claims())));
  EXPECT_EQ(jws->algorithm, "RS256");
  EXPECT_EQ(jws->key_id, keys.keys().front().id);
  EXPECT_EQ(jws->header.at("typ").as_string(), "JWT");
  std::set<std::string, std::less<>> names;
  for (const auto& member : jws->payload) names.insert(std::string(member.key()));
  EXPECT_EQ(names, (std::set<std::string, std::less<>>{"aud", "iss", "iat", "nbf", "exp", "oid", "sub", "tid",
                                                       "appid", "idtyp", "jti", "ver", "upn"}));
  EXPECT_EQ(jws->payload.at("exp").as_int64() - jws->payload.at("iat").as_int64(), 3600);
}

TEST(AccessToken, OfAnotherSiteOrTenantOrChangedIsRefused) {
  const KeyRing keys = ring();
  const std::string token = *keys.sign(access_token_payload(claims()));
  EXPECT_EQ(ring().verify(token, kTenant, kNow).error().code, ErrorCode::unauthenticated);
  EXPECT_FALSE(keys.verify(token, "another tenant", kNow));
  std::string changed = token;
  changed[token.find('.') + 10] ^= 1;
  EXPECT_FALSE(keys.verify(changed, kTenant, kNow));
  EXPECT_FALSE(keys.verify(token + "A", kTenant, kNow));
  EXPECT_FALSE(keys.verify("", kTenant, kNow));
}

TEST(AccessToken, AnIdTokenIsNone) {
  const KeyRing keys = ring();
  const std::string token = *keys.sign(id_token_payload(claims(), "n1"));
  EXPECT_FALSE(keys.verify(token, kTenant, kNow));
  const auto jws = crypto::Jws::parse(token);
  EXPECT_EQ(jws->payload.at("aud").as_string(), claims().app_id);
  EXPECT_EQ(jws->payload.at("tid").as_string(), kTenant);
  EXPECT_EQ(jws->payload.at("upn").as_string(), "alice@local");
  EXPECT_EQ(jws->payload.at("preferred_username").as_string(), "alice@local");
  EXPECT_EQ(jws->payload.at("nonce").as_string(), "n1");
}

TEST(KeyRing, MakesANewKeyEachDayAndKeepsTheOldAsLongAsItsTokensLive) {
  KeyRing keys = ring();
  EXPECT_FALSE(*keys.rotate(kNow + hours(23)));
  const std::string late = *keys.sign(access_token_payload(claims(kNow + hours(23))));
  EXPECT_TRUE(*keys.rotate(kNow + hours(24)));
  EXPECT_EQ(keys.keys().size(), 2U);
  EXPECT_TRUE(keys.verify(late, kTenant, kNow + hours(24) - seconds(1)));
  EXPECT_EQ(keys.jwks().at("keys").as_array().size(), 2U);
  EXPECT_TRUE(*keys.rotate(kNow + hours(24) + hours(2) + seconds(1)));
  EXPECT_EQ(keys.keys().size(), 1U);
  EXPECT_EQ(keys.verify(late, kTenant, kNow + hours(23)).error().code, ErrorCode::unauthenticated);
}

TEST(KeyRing, ComesBackFromItsStoredForm) {
  const KeyRing keys = ring();
  const auto read = KeyRing::parse(*json::parse(json::serialize(keys.to_json())));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->verify(*keys.sign(access_token_payload(claims())), kTenant, kNow));
  EXPECT_FALSE(
      KeyRing::parse(*json::parse(R"({"keys":[{"created":"2026-11-22T00:00:00Z","privateKey":"AAAA"}]})")));
}

TEST(KeyRing, PublishesNothingPrivate) {
  const json::Object jwk = ring().jwks().at("keys").at(0).as_object();
  std::set<std::string, std::less<>> names;
  for (const auto& member : jwk) names.insert(std::string(member.key()));
  EXPECT_EQ(names, (std::set<std::string, std::less<>>{"kty", "n", "e", "use", "alg", "kid"}));
}

}  // namespace
}  // namespace bootseal::identity

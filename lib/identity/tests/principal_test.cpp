#include "bootseal/identity/principal.h"

#include <gtest/gtest.h>

#include "bootseal/base/ids.h"

namespace bootseal::identity {
namespace {

using std::chrono::days;
const TimePoint kNow = *parse_time("2026-11-22T00:00:00Z");

Principal service_principal(const std::string& name = "builder") {
  return *make_principal({name, Principal::Kind::service_principal}, kNow);
}
Principal user(const std::string& name = "alice@local") {
  return *make_principal({name, Principal::Kind::user}, kNow);
}
std::string certificate_pem(crypto::KeyKind kind, TimePoint now = kNow) {
  const auto key = *crypto::PrivateKey::generate(kind);
  return crypto::make_self_signed(key, crypto::tls_client_content("builder", now, days(30)))->pem();
}
bool accepts(const Principal& principal, std::string_view secret, TimePoint now = kNow) {
  return check_secret(&principal, secret, now)->has_value();
}

TEST(Principal, HasAnIdAndAServicePrincipalAnAppIdToo) {
  const Principal program = service_principal();
  EXPECT_TRUE(Guid::parse(program.id) && Guid::parse(program.app_id));
  EXPECT_NE(program.id, program.app_id);
  EXPECT_TRUE(user().app_id.empty());
}

TEST(Principal, RefusesNamesThatCannotBeSignedInWith) {
  const auto program = [](std::string name) {
    return make_principal({std::move(name), Principal::Kind::service_principal}, kNow).has_value();
  };
  EXPECT_TRUE(program("bootseal-admin"));
  for (const char* name : {"", "-a", "a b", "a/b", "alice@local", "a\n"}) EXPECT_FALSE(program(name)) << name;
  EXPECT_FALSE(program(std::string(65, 'a')));
  EXPECT_TRUE(make_principal({"alice+x@local", Principal::Kind::user}, kNow));
  EXPECT_FALSE(make_principal({"@local", Principal::Kind::user}, kNow));
}

TEST(Secret, IsAcceptedUntilItEnds) {
  Principal principal = service_principal();
  const auto secret = add_secret(principal, kNow, days(30));
  ASSERT_TRUE(secret);
  EXPECT_TRUE(accepts(principal, secret->text));
  EXPECT_TRUE(accepts(principal, secret->text, kNow + days(30) - std::chrono::seconds(1)));
  EXPECT_FALSE(accepts(principal, secret->text, kNow + days(30)));
  EXPECT_FALSE(accepts(principal, secret->text + "x"));
  EXPECT_FALSE(accepts(principal, ""));
}

TEST(Secret, SeveralWorkSideBySideAndOneCanBeTakenAway) {
  Principal principal = service_principal();
  const auto first = add_secret(principal, kNow), second = add_secret(principal, kNow);
  EXPECT_EQ(check_secret(&principal, second->text, kNow)->value(), second->credential_id);
  ASSERT_TRUE(remove_credential(principal, first->credential_id));
  EXPECT_FALSE(accepts(principal, first->text));
  EXPECT_TRUE(accepts(principal, second->text));
  EXPECT_EQ(remove_credential(principal, first->credential_id).error().code, ErrorCode::not_found);
}

TEST(Secret, IsNowhereInWhatIsStoredOrShown) {
  Principal principal = service_principal();
  const auto secret = add_secret(principal, kNow);
  const std::string stored = json::serialize(principal.to_json()),
                    shown = json::serialize(principal.to_answer());
  EXPECT_EQ(stored.find(secret->text), std::string::npos);
  EXPECT_EQ(shown.find(secret->text), std::string::npos);
  EXPECT_EQ(shown.find("salt"), std::string::npos);
  EXPECT_NE(shown.find(secret->text.substr(0, 8)), std::string::npos) << "the hint";
}

TEST(Secret, StillWorksAfterTheRecordWasStored) {
  Principal principal = service_principal();
  const auto secret = add_secret(principal, kNow);
  ASSERT_TRUE(add_certificate(principal, certificate_pem(crypto::KeyKind::rsa), kNow));
  const auto read = Principal::parse(*json::parse(json::serialize(principal.to_json())));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->to_json(), principal.to_json());
  EXPECT_TRUE(accepts(*read, secret->text));
}

TEST(Secret, HasALifetimeAndANumberWithBounds) {
  Principal principal = service_principal();
  EXPECT_EQ(add_secret(principal, kNow, days(0)).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(add_secret(principal, kNow, days(731)).error().code, ErrorCode::invalid_argument);
  for (std::size_t i = 0; i < kMaximumCredentials; ++i) ASSERT_TRUE(add_secret(principal, kNow));
  EXPECT_EQ(add_secret(principal, kNow).error().code, ErrorCode::exhausted);
}

TEST(Secret, OfNobodyIsNotAccepted) {
  EXPECT_FALSE(check_secret(nullptr, "anything", kNow)->has_value());
}

TEST(Password, OfAUserIsMadeForTypingAndReplacedByAChosenOne) {
  Principal alice = user();
  const auto made = add_secret(alice, kNow);
  EXPECT_EQ(made->text.size(), 23U);
  EXPECT_TRUE(accepts(alice, made->text));
  ASSERT_TRUE(set_password(alice, "correct horse battery", kNow));
  EXPECT_TRUE(accepts(alice, "correct horse battery"));
  EXPECT_FALSE(accepts(alice, made->text));
  EXPECT_FALSE(set_password(alice, "short", kNow));
  EXPECT_FALSE(set_password(alice, std::string(257, 'a'), kNow));
  Principal program = service_principal();
  EXPECT_FALSE(set_password(program, "correct horse battery", kNow));
}

TEST(CertificateCredential, IsTakenOnceAndForServicePrincipalsOnly) {
  Principal principal = service_principal();
  const std::string pem = certificate_pem(crypto::KeyKind::ec_p256);
  ASSERT_TRUE(add_certificate(principal, pem, kNow));
  EXPECT_EQ(add_certificate(principal, pem, kNow).error().code, ErrorCode::already_exists);
  EXPECT_FALSE(add_certificate(principal, "no certificate", kNow));
  EXPECT_FALSE(add_certificate(principal, certificate_pem(crypto::KeyKind::rsa, kNow - days(60)), kNow));
  EXPECT_FALSE(add_certificate(principal, certificate_pem(crypto::KeyKind::ec_p384), kNow));
  Principal alice = user();
  EXPECT_FALSE(add_certificate(alice, pem, kNow));
}

TEST(SecretHash, RefusesAStoredHashThatIsNone) {
  const json::Object good = SecretHash::of("x", SecretHash::Strength::generated)->to_json();
  for (const char* field : {"salt", "cost", "blockSize", "parallelism", "hash"}) {
    json::Object broken = good;
    broken[field] = "!";
    EXPECT_FALSE(SecretHash::parse(broken)) << field;
  }
}

}  // namespace
}  // namespace bootseal::identity

#include "bootseal/identity/client_assertion.h"

#include <gtest/gtest.h>

#include "bootseal/crypto/jws.h"

namespace bootseal::identity {
namespace {

using std::chrono::days;
using std::chrono::minutes;
// 1795292377.82 is the `exp` of a recorded assertion of az 2.45.
const TimePoint kNow = TimePoint(std::chrono::seconds(1795292377 - 600));
const std::string kAudiences[] = {"https://localhost:8443/adfs/oauth2/token"};

class ClientAssertionTest : public ::testing::Test {
 protected:
  ClientAssertionTest()
      : key_(*crypto::PrivateKey::generate(crypto::KeyKind::rsa)),
        certificate_(*crypto::make_self_signed(key_, crypto::tls_client_content("app", kNow, days(30)))),
        principal_(*make_principal({"app", Principal::Kind::service_principal}, kNow)) {
    EXPECT_TRUE(add_certificate(principal_, certificate_.pem(), kNow));
  }
  // As MSAL writes them: x5t with padding, times with fractions.
  [[nodiscard]] json::Object header() const {
    std::string print = to_base64url(crypto::digest(crypto::HashAlgorithm::sha1, certificate_.der()));
    while (print.size() % 4 != 0) print += '=';
    return {{"typ", "JWT"}, {"x5t", print}};
  }
  [[nodiscard]] json::Object payload() const {
    return {{"aud", kAudiences[0]}, {"iss", "app"},         {"sub", "app"},
            {"exp", 1795292377.82}, {"iat", 1795291777.82}, {"jti", "6a8d4c5e"}};
  }
  [[nodiscard]] std::string token(const json::Object& with, crypto::JwsAlgorithm algorithm) const {
    return *crypto::sign_jws(key_, algorithm, header(), with);
  }
  [[nodiscard]] Result<Assertion> verify(const std::string& text, TimePoint now = kNow) const {
    return verify_client_assertion(text, principal_, "app", kAudiences, now);
  }
  [[nodiscard]] std::string refusal(const std::string& member, const json::Value& value) const {
    json::Object changed = payload();
    if (value.is_null()) {
      changed.erase(member);
    } else {
      changed[member] = value;
    }
    const auto result = verify(token(changed, crypto::JwsAlgorithm::rs256));
    return result ? "accepted" : result.error().message;
  }

  crypto::PrivateKey key_;
  crypto::Certificate certificate_;
  Principal principal_;
};

TEST_F(ClientAssertionTest, OfMsalIsAcceptedWithEitherRsaAlgorithm) {
  for (const auto algorithm : {crypto::JwsAlgorithm::rs256, crypto::JwsAlgorithm::ps256}) {
    const auto facts = verify(token(payload(), algorithm));
    ASSERT_TRUE(facts) << facts.error().message;
    EXPECT_EQ(facts->id, "6a8d4c5e");
    EXPECT_EQ(facts->credential_id, principal_.credentials[0].id);
    EXPECT_EQ(facts->expires, TimePoint(std::chrono::milliseconds(1795292377820)));
  }
  EXPECT_EQ(client_of_assertion(token(payload(), crypto::JwsAlgorithm::rs256)), "app");
}

TEST_F(ClientAssertionTest, IsAcceptedWithTheSha256OfTheCertificateToo) {
  const std::string print = to_base64url(crypto::digest(crypto::HashAlgorithm::sha256, certificate_.der()));
  EXPECT_TRUE(verify(*crypto::sign_jws(key_, crypto::JwsAlgorithm::ps256, {{"x5t#S256", print}}, payload())));
}

TEST_F(ClientAssertionTest, WithWrongClaimsIsRefused) {
  EXPECT_EQ(refusal("exp", 1795292377), "accepted");
  EXPECT_NE(refusal("iss", "other").find("'iss' and 'sub'"), std::string::npos);
  EXPECT_NE(refusal("sub", "other").find("'iss' and 'sub'"), std::string::npos);
  EXPECT_NE(refusal("aud", "https://elsewhere/token").find("audience"), std::string::npos);
  EXPECT_NE(refusal("aud", nullptr).find("audience"), std::string::npos);
  EXPECT_NE(refusal("exp", nullptr).find("no 'exp'"), std::string::npos);
  EXPECT_NE(refusal("exp", "soon").find("no time"), std::string::npos);
  EXPECT_NE(refusal("exp", -1).find("no time"), std::string::npos);
  EXPECT_NE(refusal("exp", 1e300).find("no time"), std::string::npos);
  EXPECT_NE(refusal("exp", 1795292377 + 90000).find("more than a day"), std::string::npos);
  EXPECT_NE(refusal("nbf", 1795292377.5).find("valid from"), std::string::npos);
  EXPECT_NE(refusal("jti", nullptr).find("jti"), std::string::npos);
  EXPECT_NE(refusal("jti", json::Value(std::string(257, 'a').c_str())).find("jti"), std::string::npos);
}

TEST_F(ClientAssertionTest, EndsFiveMinutesAfterItsExpiry) {
  const std::string text = token(payload(), crypto::JwsAlgorithm::rs256);
  EXPECT_TRUE(verify(text, kNow + minutes(14)));
  EXPECT_FALSE(verify(text, kNow + minutes(16)));
}

TEST_F(ClientAssertionTest, OfAnotherKeyOrCertificateIsRefused) {
  const auto other = *crypto::PrivateKey::generate(crypto::KeyKind::rsa);
  EXPECT_FALSE(verify(*crypto::sign_jws(other, crypto::JwsAlgorithm::rs256, header(), payload())));
  EXPECT_FALSE(verify(*crypto::sign_jws(key_, crypto::JwsAlgorithm::rs256, {{"x5t", "AAAA"}}, payload())));
  EXPECT_FALSE(verify(*crypto::sign_jws(key_, crypto::JwsAlgorithm::rs256, {}, payload())));
  const std::string good = token(payload(), crypto::JwsAlgorithm::rs256);
  EXPECT_FALSE(verify(good.substr(0, good.rfind('.') + 1)));
  EXPECT_FALSE(verify("no token"));
}

TEST_F(ClientAssertionTest, OfACertificateThatEndedIsRefused) {
  principal_.credentials[0].expires = kNow;
  const auto result = verify(token(payload(), crypto::JwsAlgorithm::rs256));
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("ended at"), std::string::npos);
  EXPECT_EQ(result.error().code, ErrorCode::unauthenticated);
}

}  // namespace
}  // namespace bootseal::identity

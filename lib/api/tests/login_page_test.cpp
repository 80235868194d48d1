// The pages for browsers: what they show, where they lead, and what they refuse.
#include <array>

#include "identity_site.h"

namespace bootseal::api::testing {
namespace {

// RFC 7636, appendix B.
constexpr const char* kVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
constexpr const char* kChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

class LoginPageTest : public IdentityTest {
 protected:
  static Fields parameters() {
    return {{"client_id", kAzClient},
            {"response_type", "code"},
            {"redirect_uri", "http://localhost:8400"},
            {"scope", std::string(kArm) + " offline_access openid profile"},
            {"state", "s&1"},
            {"code_challenge", kChallenge},
            {"code_challenge_method", "S256"}};
  }
  Reply show(const Fields& fields) {
    std::string target = "/adfs/oauth2/authorize";
    char separator = '?';
    for (const auto& [name, value] : fields) {
      target += separator + name + "=" + value;  // the test's transport takes values as they stand
      separator = '&';
    }
    return call_as(anonymous_, "GET", target);
  }
  Reply submit(const std::string& password) {
    Fields fields = parameters();
    fields["username"] = "alice@local";
    fields["password"] = password;
    return post_form("/adfs/oauth2/authorize", fields);
  }
};

TEST_F(LoginPageTest, SignsABrowserInForAProgramOnItsMachine) {
  start();
  create_user("alice@local", "Reader");
  Fields plain = parameters();
  plain["state"] = "s1";
  EXPECT_NE(show(plain).text.find("name=\"code_challenge\" value=\"" + std::string(kChallenge)),
            std::string::npos);
  const Reply wrong = submit("wrong password");
  EXPECT_EQ(wrong.status, 400);
  EXPECT_NE(wrong.text.find("AADSTS50126"), std::string::npos);
  const Reply back = submit("correct horse battery");
  ASSERT_EQ(back.status, 302) << back.text;
  const std::string location = back.header("Location");
  const std::string begin = "http://localhost:8400?code=";
  ASSERT_TRUE(location.starts_with(begin)) << location;
  EXPECT_TRUE(location.ends_with("&state=s%261")) << location;
  const std::string code = location.substr(begin.size(), location.find('&') - begin.size());
  const auto exchange = [&](const std::string& verifier) {
    return token({{"grant_type", "authorization_code"},
                  {"client_id", kAzClient},
                  {"code", code},
                  {"redirect_uri", "http://localhost:8400"},
                  {"code_verifier", verifier}});
  };
  const Reply tokens = exchange(kVerifier);
  ASSERT_EQ(tokens.status, 200) << tokens.text;
  EXPECT_TRUE(tokens.body.as_object().contains("refresh_token"));
  EXPECT_EQ(as(text(tokens.body, "access_token"), "GET", "/subscriptions").status, 200);
  EXPECT_EQ(error_of(exchange(kVerifier)), "invalid_grant");
}

TEST_F(LoginPageTest, LeadsNowhereButToThisMachine) {
  start();
  for (const char* uri : {"https://evil.test", "http://localhost.evil.test",
                          "http://localhost:8400@evil.test", "http://localhost:99999", "http://localhost:",
                          "http://localhost:1/../x", "", "https://localhost:8400", "http://127.0.0.1:8400"}) {
    Fields fields = parameters();
    fields["redirect_uri"] = uri;
    EXPECT_EQ(show(fields).status, 400) << uri;
    EXPECT_EQ(post_form("/adfs/oauth2/authorize", fields).status, 400) << uri;
  }
}

TEST_F(LoginPageTest, WantsPkceAndACode) {
  start();
  for (const auto& [name, value] : std::map<std::string, std::string>{{"code_challenge", ""},
                                                                      {"code_challenge_method", "plain"},
                                                                      {"response_type", "token"},
                                                                      {"response_mode", "form_post"},
                                                                      {"scope", "https://elsewhere/.default"},
                                                                      {"client_id", ""}}) {
    Fields fields = parameters();
    fields[name] = value;
    EXPECT_EQ(show(fields).status, 400) << name;
  }
}

TEST_F(LoginPageTest, ShowsWhatItWasGivenAsTextOnly) {
  start();
  Fields fields = parameters();
  fields["client_id"] = "\"><script>alert(1)</script>";
  fields["state"] = "'><b>";
  const Reply page = show(fields);
  ASSERT_EQ(page.status, 200);
  EXPECT_EQ(page.text.find("<script"), std::string::npos);
  EXPECT_EQ(page.text.find("'><b>"), std::string::npos);
  EXPECT_NE(page.header("Content-Security-Policy").find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(page.header("X-Frame-Options"), "DENY");
  EXPECT_EQ(page.header("Cache-Control"), "no-store");
}

TEST_F(LoginPageTest, ApprovesADeviceCode) {
  start();
  create_user("alice@local", "Reader");
  const Reply begun = post_form("/adfs/oauth2/devicecode", {{"client_id", kAzClient}});
  const auto approve = [&](const std::string& code, const std::string& password) {
    return post_form("/adfs/oauth2/deviceauth",
                     {{"user_code", code}, {"username", "alice@local"}, {"password", password}});
  };
  EXPECT_EQ(call_as(anonymous_, "GET", "/adfs/oauth2/deviceauth").status, 200);
  EXPECT_EQ(approve(text(begun.body, "user_code"), "wrong password").status, 400);
  EXPECT_EQ(approve("BBBB-BBBB", "correct horse battery").status, 400);
  EXPECT_EQ(approve(text(begun.body, "user_code"), "correct horse battery").status, 200);
  const Reply done = token({{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
                            {"client_id", kAzClient},
                            {"device_code", text(begun.body, "device_code")}});
  EXPECT_EQ(done.status, 200) << done.text;
}

}  // namespace
}  // namespace bootseal::api::testing

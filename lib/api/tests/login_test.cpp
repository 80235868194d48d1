// Signing in, in the requests that az 2.45 and @azure/identity 4.13 were recorded to send.
#include "bootseal/crypto/jws.h"
#include "bootseal/crypto/x509.h"
#include "bootseal/identity/client_assertion.h"
#include "identity_site.h"

namespace bootseal::api::testing {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

TEST_F(IdentityTest, ShowsWhereToSignInUnderEveryFormOfTheTenant) {
  start();
  for (const char* path :
       {"/adfs/.well-known/openid-configuration", "/adfs/adfs/.well-known/openid-configuration",
        "/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0/.well-known/openid-configuration"}) {
    const Reply reply = call_as(anonymous_, "GET", path);
    ASSERT_EQ(reply.status, 200) << path << reply.text;
    EXPECT_EQ(text(reply.body, "issuer"), "https://site.test:8443/adfs");
    EXPECT_EQ(text(reply.body, "token_endpoint"), "https://site.test:8443/adfs/oauth2/token");
    EXPECT_EQ(text(reply.body, "device_authorization_endpoint"),
              "https://site.test:8443/adfs/oauth2/devicecode");
  }
  const Reply metadata = call_as(anonymous_, "GET", "/metadata/endpoints?api-version=2015-01-01");
  EXPECT_EQ(metadata.body.at("authentication").at("loginEndpoint").as_string(),
            "https://site.test:8443/adfs");
  EXPECT_EQ(metadata.body.at("authentication").at("audiences").at(0).as_string(), "https://site.test:8443");
  EXPECT_TRUE(call_as(anonymous_, "GET", "/metadata/endpoints?api-version=2022-09-01").body.is_array());
  const Reply aliases = call_as(anonymous_, "GET", "/aliases.json");
  const json::Value& mini = aliases.body.at("outputs").at("aliases").at("value").at("Linux").at("mini");
  for (const char* member : {"publisher", "offer", "sku", "version", "architecture"})
    EXPECT_FALSE(text(mini, member).empty()) << member;
}

TEST_F(IdentityTest, AServicePrincipalSignsInWithItsSecretAndActsWithItsRole) {
  start();
  const json::Value program = create_program("builder", "Reader");
  const Reply reply = client_token(text(program, "appId"), text(program, "secret"));
  ASSERT_EQ(reply.status, 200) << reply.text;
  EXPECT_EQ(text(reply.body, "token_type"), "Bearer");
  EXPECT_EQ(reply.body.at("expires_in").as_int64(), 3600);
  EXPECT_FALSE(reply.body.as_object().contains("refresh_token"));
  const std::string access = text(reply.body, "access_token");
  const Reply subscriptions = as(access, "GET", "/subscriptions");
  ASSERT_EQ(subscriptions.body.at("value").as_array().size(), 1U) << subscriptions.text;
  EXPECT_EQ(text(subscriptions.body.at("value").at(0), "state"), "Enabled");
  const Reply refused = as(access, "PUT", group(), json::Object{{"location", "local"}});
  EXPECT_EQ(refused.status, 403);
  EXPECT_TRUE(refused.error().starts_with("AuthorizationFailed: The client 'builder' with object id '"))
      << refused.error();
}

TEST_F(IdentityTest, ItsNameAndBasicAuthenticationAreTakenToo) {
  start();
  const json::Value program = create_program("builder");
  EXPECT_EQ(client_token("Builder", text(program, "secret")).status, 200);
  const std::string basic =
      to_base64(as_bytes(text(program, "appId") + ":" + identity::encode_component(text(program, "secret"))));
  const Reply reply =
      call_as(anonymous_, "POST", "/adfs/oauth2/token?client-request-id=1",
              {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
               {"Authorization", "Basic " + basic}},
              "grant_type=client_credentials&scope=https%3A%2F%2Fmanagement.azure.com%2F.default");
  EXPECT_EQ(reply.status, 200) << reply.text;
  EXPECT_EQ(as(text(reply.body, "access_token"), "GET", "/subscriptions").status, 200);
}

TEST_F(IdentityTest, AWrongSecretIsRefusedAndGuessingSlowsDown) {
  start();
  const json::Value program = create_program("builder");
  for (int i = 0; i < 6; ++i) {
    const Reply reply = client_token("builder", "wrong");
    ASSERT_EQ(reply.status, 400) << i;
    ASSERT_EQ(error_of(reply), "invalid_client");
    EXPECT_NE(text(reply.body, "error_description").find("AADSTS7000215"), std::string::npos);
  }
  const Reply slowed = client_token("builder", text(program, "secret"));
  EXPECT_EQ(slowed.status, 429) << "also the right secret has to wait";
  EXPECT_EQ(slowed.header("Retry-After"), "1");
  time_.advance(seconds(1));
  EXPECT_EQ(client_token("builder", text(program, "secret")).status, 200);
  EXPECT_EQ(error_of(client_token("nobody", "wrong")), "invalid_client");
}

TEST_F(IdentityTest, OnePeerThatTriesManyNamesIsSlowedDownAndOthersAreNot) {
  start();
  for (int i = 0; i < 21; ++i) ASSERT_EQ(client_token("name" + std::to_string(i), "wrong").status, 400) << i;
  EXPECT_EQ(client_token("another", "wrong").status, 429);
  anonymous_.address = "192.0.2.8:4711";
  EXPECT_EQ(client_token("another", "wrong").status, 400);
}

TEST_F(IdentityTest, AServicePrincipalSignsInWithItsCertificateOnceForEachAssertion) {
  start();
  const auto key = *crypto::PrivateKey::generate(crypto::KeyKind::rsa);
  const auto certificate =
      *crypto::make_self_signed(key, crypto::tls_client_content("app", time_.now(), std::chrono::days(30)));
  const json::Value program =
      create({{"name", "app"}, {"type", "ServicePrincipal"}, {"certificatePem", certificate.pem()}});
  EXPECT_FALSE(program.as_object().contains("secret"));
  const std::string app = text(program, "appId");
  const double now = static_cast<double>(time_.now().time_since_epoch().count()) / 1e6;
  const auto assertion = [&](const std::string& id) {
    const std::string print =
        to_base64url(crypto::digest(crypto::HashAlgorithm::sha1, certificate.der())) + "=";
    return *crypto::sign_jws(key, crypto::JwsAlgorithm::rs256, {{"typ", "JWT"}, {"x5t", print}},
                             {{"aud", "https://site.test:8443/adfs/oauth2/token"},
                              {"iss", app},
                              {"sub", app},
                              {"iat", now + 0.25},
                              {"exp", now + 600.25},
                              {"jti", id}});
  };
  const auto request = [&](const std::string& jwt) {
    return token({{"grant_type", "client_credentials"},
                  {"client_id", app},
                  {"client_assertion", jwt},
                  {"client_assertion_type", std::string(identity::kClientAssertionType)},
                  {"scope", kArm}});
  };
  const std::string first = assertion("j1");
  EXPECT_EQ(request(first).status, 200) << request(assertion("j0")).text;
  const Reply replayed = request(first);
  EXPECT_EQ(error_of(replayed), "invalid_client");
  EXPECT_NE(text(replayed.body, "error_description").find("used before"), std::string::npos);
  EXPECT_EQ(request(assertion("j2")).status, 200);
  crash();
  start();
  EXPECT_EQ(error_of(request(first)), "invalid_client") << "a restart does not forget it";
}

TEST_F(IdentityTest, AUserSignsInWithAPasswordAndGetsWhatAzReads) {
  start();
  create_user("alice@local", "Reader");
  const Reply reply = password_token("Alice@local");
  ASSERT_EQ(reply.status, 200) << reply.text;
  const auto id_token = crypto::Jws::parse(text(reply.body, "id_token"));
  ASSERT_TRUE(id_token);
  EXPECT_EQ(id_token->payload.at("aud").as_string(), kAzClient);
  EXPECT_EQ(id_token->payload.at("upn").as_string(), "alice@local");
  EXPECT_EQ(id_token->payload.at("tid").as_string(),
            text(call("GET", "/tenants").body.at("value").at(0), "tenantId"));
  const std::string access = text(reply.body, "access_token");
  EXPECT_EQ(as(access, "GET", "/tenants").status, 200);
  EXPECT_EQ(as(access, "GET", "/subscriptions").body.at("value").as_array().size(), 1U);
  EXPECT_EQ(error_of(password_token("alice@local", "wrong password")), "invalid_grant");
  EXPECT_EQ(error_of(password_token("nobody@local")), "invalid_grant");
}

TEST_F(IdentityTest, TokensVerifyWithThePublishedKeys) {
  start();
  const json::Value program = create_program("builder");
  const auto jws = crypto::Jws::parse(sign_in(program));
  const Reply keys = call_as(anonymous_, "GET", "/adfs/discovery/keys");
  const json::Value& key = keys.body.at("keys").at(0);
  EXPECT_EQ(text(key, "kid"), jws->key_id);
  const auto public_key = crypto::PublicKey::from_rsa(*from_base64url(text(key, "n")), 65537);
  EXPECT_TRUE(jws->verify(*public_key, {crypto::JwsAlgorithm::rs256}));
}

TEST_F(IdentityTest, ARefreshTokenIsChangedAtUseAndItsReuseEndsTheSignIn) {
  start();
  create_user("alice@local");
  const auto refresh = [&](const std::string& value, const std::string& client = kAzClient) {
    return token({{"grant_type", "refresh_token"},
                  {"client_id", client},
                  {"refresh_token", value},
                  {"scope", "https://vault.local/.default offline_access openid profile"}});
  };
  const std::string first = text(password_token("alice@local").body, "refresh_token");
  EXPECT_EQ(error_of(refresh(first, "other")), "invalid_grant");
  const Reply used = refresh(first);
  ASSERT_EQ(used.status, 200) << used.text;
  const std::string second = text(used.body, "refresh_token");
  const auto access = crypto::Jws::parse(text(used.body, "access_token"));
  EXPECT_EQ(access->payload.at("aud").as_string(), "https://vault.local");
  time_.advance(hours(1));
  EXPECT_EQ(error_of(refresh(first)), "invalid_grant");
  EXPECT_EQ(error_of(refresh(second)), "invalid_grant") << "the family has ended";
}

TEST_F(IdentityTest, ADeviceSignsInWhenItsCodeWasApproved) {
  start();
  create_user("alice@local", "Reader");
  const Reply begun =
      post_form("/adfs/oauth2/devicecode",
                {{"client_id", kAzClient}, {"scope", std::string(kArm) + " offline_access openid profile"}});
  ASSERT_EQ(begun.status, 200) << begun.text;
  const std::string code = text(begun.body, "user_code");
  EXPECT_NE(text(begun.body, "message").find(code), std::string::npos);
  const auto poll = [&] {
    time_.advance(seconds(5));
    return token({{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
                  {"client_id", kAzClient},
                  {"code", text(begun.body, "device_code")},
                  {"device_code", text(begun.body, "device_code")}});
  };
  EXPECT_EQ(error_of(poll()), "authorization_pending");
  EXPECT_EQ(
      call("POST", "/v1/device-logins/XXXX-XXXX/approve", json::Object{{"principal", "alice@local"}}).status,
      404);
  const Reply approved =
      call("POST", "/v1/device-logins/" + code + "/approve", json::Object{{"principal", "alice@local"}});
  ASSERT_EQ(approved.status, 200) << approved.text;
  const Reply done = poll();
  ASSERT_EQ(done.status, 200) << done.text;
  EXPECT_EQ(crypto::Jws::parse(text(done.body, "id_token"))->payload.at("upn").as_string(), "alice@local");
  EXPECT_EQ(as(text(done.body, "access_token"), "GET", "/subscriptions").status, 200);
  EXPECT_EQ(error_of(poll()), "expired_token");
}

TEST_F(IdentityTest, ASignedInUserApprovesForHerselfOnly) {
  start();
  create_user("alice@local", "Reader");
  create_user("bob@local", "Owner");
  const std::string access = text(password_token("alice@local").body, "access_token");
  const Reply begun = post_form("/adfs/oauth2/devicecode", {{"client_id", kAzClient}});
  const std::string path = "/v1/device-logins/" + text(begun.body, "user_code") + "/approve";
  EXPECT_EQ(as(access, "POST", path, json::Object{{"principal", "bob@local"}}).status, 403);
  const Reply approved = as(access, "POST", path);
  ASSERT_EQ(approved.status, 200) << approved.text;
  EXPECT_EQ(text(approved.body, "principal"), "alice@local");
}

TEST_F(IdentityTest, ATokenEndsAfterAnHourAndSaysSo) {
  start();
  const std::string access = sign_in(create_program("builder", "Reader"));
  EXPECT_EQ(as(access, "GET", "/subscriptions").status, 200);
  time_.advance(hours(1));
  const Reply ended = as(access, "GET", "/subscriptions");
  EXPECT_EQ(ended.status, 401);
  EXPECT_TRUE(ended.error().starts_with("ExpiredAuthenticationToken: ")) << ended.error();
  EXPECT_EQ(ended.header("WWW-Authenticate"),
            "Bearer authorization_uri=\"https://site.test:8443/adfs\", error=\"invalid_token\"");
}

TEST_F(IdentityTest, ATokenOfADisabledOrDeletedPrincipalIsRefusedAtOnce) {
  start();
  const json::Value program = create_program("builder", "Reader");
  const std::string access = sign_in(program);
  ASSERT_EQ(call("PATCH", "/v1/principals/builder", json::Object{{"enabled", false}}).status, 200);
  EXPECT_EQ(as(access, "GET", "/subscriptions").status, 401);
  EXPECT_EQ(error_of(client_token("builder", text(program, "secret"))), "unauthorized_client");
  ASSERT_EQ(call("PATCH", "/v1/principals/builder", json::Object{{"enabled", true}}).status, 200);
  EXPECT_EQ(as(access, "GET", "/subscriptions").status, 200);
  ASSERT_EQ(call("DELETE", "/v1/principals/builder").status, 200);
  EXPECT_EQ(as(access, "GET", "/subscriptions").status, 401);
  EXPECT_EQ(call("DELETE", "/v1/principals/builder").status, 204);
}

TEST_F(IdentityTest, ATokenForTheVaultOpensNothingElse) {
  start();
  const json::Value program = create_program("builder", "Owner", "/");
  const Reply vault = client_token("builder", text(program, "secret"), "https://vault.local/.default");
  ASSERT_EQ(vault.status, 200);
  const Reply refused = as(text(vault.body, "access_token"), "GET", "/subscriptions");
  EXPECT_EQ(refused.status, 401);
  EXPECT_TRUE(refused.error().starts_with("InvalidAuthenticationTokenAudience")) << refused.error();
  EXPECT_EQ(error_of(client_token("builder", text(program, "secret"), "https://elsewhere/.default")),
            "invalid_scope");
}

TEST_F(IdentityTest, TokensAndSecretsSurviveARestart) {
  start();
  const json::Value program = create_program("builder", "Reader");
  const std::string access = sign_in(program);
  crash();
  start();
  EXPECT_EQ(as(access, "GET", "/subscriptions").status, 200);
  EXPECT_FALSE(sign_in(program).empty());
}

TEST_F(IdentityTest, RequestsThatAreNoOAuthAreRefused) {
  start();
  const Reply json_body =
      call_as(anonymous_, "POST", "/adfs/oauth2/token", {{"Content-Type", "application/json"}}, "{}");
  EXPECT_EQ(error_of(json_body), "invalid_request");
  EXPECT_EQ(error_of(token({})), "unsupported_grant_type");
  EXPECT_EQ(error_of(token({{"grant_type", "client_credentials"}})), "invalid_request");
  EXPECT_EQ(error_of(token({{"grant_type", "client_credentials"}, {"client_id", "x"}})), "invalid_client");
  EXPECT_EQ(error_of(token({{"grant_type", "refresh_token"}, {"client_id", "x"}, {"refresh_token", "y"}})),
            "invalid_grant");
  EXPECT_EQ(error_of(post_form("/adfs/oauth2/devicecode", {})), "invalid_request");
  EXPECT_EQ(as("not.a.token", "GET", "/subscriptions").status, 401);
}

TEST_F(IdentityTest, OnlyOwnersOfTheSiteManagePrincipals) {
  start();
  const std::string contributor = sign_in(create_program("c", "Contributor", "/"));
  const std::string administrator = sign_in(create_program("u", "User Access Administrator", "/"));
  const std::string group_owner = sign_in(create_program("g", "Owner"));
  for (const std::string& access : {contributor, administrator, group_owner}) {
    EXPECT_EQ(as(access, "GET", "/v1/principals").status, 403);
    EXPECT_EQ(as(access, "POST", "/v1/principals", json::Object{{"name", "x"}, {"type", "User"}}).status,
              403);
    EXPECT_EQ(as(access, "POST", "/v1/principals/c/credentials", json::Object()).status, 403);
    EXPECT_EQ(as(access, "DELETE", "/v1/principals/c").status, 403);
  }
  const std::string owner = sign_in(create_program("o", "Owner", "/"));
  EXPECT_EQ(as(owner, "GET", "/v1/principals").body.at("value").as_array().size(), 4U);
}

TEST_F(IdentityTest, CredentialsAreAddedShownWithoutSecretsAndRemoved) {
  start();
  const json::Value program = create_program("builder");
  const Reply added = call("POST", "/v1/principals/builder/credentials", json::Object{{"secretDays", 30}});
  ASSERT_EQ(added.status, 201) << added.text;
  EXPECT_EQ(client_token("builder", text(added.body, "secret")).status, 200);
  const Reply shown = call("GET", "/v1/principals/builder");
  EXPECT_EQ(shown.body.at("credentials").as_array().size(), 2U);
  EXPECT_EQ(shown.text.find(text(added.body, "secret")), std::string::npos);
  const std::string path = "/v1/principals/builder/credentials/";
  EXPECT_EQ(call("DELETE", path + text(added.body, "id")).status, 200);
  EXPECT_EQ(call("DELETE", path + text(added.body, "id")).status, 404);
  EXPECT_EQ(error_of(client_token("builder", text(added.body, "secret"))), "invalid_client");
  EXPECT_EQ(client_token("builder", text(program, "secret")).status, 200);
  EXPECT_EQ(call("POST", "/v1/principals", json::Object{{"name", "BUILDER"}, {"type", "User"}}).status, 409);
}

}  // namespace
}  // namespace bootseal::api::testing

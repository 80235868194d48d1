// A site with principals, and clients that sign in to it.
#pragma once

#include "bootseal/identity/form.h"
#include "site.h"

namespace bootseal::api::testing {

inline constexpr const char* kAzClient = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
inline constexpr const char* kArm = "https://site.test:8443/.default";

class IdentityTest : public SiteTest {
 protected:
  IdentityTest() {
    clock_ = &time_;
    anonymous_.address = "192.0.2.7:4711";
  }

  using Fields = std::map<std::string, std::string>;
  // Makes a principal as the site's owner; its answer, with the secret.
  json::Value create(const json::Object& wanted) {
    const Reply reply = call("POST", "/v1/principals", wanted);
    EXPECT_EQ(reply.status, 201) << reply.text;
    return reply.body;
  }
  json::Value create_program(const std::string& name, const std::string& role = {},
                             const std::string& scope = {}) {
    json::Object wanted{{"name", name}, {"type", "ServicePrincipal"}};
    if (!role.empty()) wanted["role"] = role;
    if (!scope.empty()) wanted["scope"] = scope;
    return create(wanted);
  }
  json::Value create_user(const std::string& name, const std::string& role = {},
                          const std::string& scope = {}) {
    json::Object wanted{{"name", name}, {"type", "User"}, {"password", "correct horse battery"}};
    if (!role.empty()) wanted["role"] = role;
    if (!scope.empty()) wanted["scope"] = scope;
    return create(wanted);
  }
  static std::string text(const json::Value& value, const char* member) {
    return std::string(value.at(member).as_string());
  }

  Reply post_form(const std::string& path, const Fields& fields) {
    std::string body;
    for (const auto& [name, value] : fields)
      body += (body.empty() ? "" : "&") + name + "=" + identity::encode_component(value);
    return call_as(anonymous_, "POST", path, {{"Content-Type", "application/x-www-form-urlencoded"}}, body);
  }
  Reply token(const Fields& fields) { return post_form("/adfs/oauth2/token", fields); }
  Reply client_token(const std::string& client, const std::string& secret, const std::string& scope = kArm) {
    return token({{"grant_type", "client_credentials"},
                  {"client_id", client},
                  {"client_secret", secret},
                  {"client_info", "1"},
                  {"claims", R"({"access_token": {"xms_cc": {"values": ["CP1"]}}})"},
                  {"scope", scope}});
  }
  Reply password_token(const std::string& user, const std::string& password = "correct horse battery") {
    return token({{"grant_type", "password"},
                  {"client_id", kAzClient},
                  {"username", user},
                  {"password", password},
                  {"scope", std::string(kArm) + " offline_access openid profile"}});
  }
  // The access token of a service principal that was made here.
  std::string sign_in(const json::Value& program) {
    const Reply reply = client_token(text(program, "appId"), text(program, "secret"));
    EXPECT_EQ(reply.status, 200) << reply.text;
    return text(reply.body, "access_token");
  }
  Reply as(const std::string& access_token, const std::string& method, const std::string& path,
           const json::Value& body = nullptr) {
    const std::string target =
        path + (path.find('?') == std::string::npos ? "?" : "&") + "api-version=2022-04-01";
    return call_as(anonymous_, method, target, {{"Authorization", "Bearer " + access_token}},
                   body.is_null() ? std::string() : json::serialize(body));
  }
  static std::string error_of(const Reply& reply) {
    return reply.body.is_object() && reply.body.as_object().contains("error")
               ? std::string(reply.body.at("error").as_string())
               : "HTTP " + std::to_string(reply.status);
  }

  FixedClock time_{*parse_time("2026-11-22T00:00:00Z")};
  net::Peer anonymous_;
};

}  // namespace bootseal::api::testing

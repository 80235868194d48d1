// The OpenID document, the token endpoint with its five grants, and the beginning of a device's sign-in.
#include <fmt/format.h>

#include "bootseal/base/ids.h"
#include "bootseal/log/log.h"
#include "bootseal/model/resource_id.h"
#include "login.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

constexpr std::size_t kMaximumClientId = 128;

json::Array texts(std::initializer_list<std::string_view> list) {
  json::Array array;
  for (const std::string_view text : list) array.emplace_back(text);
  return array;
}

ArmResult<Response> openid_configuration(Service& /*service*/, const Request& request) {
  const std::string base = base_url(request) + "/adfs";
  return Response::json(
      200,
      json::Object{{"issuer", base},  // clients take its last path segment for the tenant
                   {"authorization_endpoint", base + "/oauth2/authorize"},
                   {"token_endpoint", base + "/oauth2/token"},
                   {"device_authorization_endpoint", base + "/oauth2/devicecode"},
                   {"jwks_uri", base + "/discovery/keys"},
                   {"response_types_supported", texts({"code"})},
                   {"response_modes_supported", texts({"query"})},
                   {"grant_types_supported",
                    texts({"client_credentials", "password", "refresh_token", "authorization_code",
                           "urn:ietf:params:oauth:grant-type:device_code"})},
                   {"scopes_supported", texts({"openid", "profile", "offline_access"})},
                   {"subject_types_supported", texts({"public"})},
                   {"id_token_signing_alg_values_supported", texts({"RS256"})},
                   {"token_endpoint_auth_methods_supported",
                    texts({"client_secret_post", "client_secret_basic", "private_key_jwt"})},
                   {"token_endpoint_auth_signing_alg_values_supported", texts({"RS256", "PS256", "ES256"})},
                   {"code_challenge_methods_supported", texts({"S256"})},
                   {"claims_supported", texts({"aud", "iss", "iat", "exp", "sub", "oid", "tid", "upn",
                                               "preferred_username", "nonce"})}});
}

ArmResult<Response> keys(Service& service, const Request& /*request*/) {
  BOOTSEAL_ARM_TRY(const json::Object jwks, service.identity.jwks());
  return Response::json(200, jwks);
}

LoginError server_error(const Error& error) {
  log::error("login.failed", {{"reason", error.describe()}});
  return {"server_error", "The server could not do this; its log says why.", 500};
}

// One request of the token endpoint.
class TokenRequest {
 public:
  TokenRequest(Service& service, const Request& request, identity::Form form)
      : service_(service), request_(request), form_(std::move(form)) {}

  LoginResult<json::Object> answer() {
    const std::string grant = form_.get_or("grant_type", "");
    if (grant == "client_credentials") return client_credentials();
    if (grant == "password") return password();
    if (grant == "refresh_token") return refresh();
    if (grant == "authorization_code") return authorization_code();
    if (grant == "urn:ietf:params:oauth:grant-type:device_code") return device_code();
    return tl::unexpected(LoginError{
        "unsupported_grant_type",
        fmt::format("AADSTS70003: The app requested an unsupported grant type '{}'.", grant.substr(0, 64))});
  }

 private:
  [[nodiscard]] LoginResult<std::string> wanted(std::string_view name) const {
    const auto value = form_.get(name);
    if (value) return *value;
    return tl::unexpected(LoginError{
        "invalid_request",
        fmt::format("AADSTS900144: The request body must contain the following parameter: '{}'.", name)});
  }
  [[nodiscard]] LoginResult<std::string> public_client() const {
    auto client = wanted("client_id");
    if (client && client->size() > kMaximumClientId)
      return tl::unexpected(LoginError{"invalid_client", "The client_id is too long."});
    return client;
  }
  // `resource` is the older way to name the audience.
  [[nodiscard]] LoginResult<identity::Scope> scope() const {
    std::string text = form_.get_or("scope", "");
    if (const auto resource = form_.get("resource"); resource && text.find("://") == std::string::npos)
      text += (text.empty() ? "" : " ") + *resource + "/.default";
    return scope_of(service_, request_, text);
  }

  // The client's id and secret from the header, where it uses that (RFC 6749 2.3.1).
  [[nodiscard]] std::optional<std::pair<std::string, std::string>> basic_credentials() const {
    const auto header = request_.header("Authorization");
    if (!header || !model::equal_ignoring_case(header->substr(0, 6), "Basic ")) return std::nullopt;
    const auto bytes = from_base64(header->substr(6));
    if (!bytes) return std::nullopt;
    const std::string_view text = as_text(*bytes);
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto form =
        identity::Form::parse(fmt::format("id={}&secret={}", text.substr(0, colon), text.substr(colon + 1)));
    if (!form) return std::nullopt;
    return std::pair(form->get_or("id", ""), form->get_or("secret", ""));
  }

  LoginResult<json::Object> client_credentials() {
    const auto basic = basic_credentials();
    auto client = basic ? LoginResult<std::string>(basic->first) : wanted("client_id");
    if (!client) return tl::unexpected(client.error());
    auto scope_wanted = scope();
    if (!scope_wanted) return tl::unexpected(scope_wanted.error());
    LoginAttempt attempt(service_, request_, "client_credentials", *client);
    if (auto allowed = attempt.may_try(); !allowed) return tl::unexpected(allowed.error());
    const auto found = service_.identity.find_principal(*client);
    if (!found) return tl::unexpected(server_error(found.error()));
    const PrincipalPointer principal =
        *found != nullptr && (*found)->principal.kind == identity::Principal::Kind::service_principal
            ? *found
            : nullptr;
    auto credential = form_.get("client_assertion")
                          ? check_assertion(attempt, principal, *client)
                          : check_secret(attempt, principal, *client,
                                         basic ? basic->second : form_.get_or("client_secret", ""));
    if (!credential) return tl::unexpected(credential.error());
    if (!principal->principal.enabled)
      return attempt.refused(
          {"unauthorized_client", fmt::format("AADSTS7000112: The application '{}' is disabled.", *client)});
    attempt.succeeded(*credential);
    scope_wanted->openid = scope_wanted->offline_access = false;  // there is nobody behind it
    return issue(*principal, principal->principal.app_id, *scope_wanted, false, {}, {});
  }

  LoginResult<std::string> check_secret(LoginAttempt& attempt, const PrincipalPointer& principal,
                                        const std::string& client, const std::string& secret) {
    if (secret.empty())
      return tl::unexpected(
          LoginError{"invalid_client",
                     "AADSTS7000218: The request body must contain the following parameter: "
                     "'client_assertion' or 'client_secret'."});
    const auto credential =
        service_.identity.check_secret(principal == nullptr ? nullptr : &principal->principal, secret);
    if (!credential) return tl::unexpected(server_error(credential.error()));
    if (*credential) return **credential;
    return attempt.refused(
        {"invalid_client",
         fmt::format(
             "AADSTS7000215: Invalid client secret provided for '{}', or there is no such client, or the "
             "secret has ended. `bootseal identity credential list` shows when they end.",
             client.substr(0, kMaximumClientId))});
  }

  LoginResult<std::string> check_assertion(LoginAttempt& attempt, const PrincipalPointer& principal,
                                           const std::string& client) {
    if (form_.get_or("client_assertion_type", "") != identity::kClientAssertionType)
      return tl::unexpected(
          LoginError{"invalid_request",
                     fmt::format("The client_assertion_type must be '{}'.", identity::kClientAssertionType)});
    const auto refuse = [&](const std::string& text) {
      return attempt.refused({"invalid_client", "AADSTS700027: " + text});
    };
    if (principal == nullptr)
      return refuse(fmt::format("The client '{}' is not known here.", client.substr(0, kMaximumClientId)));
    const std::string base = base_url(request_);
    const std::string audiences[] = {base + "/adfs/oauth2/token", base + request_.path, base + "/adfs"};
    const auto assertion = identity::verify_client_assertion(
        form_.get_or("client_assertion", ""), principal->principal, client, audiences, service_.now());
    if (!assertion) return refuse(assertion.error().message);
    const Status first_use = service_.identity.use_assertion(principal->principal.id, *assertion);
    if (!first_use && first_use.error().code == ErrorCode::permission_denied)
      return refuse(first_use.error().message);
    if (!first_use) return tl::unexpected(server_error(first_use.error()));
    return assertion->credential_id;
  }

  LoginResult<json::Object> password() {
    auto client = public_client();
    if (!client) return tl::unexpected(client.error());
    auto username = wanted("username");
    if (!username) return tl::unexpected(username.error());
    auto secret = wanted("password");
    if (!secret) return tl::unexpected(secret.error());
    auto scope_wanted = scope();
    if (!scope_wanted) return tl::unexpected(scope_wanted.error());
    auto user = sign_in_with_password(service_, request_, "password", *username, *secret);
    if (!user) return tl::unexpected(user.error());
    return issue(**user, *client, *scope_wanted, true, {}, {});
  }

  LoginResult<json::Object> refresh() {
    auto client = public_client();
    if (!client) return tl::unexpected(client.error());
    auto token = wanted("refresh_token");
    if (!token) return tl::unexpected(token.error());
    auto scope_wanted = scope();  // before the token is spent
    if (!scope_wanted) return tl::unexpected(scope_wanted.error());
    const auto used = service_.identity.use_refresh(*token, *client);
    if (!used && used.error().code == ErrorCode::permission_denied) {
      LoginAttempt attempt(service_, request_, "refresh_token", "client " + *client);
      return attempt.refused({"invalid_grant", "AADSTS700082: " + used.error().message});
    }
    if (!used) return tl::unexpected(server_error(used.error()));
    auto principal = principal_of(used->principal_id);
    if (!principal) return tl::unexpected(principal.error());
    return issue(**principal, *client, *scope_wanted, true, used->token, {});
  }

  LoginResult<json::Object> authorization_code() {
    auto client = public_client();
    if (!client) return tl::unexpected(client.error());
    auto code = wanted("code");
    if (!code) return tl::unexpected(code.error());
    auto verifier = wanted("code_verifier");
    if (!verifier) return tl::unexpected(verifier.error());
    const auto grant = service_.identity.authorization_codes.redeem(
        *code, *client, form_.get_or("redirect_uri", ""), *verifier, service_.now());
    if (!grant)
      return tl::unexpected(LoginError{"invalid_grant", "AADSTS70008: " + grant.error().message + "."});
    auto scope_wanted = scope_of(service_, request_, form_.get_or("scope", grant->scope));
    if (!scope_wanted) return tl::unexpected(scope_wanted.error());
    auto principal = principal_of(grant->principal_id);
    if (!principal) return tl::unexpected(principal.error());
    return issue(**principal, *client, *scope_wanted, true, {}, grant->nonce);
  }

  LoginResult<json::Object> device_code() {
    auto client = public_client();
    if (!client) return tl::unexpected(client.error());
    const auto code = form_.get("device_code") ? form_.get("device_code") : form_.get("code");
    if (!code) return tl::unexpected(wanted("device_code").error());
    const identity::DeviceAnswer polled =
        service_.identity.device_logins.poll(*code, *client, service_.now());
    const auto error = [](std::string name, std::string text) -> LoginResult<json::Object> {
      return tl::unexpected(LoginError{std::move(name), std::move(text)});
    };
    switch (polled.poll) {
      case identity::DevicePoll::pending:
        return error("authorization_pending", "AADSTS70016: The sign-in has not been approved yet.");
      case identity::DevicePoll::slow_down:
        return error("slow_down", "The client asks too often.");
      case identity::DevicePoll::denied:
        return error("authorization_declined", "The sign-in was declined.");
      case identity::DevicePoll::expired:
      case identity::DevicePoll::unknown:
        return error("expired_token",
                     "AADSTS70019: The device code is not known or has ended; begin the sign-in again.");
      case identity::DevicePoll::approved:
        break;
    }
    auto scope_wanted = scope_of(service_, request_, polled.scope);
    if (!scope_wanted) return tl::unexpected(scope_wanted.error());
    auto principal = principal_of(polled.principal_id);
    if (!principal) return tl::unexpected(principal.error());
    return issue(**principal, *client, *scope_wanted, true, {}, {});
  }

  // Who signed in some time ago, if that principal is still there and enabled.
  LoginResult<PrincipalPointer> principal_of(const std::string& id) {
    const auto found = service_.identity.principal(id);
    if (!found) return tl::unexpected(server_error(found.error()));
    if (*found != nullptr && (*found)->principal.enabled) return *found;
    LoginAttempt attempt(service_, request_, form_.get_or("grant_type", ""), id);
    return attempt.refused({"invalid_grant", "AADSTS50057: The account is disabled or was deleted."});
  }

  LoginResult<json::Object> issue(const StoredPrincipal& stored, const std::string& client_id,
                                  const identity::Scope& scope_granted, bool user, std::string refresh_token,
                                  const std::string& nonce) {
    identity::Claims claims;
    claims.issuer = base_url(request_) + "/adfs";
    claims.audience = scope_granted.audience;
    claims.object_id = stored.principal.id;
    claims.app_id = client_id;
    claims.tenant = service_.site.tenant;
    claims.name = stored.principal.name;
    claims.user = user;
    claims.issued = service_.now();
    claims.expires = claims.issued + identity::kTokenLifetime;
    claims.id = Guid::random().to_string();
    const auto token = service_.identity.sign(identity::access_token_payload(claims));
    if (!token) return tl::unexpected(server_error(token.error()));
    const auto seconds = std::chrono::seconds(identity::kTokenLifetime).count();
    json::Object answer{{"token_type", "Bearer"},
                        {"expires_in", seconds},
                        {"ext_expires_in", seconds},
                        {"access_token", *token}};
    if (!user) return answer;
    answer["scope"] = scope_granted.to_string();
    if (scope_granted.openid) {
      const auto id_token = service_.identity.sign(identity::id_token_payload(claims, nonce));
      if (!id_token) return tl::unexpected(server_error(id_token.error()));
      answer["id_token"] = *id_token;
    }
    if (refresh_token.empty() && scope_granted.offline_access) {
      auto begun = service_.identity.begin_refresh(stored.principal.id, client_id);
      if (!begun) return tl::unexpected(server_error(begun.error()));
      refresh_token = *std::move(begun);
    }
    if (!refresh_token.empty()) answer["refresh_token"] = refresh_token;
    return answer;
  }

  Service& service_;
  const Request& request_;
  identity::Form form_;
};

ArmResult<Response> token(Service& service, const Request& request) {
  auto form = form_of(request);
  if (!form) return login_error_response(form.error());
  const auto answer = TokenRequest(service, request, *std::move(form)).answer();
  if (!answer) return login_error_response(answer.error());
  Response response = Response::json(200, *answer);
  response.headers.emplace_back("Pragma", "no-cache");
  return response;
}

ArmResult<Response> begin_device(Service& service, const Request& request) {
  const auto form = form_of(request);
  if (!form) return login_error_response(form.error());
  const std::string client = form->get_or("client_id", "");
  if (client.empty() || client.size() > kMaximumClientId)
    return login_error_response({"invalid_request",
                                 "AADSTS900144: The request body must contain the following "
                                 "parameter: 'client_id'."});
  const std::string text = form->get_or("scope", "");
  if (const auto scope = scope_of(service, request, text); !scope) return login_error_response(scope.error());
  const std::string peer = request.peer.address.substr(0, request.peer.address.rfind(':'));
  const auto codes = service.identity.device_logins.begin(client, text, peer, service.now());
  if (!codes)
    return login_error_response(
        {"temporarily_unavailable", codes.error().message, 429, std::chrono::seconds(60)});
  const std::string page = base_url(request) + "/adfs/oauth2/deviceauth";
  return Response::json(
      200, json::Object{{"user_code", codes->user_code},
                        {"device_code", codes->device_code},
                        {"verification_uri", page},
                        {"expires_in", std::chrono::seconds(identity::kDeviceCodeLifetime).count()},
                        {"interval", identity::kDevicePollInterval.count()},
                        {"message", fmt::format("To sign in, open the page {} and enter the code {}, or run "
                                                "`bootseal identity approve {}` on the server.",
                                                page, codes->user_code, codes->user_code)}});
}

}  // namespace

void add_login_handlers(HandlerTable& table) {
  table["Login_GetConfiguration"] = openid_configuration;
  table["Login_GetConfigurationOfTenant"] = openid_configuration;
  table["Login_GetConfigurationV2"] = openid_configuration;
  table["Login_GetKeys"] = keys;
  table["Login_GetToken"] = token;
  table["Login_GetTokenV2"] = token;
  table["Login_BeginDevice"] = begin_device;
  table["Login_BeginDeviceV2"] = begin_device;
}

}  // namespace bootseal::api

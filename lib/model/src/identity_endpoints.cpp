// Signing in, what clients ask before it, and the principals of the site.
#include "endpoint_parts.h"

namespace bootseal::model {
namespace {

Endpoint anonymous(std::string id, std::string method, std::string path, std::string summary,
                   std::vector<Answer> out) {
  Endpoint endpoint;
  endpoint.operation_id = std::move(id);
  endpoint.method = std::move(method);
  endpoint.path = std::move(path);
  endpoint.summary = std::move(summary);
  endpoint.authentication = Authentication::anonymous;
  endpoint.versioned = false;
  endpoint.out = std::move(out);
  return endpoint;
}

// For owners of the site; the handlers check that (roles of a scope do not matter here).
Endpoint owners(std::string id, std::string method, std::string path, std::string summary, SchemaRef in,
                std::vector<Answer> out) {
  Endpoint endpoint =
      anonymous(std::move(id), std::move(method), std::move(path), std::move(summary), std::move(out));
  endpoint.authentication = Authentication::token_or_certificate;
  endpoint.any_caller = true;
  endpoint.in = std::move(in);
  return endpoint;
}

Answer page(int status, std::string description) {
  return {status, std::move(description), nullptr, "text/html; charset=utf-8"};
}

SchemaRef openid_configuration() {
  return object_schema("OpenIdConfiguration",
                       {{"issuer", text(), true},
                        {"authorization_endpoint", text(), true},
                        {"token_endpoint", text(), true},
                        {"device_authorization_endpoint", text(), true},
                        {"jwks_uri", text(), true},
                        {"response_types_supported", array_schema(text())},
                        {"response_modes_supported", array_schema(text())},
                        {"grant_types_supported", array_schema(text())},
                        {"scopes_supported", array_schema(text())},
                        {"subject_types_supported", array_schema(text())},
                        {"id_token_signing_alg_values_supported", array_schema(text())},
                        {"token_endpoint_auth_methods_supported", array_schema(text())},
                        {"token_endpoint_auth_signing_alg_values_supported", array_schema(text())},
                        {"code_challenge_methods_supported", array_schema(text())},
                        {"claims_supported", array_schema(text())}});
}

SchemaRef token_answer() {
  return object_schema("TokenAnswer", {{"token_type", text(), true},
                                       {"expires_in", integer_schema(), true},
                                       {"ext_expires_in", integer_schema()},
                                       {"access_token", text(), true},
                                       {"refresh_token", text()},
                                       {"id_token", text()},
                                       {"scope", text()}});
}

SchemaRef device_answer() {
  return object_schema("DeviceCodeAnswer", {{"user_code", text(), true},
                                            {"device_code", text(), true},
                                            {"verification_uri", text(), true},
                                            {"expires_in", integer_schema(), true},
                                            {"interval", integer_schema(), true},
                                            {"message", text(), true}});
}

SchemaRef credential() {
  return object_schema("Credential", {{"id", text()},
                                      {"kind", text()},
                                      {"startTime", text()},
                                      {"endTime", text()},
                                      {"hint", text()},
                                      {"thumbprint", text()},
                                      {"secret", text()}});
}

SchemaRef principal() {
  return object_schema("Principal", {{"id", text()},
                                     {"appId", text()},
                                     {"name", text()},
                                     {"type", text()},
                                     {"enabled", boolean_schema()},
                                     {"createdTime", text()},
                                     {"credentials", array_schema(credential())},
                                     {"secret", text()}});
}

SchemaRef principal_request() {
  return object_schema("PrincipalRequest", {{"name", string_schema(64), true},
                                            {"type", enum_schema({"ServicePrincipal", "User"}), true},
                                            {"certificatePem", string_schema(16384)},
                                            {"password", string_schema(256)},
                                            {"secretDays", integer_schema()},
                                            {"role", string_schema(512)},
                                            {"scope", string_schema(1024)}});
}

std::vector<Endpoint> login_endpoints() {
  const auto configuration = ok(openid_configuration(), "The OpenID document");
  const auto token = ok(token_answer(), "The token; errors are those of RFC 6749 5.2");
  const auto device = ok(device_answer(), "The codes (RFC 8628)");
  return {
      anonymous("Login_GetConfiguration", "GET", "/adfs/.well-known/openid-configuration", "Where to sign in",
                {configuration}),
      anonymous("Login_GetConfigurationOfTenant", "GET", "/adfs/{tenant}/.well-known/openid-configuration",
                "The same, for a client that names a tenant", {configuration}),
      anonymous("Login_GetConfigurationV2", "GET", "/{tenant}/v2.0/.well-known/openid-configuration",
                "The same, for a client that names a tenant by its id", {configuration}),
      anonymous("Login_GetKeys", "GET", "/adfs/discovery/keys", "The keys that sign tokens (RFC 7517)",
                {ok(any_schema(), "The keys")}),
      anonymous("Login_GetToken", "POST", "/adfs/oauth2/token", "A token for a form of OAuth 2.0", {token}),
      anonymous("Login_GetTokenV2", "POST", "/{tenant}/oauth2/v2.0/token",
                "The same, for clients that do not read where to sign in", {token}),
      anonymous("Login_BeginDevice", "POST", "/adfs/oauth2/devicecode",
                "Begins a sign-in that is approved elsewhere", {device}),
      anonymous("Login_BeginDeviceV2", "POST", "/{tenant}/oauth2/v2.0/devicecode",
                "The same, for clients that do not read where to sign in", {device}),
      anonymous("Login_ShowPage", "GET", "/adfs/oauth2/authorize", "The page to sign in on, for a browser",
                {page(200, "The page")}),
      anonymous("Login_SubmitPage", "POST", "/adfs/oauth2/authorize", "The page, filled in",
                {{302, "Signed in; back to the client", nullptr}}),
      anonymous("Login_ShowDevicePage", "GET", "/adfs/oauth2/deviceauth",
                "The page to approve a device code on, for a browser", {page(200, "The page")}),
      anonymous("Login_SubmitDevicePage", "POST", "/adfs/oauth2/deviceauth", "The page, filled in",
                {page(200, "Approved")}),
      anonymous("Metadata_GetEndpoints", "GET", "/metadata/endpoints",
                "The addresses of this cloud, as clients ask for them", {ok(any_schema(), "The addresses")}),
      anonymous("Images_GetAliases", "GET", "/aliases.json", "Short names of the images, as az reads them",
                {ok(any_schema(), "The aliases")}),
  };
}

std::vector<Endpoint> principal_endpoints() {
  const SchemaRef one = principal();
  const SchemaRef credential_request =
      object_schema("CredentialRequest", {{"certificatePem", string_schema(16384)},
                                          {"password", string_schema(256)},
                                          {"secretDays", integer_schema()}});
  const std::string path = "/v1/principals/{principal}";
  const SchemaRef approval = object_schema("DeviceApproval", {{"principal", string_schema(64)}});
  return {
      owners("Principals_List", "GET", "/v1/principals", "Who may sign in", nullptr,
             {ok(list_of("PrincipalList", one))}),
      owners("Principals_Create", "POST", "/v1/principals",
             "Makes a service principal or a user; the secret is answered this once", principal_request(),
             {{201, "Made", one}}),
      owners("Principals_Get", "GET", path, "One, by object id, app id or name", nullptr, {ok(one)}),
      owners("Principals_Update", "PATCH", path, "Lets it sign in, or no longer",
             object_schema("PrincipalUpdate", {{"enabled", boolean_schema(), true}}), {ok(one)}),
      owners("Principals_Delete", "DELETE", path, "Deletes it with its role assignments", nullptr,
             {{200, "Deleted", nullptr}, absent()}),
      owners(
          "Principals_AddCredential", "POST", path + "/credentials",
          "Adds a secret or a certificate, or sets a password; a secret that is made is answered this once",
          credential_request, {{201, "Added", credential()}}),
      owners("Principals_RemoveCredential", "DELETE", path + "/credentials/{credentialId}",
             "Removes a credential", nullptr, {{200, "Removed", nullptr}}),
      owners("DeviceLogins_Approve", "POST", "/v1/device-logins/{userCode}/approve",
             "Approves a sign-in that shows this code", approval,
             {ok(object_schema("DeviceApproved", {{"clientId", text()}, {"principal", text()}}))}),
  };
}

}  // namespace

std::vector<Endpoint> identity_endpoints() {
  std::vector<Endpoint> list = login_endpoints();
  Endpoint tenants = anonymous("Tenants_List", "GET", "/tenants", "The tenant of this site",
                               {ok(list_of("TenantList", any_schema()))});
  tenants.authentication = Authentication::token_or_certificate;
  tenants.versioned = true;
  tenants.any_caller = true;
  list.push_back(std::move(tenants));
  for (Endpoint& endpoint : principal_endpoints()) list.push_back(std::move(endpoint));
  return list;
}

}  // namespace bootseal::model

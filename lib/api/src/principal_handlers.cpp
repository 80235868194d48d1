// The principals of the site, for its owners: /v1/principals and the approval of device codes.
#include <fmt/format.h>

#include "bootseal/base/ids.h"
#include "bootseal/log/log.h"
#include "bootseal/model/resource_id.h"
#include "login.h"
#include "role_rules.h"

namespace bootseal::api {
namespace {

using identity::Principal;
using model::ArmResult;
using model::ArmStatus;
using net::Request;
using net::Response;

constexpr std::string_view kFirstAdministrator = "bootseal-admin";

ArmStatus check_owner(Service& service, const Caller& caller) {
  if (service.identity.is_owner(caller)) return {};
  return model::refuse(
      403, "AuthorizationFailed",
      fmt::format("The client '{}' with object id '{}' is no owner of this site: principals are "
                  "for those who have the role Owner at '/'.",
                  caller.name, caller.principal_id));
}

// A body as its endpoint declares it.
ArmResult<json::Value> body_of(const Request& request, std::string_view operation_id) {
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  for (const model::Endpoint& endpoint : model::endpoints()) {
    if (endpoint.operation_id == operation_id) return model::conform(*endpoint.in, body);
  }
  BOOTSEAL_CHECK(false);
}

ArmResult<PrincipalPointer> find(Service& service, const std::string& reference) {
  BOOTSEAL_ARM_TRY(const PrincipalPointer found, service.identity.find_principal(reference));
  if (found != nullptr) return found;
  return model::refuse(
      404, "PrincipalNotFound",
      fmt::format("There is no principal '{}'; `bootseal identity list` shows those there are.",
                  reference.substr(0, 80)));
}

// Adds what the request asks for: a certificate, a chosen password, or a secret that is made. The text of the
// latter, and the id of the credential.
ArmResult<identity::NewSecret> add_credential(Service& service, Principal& principal, json::Reader& reader) {
  BOOTSEAL_ARM_TRY(const auto certificate, reader.optional_string("certificatePem"));
  BOOTSEAL_ARM_TRY(const auto password, reader.optional_string("password"));
  BOOTSEAL_ARM_TRY(const std::uint64_t days,
                   reader.unsigned_integer_or("secretDays", identity::kSecretLifetime.count()));
  if (certificate && password)
    return model::invalid_parameter("password", "Give a certificate or a password, not both.");
  if (certificate) {
    BOOTSEAL_ARM_TRY(std::string id, identity::add_certificate(principal, *certificate, service.now()));
    return identity::NewSecret{std::move(id), {}};
  }
  if (password) {
    BOOTSEAL_ARM_TRY_STATUS(identity::set_password(principal, *password, service.now()));
    return identity::NewSecret{principal.credentials.front().id, {}};
  }
  const auto lifetime =
      std::chrono::days(std::min<std::uint64_t>(days, identity::kMaximumSecretLifetime.count() + 1));
  return identity::add_secret(principal, service.now(), lifetime).map_error([](const Error& error) {
    return model::to_arm_error(error);
  });
}

// The assignment a new principal gets, when one is asked for.
ArmResult<std::vector<identity::RoleAssignment>> first_assignments(Service& service, const Caller& caller,
                                                                   const Principal& principal,
                                                                   json::Reader& reader) {
  BOOTSEAL_ARM_TRY(const auto role, reader.optional_string("role"));
  BOOTSEAL_ARM_TRY(const auto scope, reader.optional_string("scope"));
  if (!role && scope) return model::invalid_parameter("role", "A scope needs a role to be given at it.");
  if (!role) return std::vector<identity::RoleAssignment>();
  BOOTSEAL_ARM_TRY(const RolePointer definition, find_role_by_name(service, *role));
  identity::RoleAssignment assignment;
  assignment.name = Guid::random().to_string();
  assignment.scope = identity::normalise_scope(scope.value_or("/subscriptions/" + service.site.subscription));
  BOOTSEAL_ARM_TRY_STATUS(check_scope(service, assignment.scope));
  assignment.role_id = definition->id;
  assignment.principal_id = principal.id;
  assignment.principal_type = identity::to_string(principal.kind);
  assignment.created_by = caller.principal_id;
  assignment.created = service.now();
  return std::vector<identity::RoleAssignment>{std::move(assignment)};
}

ArmResult<Response> create(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_owner(service, caller));
  BOOTSEAL_ARM_TRY(const json::Value body, body_of(request, "Principals_Create"));
  BOOTSEAL_ARM_TRY(json::Reader reader, json::Reader::object(body, "the principal"));
  BOOTSEAL_ARM_TRY(const std::string name, reader.string("name"));
  BOOTSEAL_ARM_TRY(const std::string type, reader.string("type"));
  const auto kind = type == "User" ? Principal::Kind::user : Principal::Kind::service_principal;
  BOOTSEAL_ARM_TRY(Principal principal, identity::make_principal({name, kind}, service.now()));
  BOOTSEAL_ARM_TRY(const identity::NewSecret secret, add_credential(service, principal, reader));
  BOOTSEAL_ARM_TRY(const auto assignments, first_assignments(service, caller, principal, reader));
  BOOTSEAL_ARM_TRY_STATUS(service.identity.add_principal(principal, assignments));
  log::info("principal.made", {{"principal", name}, {"id", principal.id}, {"by", caller.name}});
  json::Object answer = principal.to_answer();
  if (!secret.text.empty()) answer["secret"] = secret.text;
  return Response::json(201, answer);
}

ArmResult<Response> list(Service& service, const Caller& caller, const Request& /*request*/) {
  BOOTSEAL_ARM_TRY_STATUS(check_owner(service, caller));
  BOOTSEAL_ARM_TRY(const auto principals, service.identity.principals());
  json::Array items;
  for (const PrincipalPointer& one : principals) items.emplace_back(one->principal.to_answer());
  return Response::json(200, json::Object{{"value", std::move(items)}});
}

ArmResult<Response> get(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_owner(service, caller));
  BOOTSEAL_ARM_TRY(const PrincipalPointer found, find(service, request.parameter("principal")));
  return Response::json(200, found->principal.to_answer());
}

ArmResult<Response> update(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_owner(service, caller));
  BOOTSEAL_ARM_TRY(const PrincipalPointer found, find(service, request.parameter("principal")));
  BOOTSEAL_ARM_TRY(const json::Value body, body_of(request, "Principals_Update"));
  BOOTSEAL_ARM_TRY(json::Reader reader, json::Reader::object(body, "the change"));
  Principal principal = found->principal;
  BOOTSEAL_ARM_TRY(principal.enabled, reader.boolean("enabled"));
  BOOTSEAL_ARM_TRY_STATUS(service.identity.change_principal(principal, found->revision));
  log::info("principal.changed",
            {{"principal", principal.name}, {"enabled", principal.enabled}, {"by", caller.name}});
  return Response::json(200, principal.to_answer());
}

ArmResult<Response> remove(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_owner(service, caller));
  BOOTSEAL_ARM_TRY(const PrincipalPointer found,
                   service.identity.find_principal(request.parameter("principal")));
  if (found == nullptr) return Response::empty(204);
  BOOTSEAL_ARM_TRY_STATUS(service.identity.remove_principal(*found));
  log::info("principal.removed", {{"principal", found->principal.name}, {"by", caller.name}});
  return Response::empty(200);
}

ArmResult<Response> create_credential(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_owner(service, caller));
  BOOTSEAL_ARM_TRY(const PrincipalPointer found, find(service, request.parameter("principal")));
  BOOTSEAL_ARM_TRY(const json::Value body, body_of(request, "Principals_AddCredential"));
  BOOTSEAL_ARM_TRY(json::Reader reader, json::Reader::object(body, "the credential"));
  Principal principal = found->principal;
  BOOTSEAL_ARM_TRY(const identity::NewSecret secret, add_credential(service, principal, reader));
  BOOTSEAL_ARM_TRY_STATUS(service.identity.change_principal(principal, found->revision));
  log::info("credential.added",
            {{"principal", principal.name}, {"credential", secret.credential_id}, {"by", caller.name}});
  const json::Object shown = principal.to_answer();
  for (const json::Value& one : shown.at("credentials").get_array()) {
    if (one.at("id").get_string() != secret.credential_id) continue;
    json::Object answer = one.get_object();
    if (!secret.text.empty()) answer["secret"] = secret.text;
    return Response::json(201, answer);
  }
  BOOTSEAL_CHECK(false);
}

ArmResult<Response> remove_credential(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_owner(service, caller));
  BOOTSEAL_ARM_TRY(const PrincipalPointer found, find(service, request.parameter("principal")));
  Principal principal = found->principal;
  BOOTSEAL_ARM_TRY_STATUS(identity::remove_credential(principal, request.parameter("credentialId")));
  BOOTSEAL_ARM_TRY_STATUS(service.identity.change_principal(principal, found->revision));
  log::info("credential.removed", {{"principal", principal.name},
                                   {"credential", request.parameter("credentialId")},
                                   {"by", caller.name}});
  return Response::empty(200);
}

// As whom: the one that is named (owners only), else the caller; a caller that is no principal (root on the
// server, a certificate of the site) approves for the first administrator.
ArmResult<PrincipalPointer> approving_principal(Service& service, const Caller& caller,
                                                const Request& request) {
  std::string reference = caller.principal_id;
  if (!request.body.empty()) {
    BOOTSEAL_ARM_TRY(const json::Value body, body_of(request, "DeviceLogins_Approve"));
    BOOTSEAL_ARM_TRY(json::Reader reader, json::Reader::object(body, "the approval"));
    BOOTSEAL_ARM_TRY(const auto named, reader.optional_string("principal"));
    if (named) {
      BOOTSEAL_ARM_TRY_STATUS(check_owner(service, caller));
      return find(service, *named);
    }
  }
  return find(service, caller.site_owner ? std::string(kFirstAdministrator) : reference);
}

ArmResult<Response> approve(Service& service, const Caller& caller, const Request& request) {
  LoginAttempt attempt(service, request, "device_code", "codes of " + caller.name);
  if (const auto allowed = attempt.may_try(); !allowed)
    return model::refuse(429, "TooManyRequests", allowed.error().description);
  BOOTSEAL_ARM_TRY(const PrincipalPointer principal, approving_principal(service, caller, request));
  const auto client = service.identity.device_logins.approve(request.parameter("userCode"),
                                                             principal->principal.id, service.now());
  if (!client) {
    const auto refused = attempt.refused({"invalid_grant", client.error().message});
    return model::refuse(404, "DeviceCodeNotFound", refused.value().description);
  }
  log::info("device-login.approved",
            {{"by", caller.name}, {"principal", principal->principal.name}, {"client", *client}});
  return Response::json(200, json::Object{{"clientId", *client}, {"principal", principal->principal.name}});
}

}  // namespace

void add_principal_handlers(HandlerTable& table) {
  table["Principals_List"] = list;
  table["Principals_Create"] = create;
  table["Principals_Get"] = get;
  table["Principals_Update"] = update;
  table["Principals_Delete"] = remove;
  table["Principals_AddCredential"] = create_credential;
  table["Principals_RemoveCredential"] = remove_credential;
  table["DeviceLogins_Approve"] = approve;
}

}  // namespace bootseal::api

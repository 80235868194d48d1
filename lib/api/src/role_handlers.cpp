// Microsoft.Authorization/roleDefinitions and roleAssignments at every scope, with Azure's rules and codes.
#include <fmt/format.h>

#include <algorithm>

#include "bootseal/base/ids.h"
#include "bootseal/identity/role_filter.h"
#include "bootseal/log/log.h"
#include "bootseal/model/resource_id.h"
#include "role_rules.h"

namespace bootseal::api {
namespace {

using identity::RoleAssignment;
using identity::RoleDefinition;
using model::ArmResult;
using model::ArmStatus;
using net::Request;
using net::Response;

constexpr std::string_view kMarker = "/providers/microsoft.authorization/role";

// The scope in front of "/providers/Microsoft.Authorization/role…", normalised.
std::string scope_in(const Request& request) {
  const std::string path = identity::normalise_scope(request.path);
  const std::size_t at = path.rfind(kMarker);
  return at == std::string::npos || at == 0 ? "/" : path.substr(0, at);
}

std::string last_part(std::string_view id) {
  return model::to_lower(id.substr(id.rfind('/') == std::string_view::npos ? 0 : id.rfind('/') + 1));
}

ArmResult<std::vector<identity::FilterTerm>> filter_of(const Request& request) {
  const auto text = request.query_value("$filter");
  if (!text || text->empty()) return std::vector<identity::FilterTerm>();
  auto terms = identity::parse_role_filter(*text);
  if (!terms)
    return model::refuse(400, "InvalidFilter", "The $filter is refused: " + terms.error().message + ".");
  return *std::move(terms);
}

ArmResult<bool> fits(const RoleAssignment& assignment, const std::string& scope,
                     const std::vector<identity::FilterTerm>& terms) {
  const bool at_or_above = identity::scope_contains(assignment.scope, scope);
  if (!at_or_above && !identity::scope_contains(scope, assignment.scope)) return false;
  for (const identity::FilterTerm& term : terms) {
    const auto is = [&](std::string_view name) { return model::equal_ignoring_case(term.name, name); };
    if (term.function && is("atScope")) {
      if (!at_or_above) return false;
    } else if ((term.function && is("assignedTo")) || (!term.function && is("principalId"))) {
      if (!model::equal_ignoring_case(term.value, assignment.principal_id)) return false;
    } else if (!term.function && is("roleDefinitionId")) {
      if (last_part(term.value) != assignment.role_id) return false;
    } else {
      return model::refuse(
          400, "InvalidFilter",
          fmt::format("The $filter '{}' is not known; possible are atScope(), assignedTo('ID'), "
                      "principalId eq 'ID' and roleDefinitionId eq 'ID'.",
                      term.name.substr(0, 64)));
    }
  }
  return true;
}

ArmResult<Response> list_assignments(Service& service, const Request& request) {
  const std::string scope = scope_in(request);
  BOOTSEAL_ARM_TRY_STATUS(check_scope(service, scope));
  BOOTSEAL_ARM_TRY(const auto terms, filter_of(request));
  BOOTSEAL_ARM_TRY(const auto all, service.identity.assignments());
  json::Array items;
  for (const AssignmentPointer& one : all) {
    BOOTSEAL_ARM_TRY(const bool wanted, fits(*one, scope, terms));
    if (wanted) items.emplace_back(one->to_answer());
  }
  return Response::json(200, json::Object{{"value", std::move(items)}});
}

// nullptr when there is none at this scope.
ArmResult<AssignmentPointer> find_assignment(Service& service, const Request& request) {
  const std::string& name = request.parameter("roleAssignmentName");
  const auto guid = Guid::parse(name);
  if (!guid)
    return model::refuse(
        400, "InvalidRoleAssignmentId",
        fmt::format("The role assignment ID '{}' is not valid. The role assignment ID must be a "
                    "GUID.",
                    name.substr(0, 64)));
  BOOTSEAL_ARM_TRY(AssignmentPointer found, service.identity.assignment(guid->to_string()));
  if (found != nullptr && found->scope != scope_in(request)) found = nullptr;
  return found;
}

ArmResult<Response> get_assignment(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const AssignmentPointer found, find_assignment(service, request));
  if (found != nullptr) return Response::json(200, found->to_answer());
  return model::refuse(404, "RoleAssignmentDoesNotExist",
                       fmt::format("The role assignment '{}' does not exist at the scope '{}'.",
                                   request.parameter("roleAssignmentName"), scope_in(request)));
}

// "User" or "ServicePrincipal"; a VM's own identity is a service principal by the VM's id.
ArmResult<std::string> type_of_principal(Service& service, const std::string& id) {
  const auto guid = Guid::parse(id);
  if (guid) {
    BOOTSEAL_ARM_TRY(const PrincipalPointer principal, service.identity.principal(guid->to_string()));
    if (principal != nullptr) return std::string(identity::to_string(principal->principal.kind));
    BOOTSEAL_ARM_TRY(const auto vm, service.database.vm_key(VmId{*guid}));
    if (vm) return std::string("ServicePrincipal");
  }
  return model::refuse(
      400, "PrincipalNotFound",
      fmt::format("Principal {} does not exist in the directory {}. `bootseal identity list` shows "
                  "the object ids of those there are.",
                  id.substr(0, 64), service.site.tenant),
      "properties.principalId");
}

ArmResult<RoleAssignment> read_assignment(Service& service, const Caller& caller, const Request& request) {
  static const model::SchemaRef schema = [] {
    for (const model::Endpoint& endpoint : model::endpoints()) {
      if (endpoint.operation_id == "RoleAssignments_CreateAtTenant") return endpoint.in;
    }
    return model::any_schema();
  }();
  BOOTSEAL_ARM_TRY(const json::Value sent, request.json_body());
  BOOTSEAL_ARM_TRY(const json::Value body, model::conform(*schema, sent));
  BOOTSEAL_ARM_TRY(json::Reader reader, json::Reader::object(body, "the role assignment"));
  BOOTSEAL_ARM_TRY(json::Reader properties, reader.object("properties"));
  RoleAssignment assignment;
  assignment.name = model::to_lower(request.parameter("roleAssignmentName"));
  assignment.scope = scope_in(request);
  BOOTSEAL_ARM_TRY(const std::string role, properties.string("roleDefinitionId"));
  BOOTSEAL_ARM_TRY(const std::string principal, properties.string("principalId"));
  BOOTSEAL_ARM_TRY(assignment.description, properties.string_or("description", ""));
  BOOTSEAL_ARM_TRY(const auto condition, properties.optional_string("condition"));
  if (condition && !condition->empty())
    return model::refuse(
        400, "RoleAssignmentConditionNotSupported",
        "Conditions of role assignments are not evaluated here, so none is taken: give the role "
        "at a narrower scope.",
        "properties.condition");
  assignment.role_id = last_part(role);
  BOOTSEAL_ARM_TRY(const RolePointer definition, service.identity.role(assignment.role_id));
  if (definition == nullptr)
    return model::refuse(400, "RoleDefinitionDoesNotExist",
                         fmt::format("The specified role definition with ID '{}' does not exist.",
                                     assignment.role_id.substr(0, 64)),
                         "properties.roleDefinitionId");
  if (std::none_of(definition->assignable_scopes.begin(), definition->assignable_scopes.end(),
                   [&](const auto& one) { return identity::scope_contains(one, assignment.scope); }))
    return model::refuse(400, "RoleAssignmentScopeNotAssignableToRoleDefinition",
                         fmt::format("The scope '{}' is not one of the assignable scopes of the role '{}'.",
                                     assignment.scope, definition->name));
  assignment.principal_id = model::to_lower(principal);
  BOOTSEAL_ARM_TRY(assignment.principal_type, type_of_principal(service, assignment.principal_id));
  BOOTSEAL_ARM_TRY(const std::string type, properties.string_or("principalType", assignment.principal_type));
  if (!model::equal_ignoring_case(type, assignment.principal_type))
    return model::refuse(400, "UnmatchedPrincipalType",
                         fmt::format("The PrincipalId '{}' has type '{}', which is different from specified "
                                     "PrincipalType '{}'.",
                                     assignment.principal_id, assignment.principal_type, type));
  assignment.created_by = caller.principal_id;
  assignment.created = service.now();
  return assignment;
}

ArmResult<Response> create_assignment(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_scope(service, scope_in(request)));
  BOOTSEAL_ARM_TRY_STATUS(find_assignment(service, request));
  BOOTSEAL_ARM_TRY(const RoleAssignment wanted, read_assignment(service, caller, request));
  BOOTSEAL_ARM_TRY(const AssignmentPointer existing, service.identity.assignment(wanted.name));
  if (existing != nullptr) {  // clients repeat what they get no answer to
    const bool same = existing->scope == wanted.scope && existing->role_id == wanted.role_id &&
                      existing->principal_id == wanted.principal_id;
    if (same) return Response::json(201, existing->to_answer());
    return model::refuse(400, "RoleAssignmentUpdateNotPermitted",
                         "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.");
  }
  const Status added = service.identity.add_assignment(wanted);
  if (!added && added.error().code == ErrorCode::already_exists)
    return model::refuse(409, "RoleAssignmentExists", added.error().message);
  BOOTSEAL_ARM_TRY_STATUS(added);
  log::info("role.given", {{"principal", wanted.principal_id},
                           {"role", wanted.role_id},
                           {"scope", wanted.scope},
                           {"by", caller.name}});
  return Response::json(201, wanted.to_answer());
}

ArmResult<Response> delete_assignment(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY(const AssignmentPointer found, find_assignment(service, request));
  if (found == nullptr) return Response::empty(204);
  const Status removed = service.identity.remove_assignment(*found);
  if (!removed && removed.error().code == ErrorCode::conflict)
    return model::refuse(409, "LastOwnerCannotBeRemoved", removed.error().message);
  BOOTSEAL_ARM_TRY_STATUS(removed);
  log::info("role.taken", {{"principal", found->principal_id},
                           {"role", found->role_id},
                           {"scope", found->scope},
                           {"by", caller.name}});
  return Response::json(200, found->to_answer());
}

// -- role definitions --

ArmResult<Response> list_definitions(Service& service, const Request& request) {
  const std::string scope = scope_in(request);
  BOOTSEAL_ARM_TRY_STATUS(check_scope(service, scope));
  BOOTSEAL_ARM_TRY(const auto terms, filter_of(request));
  BOOTSEAL_ARM_TRY(const auto roles, service.identity.roles());
  json::Array items;
  for (const RolePointer& role : roles) {
    bool wanted =
        std::any_of(role->assignable_scopes.begin(), role->assignable_scopes.end(), [&](const auto& one) {
          return identity::scope_contains(one, scope) || identity::scope_contains(scope, one);
        });
    for (const identity::FilterTerm& term : terms) {
      const auto is = [&](std::string_view name) { return model::equal_ignoring_case(term.name, name); };
      if (!term.function && is("roleName")) {
        wanted = wanted && model::equal_ignoring_case(term.value, role->name);
      } else if (!term.function && is("type")) {
        wanted =
            wanted && model::equal_ignoring_case(term.value, role->built_in ? "BuiltInRole" : "CustomRole");
      } else if (!term.function || (!is("atScopeAndBelow") && !is("atScope"))) {
        return model::refuse(
            400, "InvalidFilter",
            fmt::format("The $filter '{}' is not known; possible are roleName eq 'NAME', type eq "
                        "'BuiltInRole' and atScopeAndBelow().",
                        term.name.substr(0, 64)));
      }
    }
    if (wanted) items.emplace_back(role->to_answer(scope));
  }
  return Response::json(200, json::Object{{"value", std::move(items)}});
}

ArmResult<std::string> definition_id(const Request& request) {
  const std::string& id = request.parameter("roleDefinitionId");
  const auto guid = Guid::parse(id);
  if (guid) return guid->to_string();
  return model::refuse(
      400, "InvalidRoleDefinitionId",
      fmt::format("The role definition ID '{}' is not valid. The role definition ID must be a "
                  "GUID.",
                  id.substr(0, 64)));
}

ArmResult<Response> get_definition(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const std::string id, definition_id(request));
  BOOTSEAL_ARM_TRY(const RolePointer found, service.identity.role(id));
  if (found != nullptr) return Response::json(200, found->to_answer(scope_in(request)));
  return model::refuse(404, "RoleDefinitionDoesNotExist",
                       fmt::format("The specified role definition with ID '{}' does not exist.", id));
}

// Who changes a role changes it wherever it can be given.
ArmStatus may_at_all(const Service& service, const Caller& caller, std::string_view action,
                     const std::vector<std::string>& scopes) {
  for (const std::string& scope : scopes) {
    if (may(service, caller, action, scope)) continue;
    return model::refuse(
        403, "LinkedAuthorizationFailed",
        fmt::format("The client '{}' with object id '{}' does not have authorization to perform "
                    "action '{}' on the linked scope '{}'.",
                    caller.name, caller.principal_id, action, scope));
  }
  return {};
}

ArmResult<Response> create_definition(Service& service, const Caller& caller, const Request& request) {
  constexpr std::string_view kAction = "Microsoft.Authorization/roleDefinitions/write";
  BOOTSEAL_ARM_TRY(const std::string id, definition_id(request));
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(RoleDefinition role, RoleDefinition::from_put(body, id, service.now()));
  BOOTSEAL_ARM_TRY_STATUS(may_at_all(service, caller, kAction, role.assignable_scopes));
  BOOTSEAL_ARM_TRY(const auto roles, service.identity.roles());
  for (const RolePointer& other : roles) {
    if (other->id == id) {
      if (other->built_in)
        return model::refuse(400, "RoleDefinitionUpdateNotAllowed",
                             fmt::format("'{}' is a built-in role and cannot be changed.", other->name));
      BOOTSEAL_ARM_TRY_STATUS(may_at_all(service, caller, kAction, other->assignable_scopes));
      role.created = other->created;
    } else if (model::equal_ignoring_case(other->name, role.name)) {
      return model::refuse(
          409, "RoleDefinitionWithSameNameExists",
          fmt::format("A role definition cannot be created or updated with the name '{}', because "
                      "another one has it: {}.",
                      role.name, other->id));
    }
  }
  BOOTSEAL_ARM_TRY_STATUS(service.identity.put_role(role));
  log::info("role-definition.written", {{"role", role.id}, {"name", role.name}, {"by", caller.name}});
  return Response::json(201, role.to_answer(scope_in(request)));
}

ArmResult<Response> delete_definition(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY(const std::string id, definition_id(request));
  BOOTSEAL_ARM_TRY(const RolePointer found, service.identity.role(id));
  if (found == nullptr) return Response::empty(204);
  if (found->built_in)
    return model::refuse(400, "RoleDefinitionUpdateNotAllowed",
                         fmt::format("'{}' is a built-in role and cannot be deleted.", found->name));
  BOOTSEAL_ARM_TRY_STATUS(may_at_all(service, caller, "Microsoft.Authorization/roleDefinitions/delete",
                                     found->assignable_scopes));
  BOOTSEAL_ARM_TRY(const auto assignments, service.identity.assignments());
  const auto uses = std::count_if(assignments.begin(), assignments.end(),
                                  [&](const auto& one) { return one->role_id == id; });
  if (uses > 0)
    return model::refuse(
        400, "RoleDefinitionHasAssignments",
        fmt::format("There are {} existing role assignments referencing the role '{}'. Delete "
                    "them first.",
                    uses, found->name));
  BOOTSEAL_ARM_TRY_STATUS(service.identity.remove_role(id));
  log::info("role-definition.removed", {{"role", id}, {"by", caller.name}});
  return Response::json(200, found->to_answer(scope_in(request)));
}

ArmResult<Response> permissions(Service& service, const Caller& caller, const Request& request) {
  std::string path = identity::normalise_scope(request.path);
  path.resize(path.rfind("/providers/microsoft.authorization/permissions"));
  const std::string scope = identity::normalise_scope(path);
  json::Array items;
  const auto add = [&](const RoleDefinition& role) {
    const json::Object answer = role.to_answer(scope);
    for (const json::Value& one : answer.at("properties").at("permissions").get_array()) items.push_back(one);
  };
  if (caller.site_owner) {
    BOOTSEAL_ARM_TRY(const RolePointer owner, service.identity.role(std::string(identity::kOwnerRole)));
    add(*owner);
  }
  BOOTSEAL_ARM_TRY(const auto assignments, service.identity.assignments_of(caller.principal_id));
  for (const AssignmentPointer& one : assignments) {
    if (!identity::scope_contains(one->scope, scope)) continue;
    BOOTSEAL_ARM_TRY(const RolePointer role, service.identity.role(one->role_id));
    if (role != nullptr) add(*role);
  }
  return Response::json(200, json::Object{{"value", std::move(items)}});
}

}  // namespace

model::ArmResult<RolePointer> find_role_by_name(Service& service, const std::string& reference) {
  BOOTSEAL_ARM_TRY(const auto roles, service.identity.roles());
  for (const RolePointer& role : roles) {
    if (model::equal_ignoring_case(role->name, reference) || role->id == last_part(reference)) return role;
  }
  return model::refuse(
      400, "RoleDefinitionDoesNotExist",
      fmt::format("There is no role '{}'. Built in are Owner, Contributor, Reader, User Access "
                  "Administrator, Virtual Machine Contributor, Network Contributor and Virtual "
                  "Machine Administrator Login.",
                  reference.substr(0, 80)),
      "role");
}

model::ArmStatus check_scope(Service& service, const std::string& scope) {
  if (scope == "/") return {};
  const auto id =
      model::ResourceId::parse(scope + "/providers/Microsoft.Authorization/roleAssignments/scope");
  if (!id || id->subscription.empty())
    return model::refuse(
        400, "InvalidScope",
        fmt::format("'{}' is no scope; wanted /, /subscriptions/ID, a group's or a resource's id.",
                    scope.substr(0, 256)));
  if (!model::equal_ignoring_case(id->subscription, service.site.subscription))
    return model::refuse(
        404, "SubscriptionNotFound",
        fmt::format("The subscription '{}' could not be found. The subscription of this site is "
                    "'{}'.",
                    id->subscription, service.site.subscription));
  if (!id->group.empty()) {
    BOOTSEAL_ARM_TRY(const auto group, service.database.group(service.site.subscription, id->group));
    if (!group)
      return model::refuse(404, "ResourceGroupNotFound",
                           fmt::format("Resource group '{}' could not be found.", id->group));
  }
  if (id->extended.empty()) return {};
  return check_extended(service, *id);
}

void add_role_handlers(HandlerTable& table) {
  for (const char* place : {"AtTenant", "AtSubscription", "AtGroup", "AtSubscriptionResource", "AtResource",
                            "AtNestedResource"}) {
    const std::string suffix = place;
    table["RoleAssignments_List" + suffix] = list_assignments;
    table["RoleAssignments_Get" + suffix] = get_assignment;
    table["RoleAssignments_Create" + suffix] = create_assignment;
    table["RoleAssignments_Delete" + suffix] = delete_assignment;
    table["RoleDefinitions_List" + suffix] = list_definitions;
    table["RoleDefinitions_Get" + suffix] = get_definition;
    table["RoleDefinitions_Create" + suffix] = create_definition;
    table["RoleDefinitions_Delete" + suffix] = delete_definition;
    table["Permissions_List" + suffix] = permissions;
  }
}

}  // namespace bootseal::api

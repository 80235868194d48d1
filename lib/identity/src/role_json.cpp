#include <fmt/format.h>

#include <algorithm>

#include "bootseal/base/ids.h"
#include "bootseal/identity/roles.h"

namespace bootseal::identity {
namespace {

using model::ArmResult;

constexpr std::size_t kMaximumName = 512;  // Azure's limits of custom roles
constexpr std::size_t kMaximumDescription = 2048;
constexpr std::size_t kMaximumPatterns = 2048;
constexpr std::size_t kMaximumPattern = 256;

json::Array texts(const std::vector<std::string>& list) {
  json::Array array;
  for (const std::string& text : list) array.emplace_back(text);
  return array;
}

json::Object permission_json(const Permission& permission) {
  return {{"actions", texts(permission.actions)},
          {"notActions", texts(permission.not_actions)},
          {"dataActions", texts(permission.data_actions)},
          {"notDataActions", texts(permission.not_data_actions)}};
}

json::Array permissions_json(const std::vector<Permission>& permissions) {
  json::Array array;
  for (const Permission& permission : permissions) array.emplace_back(permission_json(permission));
  return array;
}

Result<std::vector<std::string>> optional_strings(json::Reader& reader, std::string_view field) {
  if (!reader.has(field)) return std::vector<std::string>();
  return reader.strings(field);
}

Result<std::vector<Permission>> read_permissions(json::Reader& reader) {
  std::vector<Permission> permissions;
  BOOTSEAL_TRY(auto list, reader.objects("permissions"));
  for (json::Reader& one : list) {
    Permission permission;
    BOOTSEAL_TRY(permission.actions, optional_strings(one, "actions"));
    BOOTSEAL_TRY(permission.not_actions, optional_strings(one, "notActions"));
    BOOTSEAL_TRY(permission.data_actions, optional_strings(one, "dataActions"));
    BOOTSEAL_TRY(permission.not_data_actions, optional_strings(one, "notDataActions"));
    permissions.push_back(std::move(permission));
  }
  return permissions;
}

Result<TimePoint> read_time(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  return parse_time(text);
}

bool is_pattern(const std::string& text) {
  return !text.empty() && text.size() <= kMaximumPattern && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '/' || c == '*' || c == '-' || c == '_';
  });
}

model::ArmStatus check_patterns(const std::vector<Permission>& permissions) {
  std::size_t count = 0;
  for (const Permission& permission : permissions) {
    for (const auto* list : {&permission.actions, &permission.not_actions, &permission.data_actions,
                             &permission.not_data_actions}) {
      count += list->size();
      for (const std::string& pattern : *list) {
        if (is_pattern(pattern)) continue;
        return model::refuse(400, "InvalidActionOrNotAction",
                             fmt::format("'{}' is no action: wanted a name such as "
                                         "Microsoft.Compute/virtualMachines/read, '*' for any part",
                                         pattern.substr(0, 128)),
                             "properties.permissions");
      }
    }
  }
  if (count <= kMaximumPatterns) return {};
  return model::refuse(400, "RoleDefinitionTooManyActions",
                       fmt::format("a role definition has at most {} actions", kMaximumPatterns),
                       "properties.permissions");
}

}  // namespace

json::Object RoleDefinition::to_answer(std::string_view scope) const {
  const std::string prefix = scope == "/" ? "" : std::string(scope);
  return {{"id", fmt::format("{}/providers/Microsoft.Authorization/roleDefinitions/{}", prefix, id)},
          {"type", "Microsoft.Authorization/roleDefinitions"},
          {"name", id},
          {"properties", json::Object{{"roleName", name},
                                      {"type", built_in ? "BuiltInRole" : "CustomRole"},
                                      {"description", description},
                                      {"assignableScopes", texts(assignable_scopes)},
                                      {"permissions", permissions_json(permissions)},
                                      {"createdOn", format_time(created)},
                                      {"updatedOn", format_time(updated)},
                                      {"createdBy", nullptr},
                                      {"updatedBy", nullptr}}}};
}

json::Object RoleDefinition::to_json() const {
  return {{"id", id},
          {"name", name},
          {"description", description},
          {"permissions", permissions_json(permissions)},
          {"assignableScopes", texts(assignable_scopes)},
          {"created", format_time(created)},
          {"updated", format_time(updated)}};
}

Result<RoleDefinition> RoleDefinition::parse(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the role definition"));
  RoleDefinition role;
  BOOTSEAL_TRY(role.id, reader.string("id"));
  BOOTSEAL_TRY(role.name, reader.string("name"));
  BOOTSEAL_TRY(role.description, reader.string("description"));
  BOOTSEAL_TRY(role.permissions, read_permissions(reader));
  BOOTSEAL_TRY(role.assignable_scopes, reader.strings("assignableScopes"));
  BOOTSEAL_TRY(role.created, read_time(reader, "created"));
  BOOTSEAL_TRY(role.updated, read_time(reader, "updated"));
  return role;
}

ArmResult<RoleDefinition> RoleDefinition::from_put(const json::Value& body, std::string id, TimePoint now) {
  BOOTSEAL_ARM_TRY(json::Reader reader, json::Reader::object(body, "the role definition"));
  BOOTSEAL_ARM_TRY(json::Reader properties, reader.object("properties"));
  RoleDefinition role;
  role.id = std::move(id);
  role.created = role.updated = now;
  BOOTSEAL_ARM_TRY(role.name, properties.string("roleName"));
  BOOTSEAL_ARM_TRY(role.description, properties.string_or("description", ""));
  BOOTSEAL_ARM_TRY(role.permissions, read_permissions(properties));
  BOOTSEAL_ARM_TRY(const auto scopes, properties.strings("assignableScopes"));
  BOOTSEAL_ARM_TRY(const std::string type, properties.string_or("type", "CustomRole"));
  if (type != "CustomRole")
    return model::refuse(400, "RoleDefinitionUpdateNotAllowed", "Only custom roles can be made and changed.",
                         "properties.type");
  if (role.name.empty() || role.name.size() > kMaximumName || role.description.size() > kMaximumDescription)
    return model::invalid_parameter("properties.roleName",
                                    fmt::format("A role's name has 1 to {} characters and its description at "
                                                "most {}.",
                                                kMaximumName, kMaximumDescription));
  if (scopes.empty() || scopes.size() > 64)
    return model::refuse(400, "RoleDefinitionAssignableScopesInvalid",
                         "A custom role has 1 to 64 assignable scopes, for example /subscriptions/ID.",
                         "properties.assignableScopes");
  for (const std::string& scope : scopes) {
    if (scope.empty() || scope.front() != '/' || scope.size() > 1024)
      return model::refuse(400, "InvalidRoleDefinitionAssignableScope",
                           fmt::format("'{}' is no scope.", scope.substr(0, 128)),
                           "properties.assignableScopes");
    role.assignable_scopes.push_back(normalise_scope(scope));
  }
  BOOTSEAL_ARM_TRY_STATUS(check_patterns(role.permissions));
  return role;
}

std::string RoleAssignment::resource_id() const {
  return fmt::format("{}/providers/Microsoft.Authorization/roleAssignments/{}", scope == "/" ? "" : scope,
                     name);
}

json::Object RoleAssignment::to_answer() const {
  json::Object properties{
      {"roleDefinitionId", fmt::format("/providers/Microsoft.Authorization/roleDefinitions/{}", role_id)},
      {"principalId", principal_id},
      {"principalType", principal_type},
      {"scope", scope},
      {"condition", nullptr},
      {"conditionVersion", nullptr},
      {"createdOn", format_time(created)},
      {"updatedOn", format_time(created)},
      {"createdBy", created_by},
      {"updatedBy", created_by},
      {"delegatedManagedIdentityResourceId", nullptr},
      {"description", description.empty() ? json::Value(nullptr) : json::Value(description)}};
  return {{"properties", std::move(properties)},
          {"id", resource_id()},
          {"type", "Microsoft.Authorization/roleAssignments"},
          {"name", name}};
}

json::Object RoleAssignment::to_json() const {
  return {{"name", name},
          {"scope", scope},
          {"roleId", role_id},
          {"principalId", principal_id},
          {"principalType", principal_type},
          {"description", description},
          {"createdBy", created_by},
          {"created", format_time(created)}};
}

Result<RoleAssignment> RoleAssignment::parse(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the role assignment"));
  RoleAssignment assignment;
  BOOTSEAL_TRY(assignment.name, reader.string("name"));
  BOOTSEAL_TRY(assignment.scope, reader.string("scope"));
  BOOTSEAL_TRY(assignment.role_id, reader.string("roleId"));
  BOOTSEAL_TRY(assignment.principal_id, reader.string("principalId"));
  BOOTSEAL_TRY(assignment.principal_type, reader.string("principalType"));
  BOOTSEAL_TRY(assignment.description, reader.string("description"));
  BOOTSEAL_TRY(assignment.created_by, reader.string("createdBy"));
  BOOTSEAL_TRY(assignment.created, read_time(reader, "created"));
  return assignment;
}

}  // namespace bootseal::identity

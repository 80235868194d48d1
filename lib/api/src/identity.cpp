#include "identity.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/base/ids.h"
#include "bootseal/log/log.h"
#include "bootseal/model/resource_id.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kPrincipals = "identity/principals/";
constexpr std::string_view kNames = "identity/names/";
constexpr std::string_view kAssignments = "identity/assignments/";
constexpr std::string_view kRoles = "identity/roles/";

std::string key_of(std::string_view prefix, std::string_view name) {
  return std::string(prefix).append(name);
}

Result<StoredPrincipal> parse_principal(const store::Entry& entry) {
  BOOTSEAL_TRY(const json::Value document, json::parse(entry.value));
  StoredPrincipal stored;
  BOOTSEAL_TRY(stored.principal, identity::Principal::parse(document));
  stored.revision = entry.mod_revision;
  return stored;
}

std::vector<std::string> labels_of(const StoredPrincipal& stored) {
  std::vector<std::string> labels = {model::to_lower(stored.principal.name), stored.principal.id};
  if (!stored.principal.app_id.empty()) labels.push_back(stored.principal.app_id);
  return labels;
}

template <typename T>
Result<T> parse_record(const store::Entry& entry) {
  BOOTSEAL_TRY(const json::Value document, json::parse(entry.value));
  return T::parse(document);
}

store::Put put_assignment(const identity::RoleAssignment& assignment) {
  return {key_of(kAssignments, assignment.name), json::serialize(assignment.to_json()), {}};
}

bool makes_owner(const identity::RoleAssignment& assignment) {
  return assignment.scope == "/" && assignment.role_id == identity::kOwnerRole;
}

const identity::RoleDefinition* built_in(std::string_view id) {
  const auto& roles = identity::built_in_roles();
  const auto found =
      std::find_if(roles.begin(), roles.end(), [&](const auto& role) { return role.id == id; });
  return found == roles.end() ? nullptr : &*found;
}

}  // namespace

Identity::Identity(store::Store& store, const Clock& clock)
    : store_(store),
      clock_(clock),
      principals_(store, std::string(kPrincipals), parse_principal, labels_of),
      assignments_(
          store, std::string(kAssignments), parse_record<identity::RoleAssignment>,
          [](const identity::RoleAssignment& one) { return std::vector<std::string>{one.principal_id}; }),
      roles_(store, std::string(kRoles), parse_record<identity::RoleDefinition>) {}

Result<PrincipalPointer> Identity::principal(const std::string& id) {
  return principals_.get(id);
}

Result<PrincipalPointer> Identity::find_principal(std::string_view reference) {
  BOOTSEAL_TRY(auto found, principals_.labelled(model::to_lower(reference)));
  if (found.empty()) return PrincipalPointer();
  return found.front();
}

Result<std::vector<PrincipalPointer>> Identity::principals() {
  return principals_.list();
}

Status Identity::add_principal(const identity::Principal& principal,
                               const std::vector<identity::RoleAssignment>& assignments) {
  const std::string name_key = key_of(kNames, model::to_lower(principal.name));
  std::vector<store::Operation> writes = {
      store::Put{key_of(kPrincipals, principal.id), json::serialize(principal.to_json()), {}},
      store::Put{name_key, principal.id, {}}};
  for (const identity::RoleAssignment& assignment : assignments)
    writes.emplace_back(put_assignment(assignment));
  const auto written = store_.transact({store::Condition::absent(name_key)}, writes);
  if (!written && written.error().code == ErrorCode::conflict)
    return fail(ErrorCode::already_exists, fmt::format("there is a principal '{}' already", principal.name));
  BOOTSEAL_TRY_STATUS(written);
  return {};
}

Status Identity::change_principal(const identity::Principal& principal, store::Revision revision) {
  const std::string key = key_of(kPrincipals, principal.id);
  BOOTSEAL_TRY_STATUS(
      store_.transact({{key, revision}}, {store::Put{key, json::serialize(principal.to_json()), {}}}));
  return {};
}

Status Identity::remove_principal(const StoredPrincipal& stored) {
  const std::lock_guard lock(changes_mutex_);
  const identity::Principal& principal = stored.principal;
  BOOTSEAL_TRY(const auto assignments, assignments_of(principal.id));
  BOOTSEAL_TRY_STATUS(check_owner_remains(assignments));
  // The assignments first: what a crash leaves is a principal that may nothing, never rights without one.
  for (const AssignmentPointer& one : assignments)
    BOOTSEAL_TRY_STATUS(store_.remove(key_of(kAssignments, one->name)));
  const std::string key = key_of(kPrincipals, principal.id);
  BOOTSEAL_TRY_STATUS(
      store_.transact({{key, stored.revision}},
                      {store::Delete{key}, store::Delete{key_of(kNames, model::to_lower(principal.name))}}));
  return forget_refresh(
      [&](const identity::RefreshFamily& family) { return family.principal_id == principal.id; });
}

Result<RolePointer> Identity::role(const std::string& id) {
  if (const identity::RoleDefinition* known = built_in(id); known != nullptr)
    return RolePointer(RolePointer(), known);  // lives for the whole program
  return roles_.get(id);
}

Result<std::vector<RolePointer>> Identity::roles() {
  std::vector<RolePointer> list;
  for (const identity::RoleDefinition& one : identity::built_in_roles())
    list.emplace_back(RolePointer(), &one);
  BOOTSEAL_TRY(const auto custom, roles_.list());
  list.insert(list.end(), custom.begin(), custom.end());
  return list;
}

Status Identity::put_role(const identity::RoleDefinition& role) {
  BOOTSEAL_TRY_STATUS(store_.put(key_of(kRoles, role.id), json::serialize(role.to_json())));
  return {};
}

Status Identity::remove_role(const std::string& id) {
  BOOTSEAL_TRY_STATUS(store_.remove(key_of(kRoles, id)));
  return {};
}

Result<AssignmentPointer> Identity::assignment(const std::string& name) {
  return assignments_.get(name);
}

Result<std::vector<AssignmentPointer>> Identity::assignments() {
  return assignments_.list();
}

Result<std::vector<AssignmentPointer>> Identity::assignments_of(const std::string& principal_id) {
  return assignments_.labelled(principal_id);
}

Status Identity::add_assignment(const identity::RoleAssignment& assignment) {
  const std::lock_guard lock(changes_mutex_);
  BOOTSEAL_TRY(const auto others, assignments_of(assignment.principal_id));
  for (const AssignmentPointer& other : others) {
    if (other->role_id == assignment.role_id && other->scope == assignment.scope)
      return fail(ErrorCode::already_exists, fmt::format("The role assignment already exists. The ID of the "
                                                         "existing role assignment is {}.",
                                                         other->name));
  }
  const store::Put put = put_assignment(assignment);
  const auto written = store_.transact({store::Condition::absent(put.key)}, {put});
  if (!written && written.error().code == ErrorCode::conflict)
    return fail(ErrorCode::already_exists,
                fmt::format("The role assignment '{}' already exists.", assignment.name));
  BOOTSEAL_TRY_STATUS(written);
  return {};
}

Status Identity::remove_assignment(const identity::RoleAssignment& assignment) {
  const std::lock_guard lock(changes_mutex_);
  BOOTSEAL_TRY_STATUS(check_owner_remains({std::make_shared<const identity::RoleAssignment>(assignment)}));
  BOOTSEAL_TRY_STATUS(store_.remove(key_of(kAssignments, assignment.name)));
  return {};
}

Status Identity::forget_scope(std::string_view scope) {
  const std::lock_guard lock(changes_mutex_);
  BOOTSEAL_TRY(const auto all, assignments_.list());
  for (const AssignmentPointer& one : all) {
    if (one->scope == "/" || !identity::scope_contains(scope, one->scope)) continue;
    BOOTSEAL_TRY_STATUS(store_.remove(key_of(kAssignments, one->name)));
  }
  return {};
}

Status Identity::check_owner_remains(const std::vector<AssignmentPointer>& removed) {
  const auto is_removed = [&](const identity::RoleAssignment& one) {
    return std::any_of(removed.begin(), removed.end(),
                       [&](const auto& gone) { return gone->name == one.name; });
  };
  if (std::none_of(removed.begin(), removed.end(), [](const auto& one) { return makes_owner(*one); }))
    return {};
  BOOTSEAL_TRY(const auto all, assignments_.list());
  for (const AssignmentPointer& one : all) {
    if (!makes_owner(*one) || is_removed(*one)) continue;
    BOOTSEAL_TRY(const PrincipalPointer owner, principal(one->principal_id));
    if (owner != nullptr && owner->principal.enabled) return {};
  }
  return fail(
      ErrorCode::conflict,
      "this would take the role Owner of the site ('/') away from the last one who has it; give it to "
      "somebody else first");
}

Result<bool> Identity::allows(const std::string& principal_id, std::string_view action,
                              std::string_view scope, identity::ActionKind kind) {
  BOOTSEAL_TRY(const auto assignments, assignments_of(principal_id));
  const std::string wanted = identity::normalise_scope(scope);
  for (const AssignmentPointer& one : assignments) {
    if (!identity::scope_contains(one->scope, wanted)) continue;
    BOOTSEAL_TRY(const RolePointer definition, role(one->role_id));
    if (definition != nullptr && identity::role_allows(*definition, action, kind)) return true;
  }
  return false;
}

bool Identity::may(const Caller& caller, std::string_view action, std::string_view scope) {
  if (caller.site_owner) return true;
  const auto allowed = allows(caller.principal_id, action, scope, identity::ActionKind::control);
  if (!allowed) log::error("roles.unreadable", {{"reason", allowed.error().describe()}});
  return allowed && *allowed;
}

bool Identity::may_data(const Caller& caller, std::string_view action, std::string_view scope) {
  const auto allowed = allows(caller.principal_id, action, scope, identity::ActionKind::data);
  if (!allowed) log::error("roles.unreadable", {{"reason", allowed.error().describe()}});
  return allowed && *allowed;
}

bool Identity::is_owner(const Caller& caller) {
  if (caller.site_owner) return true;
  const auto assignments = assignments_of(caller.principal_id);
  return assignments && std::any_of(assignments->begin(), assignments->end(),
                                    [](const auto& one) { return makes_owner(*one); });
}

bool Identity::may_somewhere_below(const Caller& caller, std::string_view action, std::string_view scope) {
  if (may(caller, action, scope)) return true;
  const auto assignments = assignments_of(caller.principal_id);
  if (!assignments) return false;
  const std::string outer = identity::normalise_scope(scope);
  return std::any_of(assignments->begin(), assignments->end(), [&](const AssignmentPointer& one) {
    return identity::scope_contains(outer, one->scope);
  });
}

}  // namespace bootseal::api

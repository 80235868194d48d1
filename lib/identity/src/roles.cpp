#include "bootseal/identity/roles.h"

#include <algorithm>

#include "bootseal/model/resource_id.h"

namespace bootseal::identity {
namespace {

bool any_matches(const std::vector<std::string>& patterns, std::string_view action) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return action_matches(pattern, action); });
}

bool equal_character(char a, char b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return lower(a) == lower(b);
}

}  // namespace

std::string normalise_scope(std::string_view scope) {
  std::string normal;
  while (!scope.empty()) {
    const std::size_t end = std::min(scope.find('/'), scope.size());
    if (end > 0) normal += "/" + model::to_lower(scope.substr(0, end));
    scope.remove_prefix(std::min(end + 1, scope.size()));
  }
  return normal.empty() ? "/" : normal;
}

bool scope_contains(std::string_view outer, std::string_view inner) {
  if (outer == "/" || outer == inner) return true;
  return inner.size() > outer.size() && inner.starts_with(outer) && inner[outer.size()] == '/';
}

bool action_matches(std::string_view pattern, std::string_view action) {
  // Greedy with one place to come back to: the last '*', and how much of the action it took.
  std::size_t p = 0, a = 0, star = std::string_view::npos, taken = 0;
  while (a < action.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = a;
    } else if (p < pattern.size() && equal_character(pattern[p], action[a])) {
      ++p;
      ++a;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      a = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool role_allows(const RoleDefinition& role, std::string_view action, ActionKind kind) {
  return std::any_of(role.permissions.begin(), role.permissions.end(), [&](const Permission& permission) {
    if (kind == ActionKind::data)
      return any_matches(permission.data_actions, action) &&
             !any_matches(permission.not_data_actions, action);
    return any_matches(permission.actions, action) && !any_matches(permission.not_actions, action);
  });
}

bool may(std::span<const RoleAssignment> assignments, const FindRole& find_role,
         std::string_view principal_id, std::string_view action, std::string_view scope, ActionKind kind) {
  return std::any_of(assignments.begin(), assignments.end(), [&](const RoleAssignment& assignment) {
    if (assignment.principal_id != principal_id || !scope_contains(assignment.scope, scope)) return false;
    const RoleDefinition* role = find_role(assignment.role_id);
    return role != nullptr && role_allows(*role, action, kind);
  });
}

}  // namespace bootseal::identity

// Azure's role-based access control: role definitions, assignments, and the question that they answer.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/json/json.h"
#include "bootseal/model/arm_error.h"

namespace bootseal::identity {

struct Permission {
  std::vector<std::string> actions;  // "Microsoft.Compute/*/read"
  std::vector<std::string> not_actions;
  std::vector<std::string> data_actions;
  std::vector<std::string> not_data_actions;
};

struct RoleDefinition {
  std::string id;  // a GUID in lower case
  std::string name;
  std::string description;
  bool built_in = false;
  std::vector<Permission> permissions;
  std::vector<std::string> assignable_scopes;
  TimePoint created;
  TimePoint updated;

  // The ARM resource; `scope` is the one it was asked for at ("/subscriptions/…", or "/" for none).
  [[nodiscard]] json::Object to_answer(std::string_view scope) const;
  [[nodiscard]] json::Object to_json() const;
  static Result<RoleDefinition> parse(const json::Value& value);
  // The body of a PUT. 400 InvalidRoleDefinition… with the field.
  static model::ArmResult<RoleDefinition> from_put(const json::Value& body, std::string id, TimePoint now);
};

// Azure's own, with Azure's ids and permissions.
inline constexpr std::string_view kOwnerRole = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";
inline constexpr std::string_view kContributorRole = "b24988ac-6180-42a0-ab88-20f7382dd24c";
inline constexpr std::string_view kReaderRole = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
inline constexpr std::string_view kUserAccessAdministratorRole = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9";
inline constexpr std::string_view kVirtualMachineContributorRole = "9980e02c-c2be-4d73-94e8-173b1dc7cf3c";
inline constexpr std::string_view kNetworkContributorRole = "4d97b98b-1d4f-4787-a291-c67834d212e7";
inline constexpr std::string_view kVirtualMachineAdministratorLoginRole =
    "1c0163c0-47e6-4577-8991-ea5c82e286e4";
const std::vector<RoleDefinition>& built_in_roles();

struct RoleAssignment {
  std::string name;   // a GUID in lower case
  std::string scope;  // in lower case, "/" for the whole site
  std::string role_id;
  std::string principal_id;
  std::string principal_type;  // "User", "ServicePrincipal"
  std::string description;
  std::string created_by;
  TimePoint created;

  [[nodiscard]] std::string resource_id() const;
  [[nodiscard]] json::Object to_answer() const;
  [[nodiscard]] json::Object to_json() const;
  static Result<RoleAssignment> parse(const json::Value& value);
};

// Lower case, one '/' at the beginning and between, none at the end; "/" for the site.
std::string normalise_scope(std::string_view scope);
// Both normalised: `inner` is `outer` or lies below it.
bool scope_contains(std::string_view outer, std::string_view inner);
// `*` stands for any text, also for '/' and for nothing; case does not count. Linear in the texts' product.
bool action_matches(std::string_view pattern, std::string_view action);

enum class ActionKind : std::uint8_t { control, data };
bool role_allows(const RoleDefinition& role, std::string_view action, ActionKind kind = ActionKind::control);

using FindRole = std::function<const RoleDefinition*(std::string_view role_id)>;
// Whether one of the principal's assignments at `scope` or above has a role that allows the action. There are
// no denials: what no role allows is not allowed.
bool may(std::span<const RoleAssignment> assignments, const FindRole& find_role,
         std::string_view principal_id, std::string_view action, std::string_view scope,
         ActionKind kind = ActionKind::control);

}  // namespace bootseal::identity

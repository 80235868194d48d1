// The oracle for the built-in roles is Azure's published list ("Azure built-in roles").
#include "bootseal/identity/roles.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace bootseal::identity {
namespace {

const TimePoint kNow = *parse_time("2026-11-22T00:00:00Z");
constexpr std::string_view kSubscription = "/subscriptions/s1";
constexpr std::string_view kGroup = "/subscriptions/s1/resourcegroups/rg1";
constexpr std::string_view kVm =
    "/subscriptions/s1/resourcegroups/rg1/providers/microsoft.compute/virtualmachines/vm1";

const RoleDefinition* built_in(std::string_view id) {
  const auto& roles = built_in_roles();
  const auto found =
      std::find_if(roles.begin(), roles.end(), [&](const auto& role) { return role.id == id; });
  return found == roles.end() ? nullptr : &*found;
}
RoleAssignment assignment(std::string_view role, std::string_view scope, std::string principal = "p1") {
  RoleAssignment made;
  made.name = "33333333-3333-4333-8333-333333333333";
  made.scope = scope;
  made.role_id = role;
  made.principal_id = std::move(principal);
  made.principal_type = "ServicePrincipal";
  made.created = kNow;
  return made;
}
bool allowed(std::string_view role, std::string_view assigned_at, std::string_view action,
             std::string_view scope, ActionKind kind = ActionKind::control) {
  const RoleAssignment list[] = {assignment(role, assigned_at)};
  return may(list, built_in, "p1", action, scope, kind);
}

TEST(ActionPattern, MatchesAsAzureDoes) {
  EXPECT_TRUE(action_matches("*", "Microsoft.Compute/virtualMachines/start/action"));
  EXPECT_TRUE(action_matches("*/read", "Microsoft.Compute/virtualMachines/read"));
  EXPECT_TRUE(action_matches("Microsoft.Compute/*/read", "microsoft.compute/disks/READ"));
  EXPECT_TRUE(action_matches("Microsoft.Compute/virtualMachines/*",
                             "Microsoft.Compute/virtualMachines/extensions/write"));
  EXPECT_TRUE(action_matches("a*b*c", "aXbYbZc"));
  EXPECT_FALSE(action_matches("*/read", "Microsoft.Compute/virtualMachines/write"));
  EXPECT_FALSE(action_matches("Microsoft.Compute/*", "Microsoft.Network/virtualNetworks/read"));
  EXPECT_FALSE(action_matches("Microsoft.Compute/disks/read", "Microsoft.Compute/disks/read/x"));
  EXPECT_FALSE(action_matches("", "a"));
  EXPECT_TRUE(action_matches("**", ""));
}

TEST(ActionPattern, OfManyStarsTakesNoLongTime) {
  std::string pattern, action(4000, 'a');
  for (int i = 0; i < 100; ++i) pattern += "*a";
  EXPECT_FALSE(action_matches(pattern + "b", action));
}

TEST(Scope, ContainsWhatLiesBelowItBySegments) {
  EXPECT_EQ(normalise_scope("//Subscriptions/S1/"), "/subscriptions/s1");
  EXPECT_EQ(normalise_scope(""), "/");
  EXPECT_TRUE(scope_contains("/", kVm));
  EXPECT_TRUE(scope_contains(kGroup, kVm));
  EXPECT_TRUE(scope_contains(kGroup, kGroup));
  EXPECT_FALSE(scope_contains("/subscriptions/s1/resourcegroups/rg", kGroup));
  EXPECT_FALSE(scope_contains(kVm, kGroup));
}

TEST(BuiltInRoles, AllowWhatTheirNamesSay) {
  constexpr std::string_view kStart = "Microsoft.Compute/virtualMachines/start/action";
  constexpr std::string_view kGive = "Microsoft.Authorization/roleAssignments/write";
  EXPECT_TRUE(allowed(kOwnerRole, "/", kGive, kVm));
  EXPECT_TRUE(allowed(kContributorRole, kSubscription, kStart, kVm));
  EXPECT_FALSE(allowed(kContributorRole, kSubscription, kGive, kVm));
  EXPECT_FALSE(allowed(kContributorRole, kSubscription, "Microsoft.Authorization/locks/delete", kVm));
  EXPECT_TRUE(allowed(kContributorRole, kSubscription, "Microsoft.Authorization/roleAssignments/read", kVm));
  EXPECT_TRUE(allowed(kReaderRole, kGroup, "Microsoft.Compute/virtualMachines/read", kVm));
  EXPECT_FALSE(allowed(kReaderRole, kGroup, kStart, kVm));
  EXPECT_TRUE(allowed(kUserAccessAdministratorRole, kGroup, kGive, kGroup));
  EXPECT_FALSE(allowed(kUserAccessAdministratorRole, kGroup, kStart, kVm));
  EXPECT_TRUE(allowed(kVirtualMachineContributorRole, kGroup, kStart, kVm));
  EXPECT_FALSE(
      allowed(kVirtualMachineContributorRole, kGroup, "Microsoft.Network/virtualNetworks/write", kGroup));
  EXPECT_TRUE(allowed(kNetworkContributorRole, kGroup, "Microsoft.Network/virtualNetworks/write", kGroup));
  EXPECT_FALSE(allowed(kNetworkContributorRole, kGroup, kStart, kVm));
}

TEST(BuiltInRoles, LoginIsADataActionAndNotPartOfOwner) {
  constexpr std::string_view kLogin = "Microsoft.Compute/virtualMachines/loginAsAdmin/action";
  EXPECT_TRUE(allowed(kVirtualMachineAdministratorLoginRole, kGroup, kLogin, kVm, ActionKind::data));
  EXPECT_FALSE(allowed(kVirtualMachineAdministratorLoginRole, kGroup, kLogin, kVm));
  EXPECT_FALSE(allowed(kOwnerRole, "/", kLogin, kVm, ActionKind::data));
}

TEST(May, HoldsAtTheScopeOfTheAssignmentAndBelowOnly) {
  constexpr std::string_view kRead = "Microsoft.Compute/virtualMachines/read";
  EXPECT_TRUE(allowed(kReaderRole, kVm, kRead, kVm));
  EXPECT_FALSE(allowed(kReaderRole, kVm, kRead, kGroup));
  EXPECT_FALSE(allowed(kReaderRole, "/subscriptions/s2", kRead, kVm));
}

TEST(May, IsForThePrincipalOfTheAssignmentAndAKnownRole) {
  const RoleAssignment list[] = {assignment(kOwnerRole, "/", "p2"),
                                 assignment("00000000-0000-4000-8000-000000000000", "/")};
  EXPECT_FALSE(may(list, built_in, "p1", "x/read", "/"));
  EXPECT_TRUE(may(list, built_in, "p2", "x/read", "/"));
}

TEST(RoleDefinition, OfACustomRoleIsReadFromItsPutAndSurvivesTheStore) {
  const auto body =
      json::parse(R"({"properties":{"roleName":"Starter","description":"starts VMs","type":"CustomRole",
    "permissions":[{"actions":["Microsoft.Compute/virtualMachines/*"],"notActions":["*/delete"]}],
    "assignableScopes":["/subscriptions/S1"]}})");
  const auto role = RoleDefinition::from_put(*body, "44444444-4444-4444-8444-444444444444", kNow);
  ASSERT_TRUE(role) << role.error().message;
  EXPECT_TRUE(role_allows(*role, "Microsoft.Compute/virtualMachines/start/action"));
  EXPECT_FALSE(role_allows(*role, "Microsoft.Compute/virtualMachines/delete"));
  EXPECT_EQ(role->assignable_scopes.front(), "/subscriptions/s1");
  EXPECT_EQ(RoleDefinition::parse(role->to_json())->to_json(), role->to_json());
  EXPECT_EQ(role->to_answer("/subscriptions/S1").at("id").as_string(),
            "/subscriptions/S1/providers/Microsoft.Authorization/roleDefinitions/"
            "44444444-4444-4444-8444-444444444444");
}

TEST(RoleDefinition, RefusesWhatAzureRefuses) {
  const auto code = [](const char* text) {
    const auto role = RoleDefinition::from_put(*json::parse(text), "id", kNow);
    return role ? "accepted" : role.error().code;
  };
  EXPECT_EQ(
      code(R"({"properties":{"roleName":"a","permissions":[{"actions":["*"]}],"assignableScopes":[]}})"),
      "RoleDefinitionAssignableScopesInvalid");
  EXPECT_EQ(
      code(R"({"properties":{"roleName":"a","permissions":[{"actions":["a b"]}],"assignableScopes":["/"]}})"),
      "InvalidActionOrNotAction");
  EXPECT_EQ(
      code(
          R"({"properties":{"roleName":"a","type":"BuiltInRole","permissions":[],"assignableScopes":["/"]}})"),
      "RoleDefinitionUpdateNotAllowed");
  EXPECT_EQ(code(R"({"properties":{"roleName":"a","permissions":[],"assignableScopes":["x"]}})"),
            "InvalidRoleDefinitionAssignableScope");
}

TEST(RoleAssignment, HasTheShapeThatClientsReadAndSurvivesTheStore) {
  const RoleAssignment made = assignment(kReaderRole, kGroup);
  const json::Object answer = made.to_answer();
  EXPECT_EQ(answer.at("id").as_string(), std::string(kGroup) +
                                             "/providers/Microsoft.Authorization/roleAssignments/"
                                             "33333333-3333-4333-8333-333333333333");
  EXPECT_EQ(answer.at("properties").at("scope").as_string(), kGroup);
  EXPECT_EQ(RoleAssignment::parse(made.to_json())->to_json(), made.to_json());
}

}  // namespace
}  // namespace bootseal::identity

// Role definitions and assignments over the API, with the requests that az rest and arm-authorization were
// recorded to send.
#include "identity_site.h"

namespace bootseal::api::testing {
namespace {

constexpr const char* kName = "33333333-3333-3333-3333-333333333333";
constexpr const char* kOther = "44444444-4444-4444-4444-444444444444";
constexpr const char* kOwner = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";
constexpr const char* kContributor = "b24988ac-6180-42a0-ab88-20f7382dd24c";
constexpr const char* kReader = "acdd72a7-3385-48ef-bd42-f606fba81ae7";

class RoleTest : public IdentityTest {
 protected:
  [[nodiscard]] std::string subscription() const { return "/subscriptions/" + subscription_; }
  static std::string assignments(const std::string& scope) {
    return scope + "/providers/Microsoft.Authorization/roleAssignments";
  }
  static std::string definitions(const std::string& scope) {
    return scope + "/providers/Microsoft.Authorization/roleDefinitions";
  }
  [[nodiscard]] json::Value body(const std::string& principal, const std::string& role) const {
    return json::Object{
        {"properties", json::Object{{"principalId", principal},
                                    {"roleDefinitionId", definitions(subscription()) + "/" + role}}}};
  }
  std::vector<std::string> names(const std::string& path) {
    const Reply reply = call("GET", path);
    EXPECT_EQ(reply.status, 200) << reply.text;
    std::vector<std::string> list;
    for (const json::Value& one : reply.body.at("value").as_array()) list.push_back(text(one, "name"));
    return list;
  }
};

TEST_F(RoleTest, AnAssignmentGivesItsRoleAtItsScopeAndBelow) {
  start();
  const json::Value program = create_program("builder");
  const std::string access = sign_in(program);
  EXPECT_TRUE(as(access, "GET", "/subscriptions").body.at("value").as_array().empty());
  EXPECT_EQ(as(access, "GET", group()).status, 403);
  const std::string path = assignments(group()) + "/" + kName;
  const Reply made = call("PUT", path, body(text(program, "id"), kContributor));
  ASSERT_EQ(made.status, 201) << made.text;
  EXPECT_EQ(text(made.body.at("properties"), "principalType"), "ServicePrincipal");
  EXPECT_EQ(as(access, "GET", group()).status, 200);
  EXPECT_EQ(as(access, "GET", "/subscriptions").body.at("value").as_array().size(), 1U);
  EXPECT_EQ(
      as(access, "PUT", subscription() + "/resourceGroups/rg2", json::Object{{"location", "local"}}).status,
      403);
  EXPECT_EQ(call("DELETE", path).status, 200);
  EXPECT_EQ(as(access, "GET", group()).status, 403);
  EXPECT_EQ(call("DELETE", path).status, 204);
  EXPECT_TRUE(call("GET", path).error().starts_with("RoleAssignmentDoesNotExist"));
}

TEST_F(RoleTest, AssignmentsAreHeldToAzuresRules) {
  start();
  const std::string id = text(create_program("builder"), "id");
  const auto put = [&](const std::string& name, const json::Value& what) {
    return call("PUT", assignments(group()) + "/" + name, what);
  };
  ASSERT_EQ(put(kName, body(id, kReader)).status, 201);
  EXPECT_EQ(put(kName, body(id, kReader)).status, 201) << "a repeated request";
  const Reply twice = put(kOther, body(id, kReader));
  EXPECT_EQ(twice.status, 409);
  EXPECT_TRUE(twice.error().starts_with("RoleAssignmentExists")) << twice.error();
  EXPECT_TRUE(put(kName, body(id, kContributor)).error().starts_with("RoleAssignmentUpdateNotPermitted"));
  EXPECT_TRUE(put("name", body(id, kContributor)).error().starts_with("InvalidRoleAssignmentId"));
  EXPECT_TRUE(put(kOther, body(id, kOther)).error().starts_with("RoleDefinitionDoesNotExist"));
  EXPECT_TRUE(put(kOther, body(kOther, kReader)).error().starts_with("PrincipalNotFound"));
  json::Value typed = body(id, kContributor);
  typed.at("properties").as_object()["principalType"] = "User";
  EXPECT_TRUE(put(kOther, typed).error().starts_with("UnmatchedPrincipalType"));
  json::Value conditional = body(id, kContributor);
  conditional.at("properties").as_object()["condition"] = "true";
  EXPECT_TRUE(put(kOther, conditional).error().starts_with("RoleAssignmentConditionNotSupported"));
  EXPECT_EQ(
      call("PUT", assignments(subscription() + "/resourceGroups/none") + "/" + kOther, body(id, kReader))
          .status,
      404);
}

TEST_F(RoleTest, ListsShowWhatAppliesToAScopeAndFilters) {
  start();
  const std::string one = text(create_program("one"), "id"), two = text(create_program("two"), "id");
  ASSERT_EQ(call("PUT", assignments("") + "/" + kName, body(one, kReader)).status, 201);
  ASSERT_EQ(call("PUT", assignments(group()) + "/" + kOther, body(two, kReader)).status, 201);
  const std::string at = assignments(subscription());
  EXPECT_EQ(names(at), (std::vector<std::string>{kName, kOther}));
  EXPECT_EQ(names(at + "?$filter=atScope()"), std::vector<std::string>{kName});
  EXPECT_EQ(names(at + "?$filter=principalId eq '" + two + "'"), std::vector<std::string>{kOther});
  EXPECT_EQ(names(at + "?$filter=assignedTo('" + one + "') and atScope()"), std::vector<std::string>{kName});
  EXPECT_EQ(call("GET", at + "?$filter=color eq 'red'").status, 400);
  EXPECT_EQ(call("GET", at + "?$filter=atScope(").status, 400);
}

TEST_F(RoleTest, WhatIsDeletedTakesItsRolesAlong) {
  start();
  const std::string other = subscription() + "/resourceGroups/rg2";
  ASSERT_EQ(call("PUT", other, json::Object{{"location", "local"}}).status, 201);
  const std::string access = sign_in(create_program("builder", "Reader", other));
  EXPECT_EQ(as(access, "GET", other).status, 200);
  EXPECT_EQ(outcome(call("DELETE", other)), "Succeeded");
  ASSERT_EQ(call("PUT", other, json::Object{{"location", "local"}}).status, 201);
  EXPECT_EQ(as(access, "GET", other).status, 403);
  EXPECT_TRUE(names(assignments(subscription())).empty());
}

TEST_F(RoleTest, WhoMayNotGiveRolesCannot) {
  start();
  const std::string id = text(create_program("builder"), "id");
  const std::string contributor = sign_in(create_program("c", "Contributor"));
  EXPECT_EQ(as(contributor, "PUT", assignments(group()) + "/" + kName, body(id, kReader)).status, 403);
  EXPECT_EQ(as(contributor, "GET", assignments(group())).status, 200);
  const std::string administrator = sign_in(create_program("u", "User Access Administrator", group()));
  EXPECT_EQ(as(administrator, "PUT", assignments(group()) + "/" + kName, body(id, kReader)).status, 201);
  EXPECT_EQ(as(administrator, "PUT", assignments(subscription()) + "/" + kOther, body(id, kReader)).status,
            403);
  EXPECT_EQ(as(contributor, "DELETE", assignments(group()) + "/" + kName).status, 403);
}

TEST_F(RoleTest, TheLastOwnerOfTheSiteStays) {
  start();
  const json::Value first = create_program("bootseal-admin", "Owner", "/");
  const std::string all = assignments("");
  const std::string name = names(all).at(0);
  const Reply refused = call("DELETE", all + "/" + name);
  EXPECT_EQ(refused.status, 409);
  EXPECT_TRUE(refused.error().starts_with("LastOwnerCannotBeRemoved")) << refused.error();
  EXPECT_EQ(call("DELETE", "/v1/principals/bootseal-admin").status, 409);
  create_program("second", "Owner", "/");
  EXPECT_EQ(call("DELETE", all + "/" + name).status, 200);
}

TEST_F(RoleTest, DefinitionsAreListedWithAzuresIdsAndFound) {
  start();
  const std::string at = definitions(subscription());
  EXPECT_EQ(names(at).size(), 7U);
  EXPECT_EQ(names(at + "?$filter=roleName eq 'Owner'"), std::vector<std::string>{kOwner});
  EXPECT_TRUE(names(at + "?$filter=type eq 'CustomRole'").empty());
  const Reply reader = call("GET", definitions("") + "/" + kReader);
  EXPECT_EQ(text(reader.body.at("properties"), "roleName"), "Reader");
  EXPECT_EQ(text(reader.body.at("properties"), "type"), "BuiltInRole");
  EXPECT_EQ(call("GET", at + "/" + kOther).status, 404);
}

TEST_F(RoleTest, ACustomRoleIsMadeGivenAndDeletedWhenNobodyHasIt) {
  start();
  const auto role = [&](const std::string& name, const std::string& scope) {
    return json::Object{
        {"properties",
         json::Object{{"roleName", name},
                      {"assignableScopes", json::Array{json::Value(scope.c_str())}},
                      {"permissions",
                       json::Array{json::Object{
                           {"actions", json::Array{json::Value(
                                           "Microsoft.Resources/subscriptions/resourceGroups/read")}}}}}}}};
  };
  const std::string path = definitions(subscription()) + "/" + kOther;
  ASSERT_EQ(call("PUT", path, role("Group Reader", subscription())).status, 201);
  EXPECT_TRUE(call("PUT", definitions(subscription()) + "/" + kName, role("Owner", subscription()))
                  .error()
                  .starts_with("RoleDefinitionWithSameNameExists"));
  EXPECT_EQ(call("PUT", definitions(subscription()) + "/" + kOwner, role("Mine", subscription())).status,
            400);
  const json::Value program = create_program("builder", "Group Reader");
  const std::string access = sign_in(program);
  EXPECT_EQ(as(access, "GET", group()).status, 200);
  EXPECT_EQ(as(access, "DELETE", group()).status, 403);
  EXPECT_TRUE(call("DELETE", path).error().starts_with("RoleDefinitionHasAssignments"));
  ASSERT_EQ(call("DELETE", "/v1/principals/builder").status, 200);
  EXPECT_EQ(call("DELETE", path).status, 200);
  const std::string owner = sign_in(create_program("group-owner", "Owner", group()));
  EXPECT_TRUE(as(owner, "PUT", definitions(group()) + "/" + kOther, role("Wide", subscription()))
                  .error()
                  .starts_with("LinkedAuthorizationFailed"));
}

TEST_F(RoleTest, PermissionsShowWhatTheCallersRolesAllow) {
  start();
  const std::string access = sign_in(create_program("builder", "Reader"));
  const Reply reply = as(access, "GET", group() + "/providers/Microsoft.Authorization/permissions");
  ASSERT_EQ(reply.status, 200) << reply.text;
  EXPECT_EQ(reply.body.at("value").at(0).at("actions").at(0).as_string(), "*/read");
}

}  // namespace
}  // namespace bootseal::api::testing

// What concerns resources of all types: providers, inventory, tags, locks, groups, activity log,
// authorization.
#include <gmock/gmock.h>

#include "gateway.h"
#include "service.h"
#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

class ManagementTest : public SiteTest {
 protected:
  ManagementTest() { start(); }

  std::string subscription() const { return "/subscriptions/" + subscription_; }
  std::string address(const std::string& name) const {
    return group() + "/providers/Microsoft.Network/publicIPAddresses/" + name;
  }
  Reply put_address(const std::string& name, json::Object tags = {}) {
    return call("PUT", address(name), json::Object{{"location", "local"}, {"tags", std::move(tags)}});
  }
  Reply put_lock(const std::string& scope, const std::string& name, const std::string& level) {
    return call("PUT", scope + "/providers/Microsoft.Authorization/locks/" + name,
                json::Object{{"properties", {{"level", level}}}});
  }
  std::vector<std::string> names(const std::string& path) {
    const Reply reply = call("GET", path);
    EXPECT_EQ(reply.status, 200) << path << ": " << reply.text;
    std::vector<std::string> found;
    if (reply.status != 200) return found;
    for (const json::Value& item : reply.body.at("value").as_array())
      found.emplace_back(item.at("name").as_string());
    return found;
  }
};

TEST_F(ManagementTest, ProvidersAreRegisteredAndNameTheirTypes) {
  const Reply list = call("GET", subscription() + "/providers");
  std::vector<std::string> namespaces;
  for (const json::Value& provider : list.body.at("value").as_array()) {
    EXPECT_EQ(provider.at("registrationState").as_string(), "Registered");
    namespaces.emplace_back(provider.at("namespace").as_string());
  }
  for (const char* wanted : {"Microsoft.Compute", "Microsoft.Network", "Microsoft.Resources",
                             "Microsoft.KeyVault", "Microsoft.Authorization", "Microsoft.Storage"})
    EXPECT_THAT(namespaces, Contains(wanted));
  const Reply network = call("POST", subscription() + "/providers/microsoft.network/register");
  std::vector<std::string> types;
  for (const json::Value& type : network.body.at("resourceTypes").as_array()) {
    types.emplace_back(type.at("resourceType").as_string());
    EXPECT_FALSE(type.at("apiVersions").as_array().empty());
  }
  EXPECT_THAT(types,
              ElementsAre("virtualNetworks", "virtualNetworks/subnets", "networkSecurityGroups",
                          "networkSecurityGroups/securityRules", "publicIPAddresses", "networkInterfaces"));
  EXPECT_THAT(call("GET", subscription() + "/providers/Contoso.Web").error(),
              StartsWith("InvalidResourceNamespace: "));
  EXPECT_TRUE(
      call("GET", subscription() + "/providers/Microsoft.Features/providers/Microsoft.Compute/features")
          .body.at("value")
          .as_array()
          .empty());
}

TEST_F(ManagementTest, TheInventoryHoldsEverythingAndIsFiltered) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(put_address("p1", {{"a", "1"}}).status, 201);
  ASSERT_EQ(put_address("p2", {{"a", "2"}, {"b", "1"}}).status, 201);
  ASSERT_EQ(call("PUT", subscription() + "/resourceGroups/rg2", json::Object{{"location", "local"}}).status,
            201);
  const std::string all = subscription() + "/resources";
  EXPECT_THAT(names(all), UnorderedElementsAre("vm1", "p1", "p2"));
  EXPECT_THAT(names(group() + "/resources"), UnorderedElementsAre("vm1", "p1", "p2"));
  EXPECT_THAT(names(subscription() + "/resourceGroups/rg2/resources"), ElementsAre());
  EXPECT_THAT(
      names(all + "?$filter=resourceGroup eq 'RG1' and resourceType eq 'microsoft.compute/virtualmachines'"),
      ElementsAre("vm1"));
  EXPECT_THAT(names(all + "?$filter=resourceGroup eq 'rg2'"), ElementsAre());
  EXPECT_THAT(names(all + "?$filter=tagName eq 'a' and tagValue eq '1'"), ElementsAre("p1"));
  EXPECT_THAT(names(all + "?$filter=substringof('p', name) and name ne 'p1'"), ElementsAre("p2"));
  EXPECT_THAT(call("GET", all + "?$filter=colour eq 'blue'").error(),
              StartsWith("InvalidFilterInQueryString: "));
  const Reply expanded = call("GET", all + "?$expand=createdTime,provisioningState&$filter=name eq 'p1'");
  EXPECT_EQ(expanded.body.at_pointer("/value/0/provisioningState").as_string(), "Succeeded");
  EXPECT_TRUE(expanded.body.at_pointer("/value/0").as_object().contains("createdTime"));
  EXPECT_FALSE(expanded.body.at_pointer("/value/0").as_object().contains("changedTime"));
}

TEST_F(ManagementTest, ListsAreReadInPages) {
  for (const char* name : {"p1", "p2", "p3"}) ASSERT_EQ(put_address(name).status, 201);
  std::vector<std::string> seen;
  std::string path = subscription() + "/resources?$top=2";
  for (int page = 0; page < 2; ++page) {
    const Reply reply = call("GET", path);
    for (const json::Value& item : reply.body.at("value").as_array())
      seen.emplace_back(item.at("name").as_string());
    const json::Value* next = reply.body.as_object().if_contains("nextLink");
    ASSERT_EQ(next != nullptr, page == 0);
    if (next == nullptr) break;
    const std::string link(next->as_string());
    ASSERT_THAT(link, StartsWith("https://site.test:8443/subscriptions/"));
    EXPECT_THAT(link, HasSubstr("$top=2"));
    path = subscription() + "/resources?$top=2&" + link.substr(link.find("$skiptoken"));
  }
  EXPECT_THAT(seen, ElementsAre("p1", "p2", "p3"));
  EXPECT_EQ(call("GET", subscription() + "/resources?$top=0").status, 400);
}

TEST_F(ManagementTest, TagsAreKeptAtEveryScope) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(put_address("p1").status, 201);
  for (const std::string& scope : {subscription(), group(), vm("vm1"), address("p1")}) {
    const std::string tags = scope + "/providers/Microsoft.Resources/tags/default";
    const auto send = [&](const std::string& method, const std::string& operation, json::Object values) {
      json::Object body{{"properties", {{"tags", std::move(values)}}}};
      if (!operation.empty()) body["operation"] = operation;
      const Reply reply = call(method, tags, body);
      return reply.status == 200 ? json::serialize(reply.body.at_pointer("/properties/tags")) : reply.error();
    };
    EXPECT_EQ(send("PUT", "", {{"a", "1"}}), R"({"a":"1"})") << scope;
    EXPECT_EQ(send("PATCH", "merge", {{"A", "2"}, {"b", "3"}}), R"({"a":"2","b":"3"})") << scope;
    EXPECT_EQ(send("PATCH", "Delete", {{"a", "2"}, {"b", "other"}}), R"({"b":"3"})") << scope;
    EXPECT_EQ(send("PATCH", "Replace", {{"c", "4"}}), R"({"c":"4"})") << scope;
    EXPECT_THAT(send("PUT", "", {{"x/y", "1"}}), StartsWith("InvalidTagNameCharacters: ")) << scope;
    EXPECT_EQ(json::serialize(call("GET", tags).body.at_pointer("/properties/tags")), R"({"c":"4"})")
        << scope;
  }
  EXPECT_EQ(json::serialize(call("GET", vm("vm1")).body.at("tags")), R"({"c":"4"})");
  EXPECT_EQ(json::serialize(call("GET", group()).body.at("tags")), R"({"c":"4"})");
  EXPECT_EQ(call("DELETE", address("p1") + "/providers/Microsoft.Resources/tags/default").status, 200);
  EXPECT_EQ(json::serialize(call("GET", address("p1")).body.at("tags")), "{}");
  EXPECT_THAT(call("GET", address("none") + "/providers/Microsoft.Resources/tags/default").error(),
              StartsWith("ResourceNotFound: "));
}

TEST_F(ManagementTest, TagNamesAreCountedAndPredefined) {
  ASSERT_EQ(put_address("p1", {{"env", "test"}}).status, 201);
  const std::string tag_names = subscription() + "/tagNames";
  EXPECT_EQ(call("PUT", tag_names + "/owner").status, 201);
  EXPECT_EQ(call("PUT", tag_names + "/owner").status, 200);
  EXPECT_EQ(call("PUT", tag_names + "/owner/tagValues/me").status, 201);
  EXPECT_THAT(call("PUT", tag_names + "/none/tagValues/me").error(), StartsWith("TagNotFound: "));
  const Reply list = call("GET", tag_names);
  ASSERT_EQ(list.body.at("value").as_array().size(), 2U) << list.text;
  EXPECT_EQ(list.body.at_pointer("/value/0/tagName").as_string(), "env");
  EXPECT_EQ(list.body.at_pointer("/value/0/count/value").to_number<int>(), 1);
  EXPECT_EQ(list.body.at_pointer("/value/1/values/0/tagValue").as_string(), "me");
  EXPECT_EQ(call("DELETE", tag_names + "/owner/tagValues/me").status, 200);
  EXPECT_EQ(call("DELETE", tag_names + "/owner").status, 200);
  EXPECT_EQ(call("DELETE", tag_names + "/owner").status, 204);
}

TEST_F(ManagementTest, LocksHoldForEverythingBelowThem) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(put_address("p1").status, 201);
  ASSERT_EQ(put_lock(group(), "keep", "CanNotDelete").status, 201);
  EXPECT_THAT(call("DELETE", address("p1")).error(), StartsWith("ScopeLocked: "));
  EXPECT_THAT(call("DELETE", vm("vm1")).error(), HasSubstr("'" + group() + "'"));
  EXPECT_THAT(call("DELETE", group()).error(), StartsWith("ScopeLocked: "));
  EXPECT_EQ(put_address("p1", {{"a", "b"}}).status, 200);
  EXPECT_EQ(put_lock(group(), "keep", "readonly").status, 200);
  EXPECT_THAT(put_address("p1", {{"a", "c"}}).error(), StartsWith("ScopeLocked: "));
  EXPECT_THAT(call("POST", vm("vm1") + "/restart").error(), StartsWith("ScopeLocked: "));
  EXPECT_EQ(call("GET", vm("vm1")).status, 200);
  EXPECT_THAT(names(subscription() + "/providers/Microsoft.Authorization/locks"), ElementsAre("keep"));
  EXPECT_EQ(call("DELETE", group() + "/providers/Microsoft.Authorization/locks/keep").status, 200);
  // A lock on one resource holds its group.
  ASSERT_EQ(put_lock(vm("vm1"), "mine", "CanNotDelete").status, 201);
  EXPECT_THAT(call("DELETE", group()).error(), HasSubstr("vm1"));
  EXPECT_EQ(call("DELETE", address("p1")).status, 200);
  EXPECT_EQ(call("DELETE", vm("vm1") + "/providers/Microsoft.Authorization/locks/mine").status, 200);
  EXPECT_THAT(put_lock(address("none"), "l", "ReadOnly").error(), StartsWith("ResourceNotFound: "));
  EXPECT_THAT(put_lock(group(), "l", "Sometimes").error(), StartsWith("InvalidParameter: "));
  EXPECT_EQ(outcome(call("DELETE", vm("vm1"))), "Succeeded");
}

TEST_F(ManagementTest, AGroupGoesWithEverythingInItWhateverUsesWhat) {
  const std::string network = group() + "/providers/Microsoft.Network/";
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(put_address("p1").status, 201);
  ASSERT_EQ(
      call("PUT", network + "virtualNetworks/v1",
           json::Object{
               {"location", "local"},
               {"properties",
                {{"addressSpace", {{"addressPrefixes", {"10.0.0.0/16"}}}},
                 {"subnets", json::Array{json::Object{
                                 {"name", "s"}, {"properties", {{"addressPrefix", "10.0.0.0/24"}}}}}}}}})
          .status,
      201);
  const json::Object configuration{{"name", "c"},
                                   {"properties",
                                    {{"subnet", {{"id", network + "virtualNetworks/v1/subnets/s"}}},
                                     {"publicIPAddress", {{"id", address("p1")}}}}}};
  const auto put_nic = [&](const std::string& where) {
    return call("PUT", where + "/providers/Microsoft.Network/networkInterfaces/z1",
                json::Object{{"location", "local"},
                             {"properties", {{"ipConfigurations", json::Array{configuration}}}}});
  };
  const std::string other = subscription() + "/resourceGroups/rg2";
  ASSERT_EQ(call("PUT", other, json::Object{{"location", "local"}}).status, 201);
  ASSERT_EQ(put_nic(other).status, 201);
  // An interface of another group needs the subnet: the group stays.
  EXPECT_THAT(outcome(call("DELETE", group())), StartsWith("Failed ResourceGroupDeletionBlocked: "));
  EXPECT_EQ(call("GET", group()).body.at_pointer("/properties/provisioningState").as_string(), "Succeeded");
  ASSERT_EQ(call("DELETE", other + "/providers/Microsoft.Network/networkInterfaces/z1").status, 200);
  ASSERT_EQ(put_nic(group()).status, 201);
  EXPECT_EQ(outcome(call("DELETE", group())), "Succeeded");
  EXPECT_EQ(call("HEAD", group()).status, 404);
  EXPECT_THAT(names(subscription() + "/resources"), ElementsAre());
}

TEST_F(ManagementTest, TheActivityLogSaysWhoChangedWhat) {
  ASSERT_EQ(put_address("p1").status, 201);
  call("DELETE", address("none"));
  EXPECT_EQ(call("PUT", address("bad"), json::Object{{"location", "mars"}}).status, 400);
  const std::string log = subscription() + "/providers/Microsoft.Insights/eventtypes/management/values";
  const Reply failed =
      call("GET", log + "?$filter=eventTimestamp ge '2020-01-01T00:00:00Z' and status eq 'Failed'");
  ASSERT_EQ(failed.status, 200) << failed.text;
  ASSERT_EQ(failed.body.at("value").as_array().size(), 1U) << failed.text;
  const json::Value& event = failed.body.at_pointer("/value/0");
  EXPECT_EQ(event.at("caller").as_string(), "certificate:admin");
  EXPECT_EQ(event.at_pointer("/operationName/value").as_string(),
            "Microsoft.Network/publicIPAddresses/write");
  EXPECT_EQ(event.at("resourceId").as_string(), address("bad"));
  EXPECT_EQ(event.at_pointer("/subStatus/value").as_string(), "400");
  EXPECT_THAT(std::string(event.at_pointer("/properties/statusMessage").as_string()),
              HasSubstr("LocationNotAvailableForResourceType"));
  const Reply all = call("GET", log + "?$select=operationName,eventTimestamp");
  const json::Array& events = all.body.at("value").as_array();
  ASSERT_EQ(events.size(), 4U) << all.text;  // with the group that the test begins with
  EXPECT_EQ(events[0].as_object().size(), 2U);
  for (std::size_t i = 1; i < events.size(); ++i)
    EXPECT_GE(events[i - 1].at("eventTimestamp").as_string(), events[i].at("eventTimestamp").as_string());
  EXPECT_TRUE(call("GET", log + "?$filter=eventTimestamp le '2020-01-01T00:00:00Z'")
                  .body.at("value")
                  .as_array()
                  .empty());
}

TEST_F(ManagementTest, WhatIsNotThereSaysSo) {
  EXPECT_EQ(call("GET", "/nowhere").status, 404);
  EXPECT_EQ(call("GET", vm("vm1") + "/console").status, 426);
  const Reply wrong = call("POST", group(), json::Object{});
  EXPECT_EQ(wrong.status, 405);
  EXPECT_THAT(wrong.header("Allow"), HasSubstr("PUT"));
  net::Peer stranger;
  EXPECT_EQ(call_as(stranger, "GET", "/nowhere").status, 401);
}

TEST_F(ManagementTest, AGroupsTagsChangeByPatchAndUsagesAreCounted) {
  const Reply patched = call("PATCH", group(), json::Object{{"tags", {{"a", "b"}}}});
  EXPECT_EQ(json::serialize(patched.body.at("tags")), R"({"a":"b"})");
  EXPECT_EQ(names(subscription() + "/resourceGroups?$filter=tagName eq 'a' and tagValue eq 'b'").size(), 1U);
  EXPECT_EQ(names(subscription() + "/resourceGroups?$filter=tagName eq 'a' and tagValue eq 'c'").size(), 0U);
  ASSERT_EQ(put_address("p1").status, 201);
  const Reply usages = call("GET", subscription() + "/providers/Microsoft.Network/locations/local/usages");
  for (const json::Value& usage : usages.body.at("value").as_array()) {
    if (usage.at_pointer("/name/value").as_string() != "PublicIPAddresses") continue;
    EXPECT_EQ(usage.at("currentValue").to_number<int>(), 1);
    EXPECT_EQ(usage.at("limit").to_number<int>(), 65536);
  }
  EXPECT_EQ(call("GET", subscription() + "/providers/Microsoft.Compute/locations/local/usages").status, 200);
}

}  // namespace
}  // namespace bootseal::api::testing

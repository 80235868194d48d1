// Deployments of templates, from the requests of real clients to what a killed control plane goes on with.
#include <gmock/gmock.h>

#include "bootseal/base/fds.h"
#include "bootseal/base/mapped_file.h"
#include "identity_site.h"
#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr std::string_view kRecordedSubscription = "00000000-0000-0000-0000-000000000001";

class DeploymentTest : public SiteTest {
 protected:
  DeploymentTest() { start(); }

  [[nodiscard]] std::string deployment(const std::string& name) const {
    return group() + "/providers/Microsoft.Resources/deployments/" + name;
  }
  Reply send(const std::string& method, const std::string& target, const std::string& body) {
    net::Peer peer;
    peer.kind = net::Peer::Kind::certificate;
    peer.certificate_name = "admin";
    return call_as(peer, method, target, {}, body);
  }
  Reply deploy(const std::string& name, const std::string& resources, const std::string& sections = "",
               const std::string& parameters = "{}", const std::string& mode = "Incremental") {
    return send("PUT", deployment(name) + "?api-version=2021-04-01",
                R"({"properties":{"mode":")" + mode + R"(","parameters":)" + parameters +
                    R"(,template:{"$schema":"x","contentVersion":"1.0.0.0",)" + sections + R"("resources":)" +
                    resources + "}}}");
  }
  // The state that a deployment ends in, and its error.
  std::string ended(const std::string& name) {
    Reply last;
    EXPECT_TRUE(until([&] {
      last = call("GET", deployment(name));
      if (last.status != 200) return true;
      const auto state = last.body.at("properties").at("provisioningState").get_string();
      return state != "Accepted" && state != "Running";
    })) << last.text;
    if (last.status != 200) return last.error();
    const json::Object& properties = last.body.at("properties").as_object();
    std::string text(properties.at("provisioningState").get_string());
    if (const json::Value* error = properties.if_contains("error")) {
      text += " " + std::string(error->at("code").get_string());
      if (const json::Value* details = error->as_object().if_contains("details"))
        for (const json::Value& detail : details->as_array())
          text += " (" + std::string(detail.at("code").get_string()) + ")";
    }
    return text;
  }
  // "Create vnet1 Succeeded"
  std::vector<std::string> steps(const std::string& name) {
    const Reply list = call("GET", group() + "/deployments/" + name + "/operations");
    EXPECT_EQ(list.status, 200) << list.text;
    std::vector<std::string> result;
    for (const json::Value& one : list.body.at("value").as_array()) {
      const json::Value& properties = one.at("properties");
      result.push_back(std::string(properties.at("provisioningOperation").get_string()) + " " +
                       std::string(properties.at("targetResource").at("resourceName").get_string()) + " " +
                       std::string(properties.at("provisioningState").get_string()));
    }
    return result;
  }
  [[nodiscard]] std::string network(const std::string& name) const {
    return group() + "/providers/Microsoft.Network/virtualNetworks/" + name;
  }
  static std::string vnet(const std::string& name, const std::string& more = "",
                          const std::string& prefix = "10.9.0.0/16") {
    return R"({"type":"Microsoft.Network/virtualNetworks","apiVersion":"2022-07-01","location":"local","name":")" +
           name + "\"" + more + R"(,"properties":{"addressSpace":{"addressPrefixes":[")" + prefix +
           R"("]},"subnets":[{"name":"s1","properties":{"addressPrefix":")" + prefix + R"("}}]}})";
  }
  static std::string nic(const std::string& name, const std::string& network_name) {
    return R"({"type":"Microsoft.Network/networkInterfaces","apiVersion":"2022-07-01","location":"local","name":")" +
           name + R"(","dependsOn":["microsoft.network/VIRTUALNETWORKS/)" + network_name +
           R"("],"properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"[resourceId('Microsoft.Network/virtualNetworks/subnets', ')" +
           network_name + R"(', 's1')]"}}}]}})";
  }
  static std::string machine(const std::string& name, const std::string& more = "") {
    return R"({"type":"Microsoft.Compute/virtualMachines","apiVersion":"2022-08-01","location":"local","name":")" +
           name + "\"" + more +
           R"(,"properties":{"hardwareProfile":{"vmSize":"Bootseal_Mini"},"storageProfile":{"imageReference":{"offer":"mini"}}}})";
  }
  // How often somebody asked for this resource to be written, by the activity log.
  std::size_t writes_of(const std::string& id) {
    const Reply log = call("GET", "/subscriptions/" + subscription_ +
                                      "/providers/Microsoft.Insights/eventtypes/management/values"
                                      "?$filter=eventTimestamp ge '2020-01-01T00:00:00Z'");
    EXPECT_EQ(log.status, 200) << log.text;
    std::size_t count = 0;
    for (const json::Value& event : log.body.at("value").as_array())
      if (event.at("resourceId").as_string() == id &&
          std::string_view(event.at_pointer("/operationName/value").as_string()).ends_with("/write"))
        ++count;
    return count;
  }
  // The recorded requests, in order; bodies byte for byte.
  std::vector<Reply> replay(const std::string& name) {
    const auto content = read_file(
        std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/api/tests/azure-requests" / (name + ".json"),
        std::size_t{1} << 20);
    EXPECT_TRUE(content) << name;
    std::string text(as_text(*content));
    for (std::size_t at = text.find(kRecordedSubscription); at != std::string::npos;
         at = text.find(kRecordedSubscription, at))
      text.replace(at, kRecordedSubscription.size(), subscription_);
    std::vector<Reply> replies;
    const json::Value recorded = json::parse(text).value();
    for (const json::Value& request : recorded.at("requests").as_array()) {
      const json::Object& one = request.as_object();
      const std::string target = std::string(one.at("path").as_string()) +
                                 "?api-version=" + std::string(one.at("query").at("api-version").as_string());
      std::string body;
      if (const json::Value* raw = one.if_contains("body_text")) body = std::string(raw->as_string());
      if (const json::Value* strict = one.if_contains("body")) body = json::serialize(*strict);
      replies.push_back(send(std::string(one.at("method").as_string()), target, body));
      EXPECT_EQ(replies.back().status, one.at("status_answered").to_number<int>())
          << name << ": " << replies.back().text;
    }
    return replies;
  }
};

TEST_F(DeploymentTest, WhatAzSendsForATemplateFileIsCarriedOut) {
  const std::vector<Reply> replies = replay("az-deployment-group-create");
  ASSERT_EQ(replies.size(), 3U);
  EXPECT_EQ(replies[0].body.at("properties").at("provisioningState").get_string(), "Succeeded");
  EXPECT_EQ(replies[1].body.at("properties").at("provisioningState").get_string(), "Accepted");
  EXPECT_EQ(replies[1].header("Retry-After"), "1");
  const std::string status = replies[1].header("Azure-AsyncOperation");
  EXPECT_THAT(status, HasSubstr("/deployments/dep1/operationStatuses/"));
  EXPECT_EQ(ended("dep1"), "Succeeded");
  const std::string path =
      status.substr(status.find("/subscriptions"), status.find('?') - status.find("/subscriptions"));
  EXPECT_EQ(call("GET", path).body.at("status").get_string(), "Succeeded");
  const json::Value properties = call("GET", deployment("dep1")).body.at("properties");
  EXPECT_EQ(json::serialize(properties.at("outputs")), R"({"n":{"type":"String","value":"vt"}})");
  EXPECT_EQ(json::serialize(properties.at("parameters")), R"({"name":{"type":"String","value":"vt"}})");
  EXPECT_EQ(json::serialize(properties.at("outputResources")), R"([{"id":")" + network("vt") + R"("}])");
  for (const char* member :
       {"mode", "timestamp", "duration", "correlationId", "templateHash", "dependencies", "providers"})
    EXPECT_TRUE(properties.as_object().contains(member)) << member;
  EXPECT_EQ(call("GET", network("vt")).status, 200);
  EXPECT_THAT(steps("dep1"), ElementsAre("Create vt Succeeded"));
  EXPECT_EQ(call("POST", deployment("dep1") + "/exportTemplate")
                .body.at("template")
                .at("outputs")
                .at("n")
                .at("type")
                .get_string(),
            "string");
  EXPECT_EQ(
      call("GET", group() + "/providers/Microsoft.Resources/deployments/").body.at("value").as_array().size(),
      1U);
  EXPECT_EQ(call("HEAD", deployment("dep1")).status, 204);
}

TEST_F(DeploymentTest, WhatNpmSendsIsCarriedOut) {
  replay("js-arm-resourcesdeployments-create");
  EXPECT_EQ(ended("dep1"), "Succeeded");
  EXPECT_EQ(call("GET", network("vt")).status, 200);
}

TEST_F(DeploymentTest, WhatIfSaysWhatWouldChangeAndChangesNothing) {
  for (const char* recorded : {"az-deployment-group-what-if", "js-arm-resourcesdeployments-what-if"}) {
    const Reply begun = replay(recorded).front();
    const std::string url = begun.header("Location");
    const Reply result =
        call("GET", url.substr(url.find("/subscriptions"), url.find('?') - url.find("/subscriptions")));
    ASSERT_EQ(result.status, 200) << url << result.text;
    EXPECT_EQ(result.body.at("status").get_string(), "Succeeded");
    const json::Value& changes = result.body.at("properties").at("changes");
    ASSERT_EQ(changes.as_array().size(), 1U);
    EXPECT_EQ(changes.at(0).at("changeType").get_string(), "Create");
    EXPECT_EQ(changes.at(0).at("resourceId").get_string(), network("vt"));
  }
  EXPECT_EQ(call("GET", network("vt")).status, 404);
  replay("az-deployment-group-create");
  EXPECT_EQ(ended("dep1"), "Succeeded");
  const std::string url = replay("az-deployment-group-what-if").front().header("Location");
  const Reply again =
      call("GET", url.substr(url.find("/subscriptions"), url.find('?') - url.find("/subscriptions")));
  EXPECT_EQ(again.body.at("properties").at("changes").at(0).at("changeType").get_string(), "NoChange")
      << again.text;
}

TEST_F(DeploymentTest, ATemplateThatIsWrongChangesNothing) {
  const Reply wrong = deploy("d", "[" + vnet("a", R"(,"dependsOn":["nobody"])") + "]");
  EXPECT_EQ(wrong.status, 400);
  EXPECT_THAT(
      wrong.error(),
      HasSubstr(
          "InvalidTemplate: Deployment template validation failed: 'The resource 'nobody' is not defined"));
  EXPECT_THAT(wrong.error(), HasSubstr("at line '1' and column"));
  EXPECT_EQ(call("GET", deployment("d")).error().substr(0, 18), "DeploymentNotFound");
  EXPECT_THAT(send("PUT", deployment("d") + "?api-version=2021-04-01", "{properties:{").error(),
              HasSubstr("InvalidRequestContent"));
  EXPECT_THAT(send("PUT", deployment("d") + "?api-version=2021-04-01",
                   R"({"properties":{"mode":"Incremental","templateLink":{"uri":"https://x"}}})")
                  .error(),
              HasSubstr("fetches no templates"));
  EXPECT_EQ(call("DELETE", deployment("d")).status, 204);
  EXPECT_EQ(call("PUT", deployment("bad name"), json::Object{}).status, 400);
}

TEST_F(DeploymentTest, DependenciesAreMadeFirstAndSecretsAreNeverShown) {
  const Reply begun = deploy(
      "d",
      "[" + machine("vm1", R"(,"dependsOn":["n1"],"tags":{"k":"v"})") + "," + nic("n1", "net1") + "," +
          vnet("net1") + "]",
      R"("parameters":{"secret":{"type":"securestring"},"deep":{"type":"secureObject"}},"outputs":{"ip":{"type":"string","value":
               "[reference('n1').ipConfigurations[0].properties.privateIPAddress]"},"s":{"type":"securestring","value":"[parameters('secret')]"}},)",
      R"({"secret":{"value":"hunter2-secret"},"deep":{"value":{"x":"hunter2-secret"}}})");
  ASSERT_EQ(begun.status, 201) << begun.text;
  EXPECT_EQ(ended("d"), "Succeeded");
  EXPECT_THAT(steps("d"),
              UnorderedElementsAre("Create vm1 Succeeded", "Create n1 Succeeded", "Create net1 Succeeded"));
  EXPECT_THAT(states("vm1"), ElementsAre("ProvisioningState/succeeded", "PowerState/running"));
  const Reply shown = call("GET", deployment("d"));
  EXPECT_EQ(shown.body.at("properties").at("outputs").at("ip").at("value").get_string(), "10.9.0.4");
  EXPECT_THAT(begun.text + shown.text + call("GET", deployment("d") + "/operations").text +
                  call("POST", deployment("d") + "/exportTemplate").text,
              Not(HasSubstr("hunter2")));
}

TEST_F(DeploymentTest, AFailureEndsTheDeploymentWithTheReasonAndWhatDependsIsNotBegun) {
  ASSERT_EQ(deploy("d", "[" + vnet("bad", "", "10.9.0.0/99") + "," + nic("n1", "bad") + "," +
                            vnet("good", "", "10.10.0.0/16") + "]")
                .status,
            201);
  EXPECT_THAT(ended("d"), HasSubstr("Failed DeploymentFailed ("));
  EXPECT_THAT(steps("d"), UnorderedElementsAre("Create bad Failed", "Create good Succeeded"));
  EXPECT_EQ(call("GET", network("good")).status, 200);
  const json::Value error = call("GET", deployment("d")).body.at("properties").at("error");
  EXPECT_EQ(error.at("details").at(0).at("target").get_string(), network("bad"));
  // The same name again takes the place of the failed run.
  ASSERT_EQ(deploy("d", "[" + vnet("good", "", "10.10.0.0/16") + "]").status, 200);
  EXPECT_EQ(ended("d"), "Succeeded");
}

TEST_F(DeploymentTest, CompleteModeDeletesWhatTheTemplateDoesNotName) {
  ASSERT_EQ(deploy("d1", "[" + vnet("net1") + "," + nic("n1", "net1") + "," +
                             vnet("net2", "", "10.10.0.0/16") + "]")
                .status,
            201);
  ASSERT_EQ(ended("d1"), "Succeeded");
  ASSERT_EQ(deploy("d2", "[" + vnet("net2", "", "10.10.0.0/16") + "]", "", "{}", "Complete").status, 201);
  EXPECT_EQ(ended("d2"), "Succeeded");
  EXPECT_THAT(steps("d2"),
              UnorderedElementsAre("Create net2 Succeeded", "Delete n1 Succeeded", "Delete net1 Succeeded"));
  EXPECT_EQ(call("GET", network("net1")).status, 404);
  EXPECT_EQ(call("GET", network("net2")).status, 200);
}

TEST_F(DeploymentTest, ADeploymentGoesOnAfterARestartAndMakesNothingTwice) {
  host_.hold(true);
  ASSERT_EQ(deploy("d", "[" + vnet("net1") + "," + machine("vm1", R"(,"dependsOn":["net1"])") + "," +
                            vnet("net2", R"(,"dependsOn":["vm1"])", "10.10.0.0/16") + "]")
                .status,
            201);
  ASSERT_TRUE(host_.wait_for_assignments(1));
  crash();
  host_.hold(false);
  start();
  EXPECT_EQ(ended("d"), "Succeeded");
  EXPECT_THAT(host_.carried_out(vm_id("vm1")), ElementsAre("start"));
  EXPECT_EQ(writes_of(network("net1")), 1U);
  EXPECT_EQ(call("GET", network("net2")).status, 200);
}

TEST_F(DeploymentTest, ACancelledDeploymentBeginsNothingMore) {
  host_.hold(true);
  ASSERT_EQ(deploy("d", "[" + machine("vm1") + "," + vnet("net1", R"(,"dependsOn":["vm1"])") + "]").status,
            201);
  ASSERT_TRUE(host_.wait_for_assignments(1));
  EXPECT_THAT(deploy("d", "[]").error(), HasSubstr("DeploymentActive"));
  EXPECT_THAT(call("DELETE", deployment("d")).error(), HasSubstr("DeploymentActive"));
  EXPECT_EQ(call("POST", deployment("d") + "/cancel").status, 204);
  EXPECT_EQ(ended("d"), "Canceled DeploymentCanceled");
  EXPECT_THAT(call("POST", deployment("d") + "/cancel").error(), HasSubstr("DeploymentCannotBeCancelled"));
  host_.hold(false);
  EXPECT_EQ(call("GET", network("net1")).status, 404);
  EXPECT_EQ(call("DELETE", deployment("d")).status, 202);
  EXPECT_EQ(call("GET", deployment("d")).status, 404);
}

TEST_F(DeploymentTest, ANestedDeploymentIsADeploymentOfItsOwn) {
  const std::string inner =
      R"({"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"inner","properties":
    {"mode":"Incremental","template":{"$schema":"x","contentVersion":"1.0.0.0","resources":[)" +
      vnet("[parameters('name')]") +
      R"(],"outputs":{"id":{"type":"string","value":"[resourceGroup().name]"}}}}})";
  ASSERT_EQ(
      deploy(
          "outer", "[" + inner + "]",
          R"("parameters":{"name":{"type":"string"}},"outputs":{"o":{"type":"string","value":"[reference('inner').outputs.id.value]"}},)",
          R"({"name":{"value":"net1"}})")
          .status,
      201);
  EXPECT_EQ(ended("outer"), "Succeeded");
  EXPECT_EQ(ended("inner"), "Succeeded");
  EXPECT_EQ(call("GET", network("net1")).status, 200);
  EXPECT_EQ(
      call("GET", deployment("outer")).body.at("properties").at("outputs").at("o").at("value").get_string(),
      "rg1");
}

TEST_F(DeploymentTest, ADeploymentInTheSubscriptionMakesGroupsAndWhatIsInThem) {
  const std::string at = "/subscriptions/" + subscription_ + "/providers/Microsoft.Resources/deployments/s";
  const std::string body =
      R"({"location":"local","properties":{"mode":"Incremental","template":{"$schema":"x","contentVersion":"1.0.0.0","resources":[
    {"type":"Microsoft.Resources/resourceGroups","apiVersion":"2021-04-01","name":"rg7","location":"local"},
    {"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"in","resourceGroup":"rg7","dependsOn":["rg7"],"properties":
      {"mode":"Incremental","expressionEvaluationOptions":{"scope":"inner"},"template":{"$schema":"x","contentVersion":"1.0.0.0","resources":[)" +
      vnet("net7") + "]}}}]}}}";
  ASSERT_EQ(send("PUT", at + "?api-version=2021-04-01", body).status, 201);
  EXPECT_TRUE(until([&] {
    return call("GET", at).body.at("properties").at("provisioningState").get_string() == "Succeeded";
  })) << call("GET", at).text;
  EXPECT_EQ(call("GET", "/subscriptions/" + subscription_ +
                            "/resourceGroups/rg7/providers/Microsoft.Network/virtualNetworks/net7")
                .status,
            200);
}

TEST_F(DeploymentTest, ADeletedGroupTakesItsDeploymentsWithIt) {
  ASSERT_EQ(deploy("d", "[]").status, 201);
  ASSERT_EQ(ended("d"), "Succeeded");
  EXPECT_EQ(outcome(call("DELETE", group())), "Succeeded");
  ASSERT_EQ(call("PUT", group(), json::Object{{"location", "local"}}).status, 201);
  EXPECT_THAT(call("GET", deployment("d")).error(), HasSubstr("DeploymentNotFound"));
}

TEST_F(DeploymentTest, AGroupIsExportedAsATemplateThatChangesNothing) {
  ASSERT_EQ(deploy("d", "[" + vnet("net1") + "," + nic("n1", "net1") + "]").status, 201);
  ASSERT_EQ(ended("d"), "Succeeded");
  const Reply exported = replay("az-group-export").front();
  const json::Value& resources = exported.body.at("template").at("resources");
  ASSERT_EQ(resources.as_array().size(), 2U) << exported.text;
  ASSERT_EQ(deploy("again", json::serialize(resources)).status, 201);
  EXPECT_EQ(ended("again"), "Succeeded") << call("GET", deployment("again")).text;
}

TEST_F(DeploymentTest, TheHashOfATemplateIsTheSameWhereverItIsAsked) {
  const Reply hash = call("POST", "/providers/Microsoft.Resources/calculateTemplateHash",
                          json::Object{{"resources", json::Array{}}});
  EXPECT_EQ(hash.status, 200);
  EXPECT_EQ(hash.body.at("minifiedTemplate").get_string(), R"({"resources":[]})");
  EXPECT_FALSE(hash.body.at("templateHash").get_string().empty());
}

class DeploymentRoleTest : public IdentityTest {};

TEST_F(DeploymentRoleTest, ATemplateCanDoNothingThatItsAuthorCannotDo) {
  constexpr const char* kNetworkContributor = "4d97b98b-1d4f-4787-a291-c67834d212e7";
  start();
  const json::Value program = create_program("network-admin");
  const std::string access = sign_in(program);
  const std::string deployment = group() + "/providers/Microsoft.Resources/deployments/d";
  const auto resource = [](const char* type, const char* name, const char* properties) {
    return json::Object{{"type", type},
                        {"apiVersion", "2022-08-01"},
                        {"name", name},
                        {"location", "local"},
                        {"properties", *json::parse(properties)}};
  };
  const json::Value body = json::Object{
      {"properties",
       json::Object{
           {"mode", "Incremental"},
           {"template",
            json::Object{
                {"contentVersion", "1.0.0.0"},
                {"resources", json::Array{resource("Microsoft.Network/virtualNetworks", "net1",
                                                   R"({"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}})"),
                                          resource("Microsoft.Compute/virtualMachines", "vm1",
                                                   R"({"hardwareProfile":{"vmSize":"Bootseal_Mini"},
                                       "storageProfile":{"imageReference":{"offer":"mini"}}})")}}}}}}};
  EXPECT_EQ(as(access, "PUT", deployment, body).status, 403);
  const std::string role = "/subscriptions/" + subscription_ +
                           "/providers/Microsoft.Authorization/roleDefinitions/" + kNetworkContributor;
  ASSERT_EQ(
      call(
          "PUT",
          group() + "/providers/Microsoft.Authorization/roleAssignments/33333333-3333-3333-3333-333333333333",
          json::Object{
              {"properties", json::Object{{"principalId", text(program, "id")}, {"roleDefinitionId", role}}}})
          .status,
      201);
  ASSERT_EQ(as(access, "PUT", deployment, body).status, 201);
  Reply last;
  ASSERT_TRUE(until([&] {
    last = call("GET", deployment);
    return last.body.at("properties").at("provisioningState").get_string() == "Failed";
  })) << last.text;
  const json::Value& details = last.body.at("properties").at("error").at("details");
  ASSERT_EQ(details.as_array().size(), 1U) << last.text;
  EXPECT_EQ(details.at(0).at("code").get_string(), "AuthorizationFailed");
  EXPECT_EQ(call("GET", vm("vm1")).status, 404);
  EXPECT_EQ(call("GET", group() + "/providers/Microsoft.Network/virtualNetworks/net1").status, 200);
}

}  // namespace
}  // namespace bootseal::api::testing

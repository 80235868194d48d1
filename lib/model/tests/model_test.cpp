#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "bootseal/base/fds.h"
#include "bootseal/model/endpoint.h"
#include "bootseal/model/operation.h"
#include "bootseal/model/resource_id.h"
#include "bootseal/model/resource_type.h"
#include "bootseal/model/vm_size.h"
#include "bootseal/model/vm_status.h"

namespace bootseal::model {
namespace {

using ::testing::HasSubstr;

TEST(ResourceId, ParsesAnyCaseAndExtraSlashesAndWritesTheCanonicalForm) {
  const auto id = ResourceId::parse(
      "/SUBSCRIPTIONS/s1//resourcegroups/Rg/providers/microsoft.compute/VirtualMachines/Vm1/");
  ASSERT_TRUE(id) << id.error().message;
  EXPECT_EQ(id->to_string(),
            "/subscriptions/s1/resourceGroups/Rg/providers/Microsoft.Compute/virtualMachines/Vm1");
  EXPECT_EQ(*id, ResourceId::of_virtual_machine("S1", "rG", "vM1"));
  EXPECT_EQ(ResourceId::parse(id->key()).value().key(), id->key());
}

TEST(ResourceId, RefusesWhatIsNone) {
  for (const char* text :
       {"", "/", "subscriptions/s/resourceGroups/g", "/subscriptions", "/subscriptions/s/resourceGroups",
        "/subscriptions/s/resourceGroups/g/providers/p/t", "/subscriptions/s/groups/g",
        "/subscriptions/s/resourceGroups/../providers/p/t/n",
        "/subscriptions/s/resourceGroups/g/providers/p/t/n/x",
        "/subscriptions/s/resourceGroups/g/providers/p/t/n/x/y/providers/q",
        "/subscriptions/s/resourceGroups/g/providers/providers/t/n/x", "/subscriptions/s/providers/p",
        "/subscriptions/s/resourceGroups/g/providers/p/t/a%2fb", "/providers/p/t",
        "/subscriptions/s/resourceGroups/g/provider/p/t/n", "/subscriptions/-/resourceGroups/g"}) {
    EXPECT_FALSE(ResourceId::parse(text)) << text;
  }
}

TEST(ResourceId, KnowsNestedSubscriptionAndExtensionResources) {
  const std::string group = "/subscriptions/s1/resourceGroups/g1";
  const auto subnet =
      ResourceId::parse(group + "/providers/microsoft.network/virtualnetworks/V/SUBNETS/n").value();
  EXPECT_EQ(subnet.full_type(), "Microsoft.Network/virtualNetworks/subnets");
  EXPECT_EQ(subnet.name, "n");
  EXPECT_THAT(subnet.parents, ::testing::ElementsAre("V"));
  EXPECT_EQ(subnet.scope(), group);
  EXPECT_EQ(subnet.parent(), group + "/providers/Microsoft.Network/virtualNetworks/V");
  EXPECT_EQ(subnet, ResourceId::parse(subnet.parent()).value().child("subnets", "N"));
  EXPECT_EQ(subnet.to_string(), group + "/providers/Microsoft.Network/virtualNetworks/V/subnets/n");

  const std::string lock = "/providers/Microsoft.Authorization/locks/L";
  const auto at_subnet = ResourceId::parse(subnet.to_string() + lock).value();
  EXPECT_EQ(at_subnet.full_type(), "Microsoft.Authorization/locks");
  EXPECT_EQ(at_subnet.scope(), subnet.to_string());
  EXPECT_EQ(at_subnet.parent(), subnet.to_string());
  EXPECT_EQ(at_subnet.group, "g1");
  EXPECT_TRUE(at_subnet.parents.empty());
  EXPECT_EQ(at_subnet.to_string(), subnet.to_string() + lock);

  EXPECT_EQ(ResourceId::parse(group + lock).value().scope(), group);
  const auto at_subscription = ResourceId::parse("/subscriptions/s1" + lock).value();
  EXPECT_EQ(at_subscription.scope(), "/subscriptions/s1");
  EXPECT_TRUE(at_subscription.group.empty());
  const auto at_tenant = ResourceId::parse(lock).value();
  EXPECT_EQ(at_tenant.scope(), "");
  EXPECT_EQ(at_tenant.to_string(), lock);
  const auto subscription = ResourceId::parse("/subscriptions/s1/").value();
  EXPECT_FALSE(subscription.is_resource());
  EXPECT_EQ(subscription.to_string(), "/subscriptions/s1");
  EXPECT_EQ(ResourceId::parse(group).value().scope(), "/subscriptions/s1");
}

TEST(ResourceId, IsWithinItselfAndWhatIsAboveIt) {
  EXPECT_TRUE(is_within("/subscriptions/S/resourceGroups/g", "/SUBSCRIPTIONS/s"));
  EXPECT_TRUE(is_within("/subscriptions/s", "/subscriptions/s/"));
  EXPECT_TRUE(is_within("/subscriptions/s", "/"));
  EXPECT_FALSE(is_within("/subscriptions/s/resourceGroups/group", "/subscriptions/s/resourceGroups/g"));
  EXPECT_FALSE(is_within("/subscriptions/s", "/subscriptions/s/resourceGroups/g"));
}

TEST(ResourceId, TheScopeOfAPathIsItsLastWholePair) {
  const std::string group = "/subscriptions/s/resourceGroups/g";
  const std::string vm = group + "/providers/Microsoft.Compute/virtualMachines/vm1";
  EXPECT_EQ(scope_of_path(group + "/providers/Microsoft.Compute//virtualMachines/vm1/start/"), vm);
  EXPECT_EQ(scope_of_path("/subscriptions/s/resourcegroups/g/providers/Microsoft.Compute/virtualMachines"),
            group);
  EXPECT_EQ(scope_of_path(vm + "/providers/Microsoft.Authorization/locks"), vm);
  EXPECT_EQ(scope_of_path(vm + "/providers/Microsoft.Authorization/locks/l"),
            vm + "/providers/Microsoft.Authorization/locks/l");
  EXPECT_EQ(scope_of_path("/subscriptions"), "/");
  EXPECT_EQ(scope_of_path("/v1/principals/x/y"), "/");
}

TEST(Endpoints, HaveTheActionsOfAzure) {
  std::map<std::string, std::string> actions;
  for (const Endpoint& endpoint : endpoints()) actions[endpoint.operation_id] = endpoint.action;
  EXPECT_EQ(actions.at("VirtualMachines_Start"), "Microsoft.Compute/virtualMachines/start/action");
  EXPECT_EQ(actions.at("VirtualMachines_Get"), "Microsoft.Compute/virtualMachines/read");
  EXPECT_EQ(actions.at("VirtualMachines_Delete"), "Microsoft.Compute/virtualMachines/delete");
  EXPECT_EQ(actions.at("Subnets_CreateOrUpdate"), "Microsoft.Network/virtualNetworks/subnets/write");
  EXPECT_EQ(actions.at("ResourceGroups_CreateOrUpdate"),
            "Microsoft.Resources/subscriptions/resourceGroups/write");
  EXPECT_EQ(actions.at("ManagementLocks_DeleteAtResource"), "Microsoft.Authorization/locks/delete");
}

TEST(ResourceType, OfTheRegistryAreSpeltTheSameInIds) {
  for (const ResourceType& type : resource_types()) {
    std::string path = "/providers/" + to_lower(type.provider);
    for (const std::string_view part : path_segments(type.type)) path += "/" + to_lower(part) + "/x";
    EXPECT_EQ(ResourceId::parse(path).value().full_type(), type.full_type());
    EXPECT_FALSE(type.api_versions.empty()) << type.full_type();
  }
}

TEST(Tags, AreHeldToAzuresLimits) {
  EXPECT_TRUE(check_tags({{std::string(512, 'n'), std::string(256, 'v')}}));
  EXPECT_EQ(check_tags({{std::string(513, 'n'), "v"}}).error().code, "InvalidTagNameLength");
  EXPECT_EQ(check_tags({{"n", std::string(257, 'v')}}).error().code, "InvalidTagValueLength");
  EXPECT_EQ(check_tags({{"a/b", "v"}}).error().code, "InvalidTagNameCharacters");
  EXPECT_EQ(check_tags({{"Azure-x", "v"}}).error().code, "ReservedTagName");
  EXPECT_EQ(check_tags({{"a", "1"}, {"A", "2"}}).error().code, "InvalidTags");
  json::Object many;
  for (int i = 0; i < 50; ++i) many["t" + std::to_string(i)] = "v";
  EXPECT_TRUE(check_tags(many));
  many["one more"] = "v";
  EXPECT_EQ(check_tags(many).error().code, "InvalidTags");
}

TEST(ApiVersion, AnyWellFormedDateIsTaken) {
  for (const char* text : {"2015-06-15", "2022-08-01", "2026-03-01", "2021-11-01-preview"})
    EXPECT_TRUE(check_api_version(text)) << text;
  EXPECT_EQ(check_api_version("").error().code, "MissingApiVersionParameter");
  for (const char* text :
       {"latest", "2022-13-01", "2022-08-00", "2022-8-1", "2022-08-01-beta", "2022-08-011"}) {
    EXPECT_EQ(check_api_version(text).error().code, "InvalidApiVersionParameter") << text;
  }
}

TEST(VmSize, IsFoundInAnyCaseAndSaysWhatAzReads) {
  const VmSize* size = find_vm_size("STANDARD_D2S_V3");
  ASSERT_NE(size, nullptr);
  EXPECT_EQ(size->cpus, 2U);
  EXPECT_EQ(to_json(*size).at("memoryInMB").to_number<unsigned>(), 8192U);
  EXPECT_EQ(find_vm_size("Standard_DS1_v2")->memory_mib, 3584U);  // what az takes when no size is given
  EXPECT_EQ(find_vm_size("Bootseal_Mini")->memory_mib, 512U);
  EXPECT_EQ(find_vm_size("Standard_None"), nullptr);
}

TEST(Operation, SurvivesItsStorage) {
  Operation operation{"op-1",
                      OperationKind::attest,
                      "/subscriptions/s/resourceGroups/g",
                      OperationStatus::failed,
                      *parse_time("2026-11-21T20:44:45Z"),
                      parse_time("2026-11-21T20:44:46Z").value(),
                      ArmError{409, "GuestStateStale", "old", "", {}},
                      json::Object{{"a", 1}}};
  const auto read = Operation::parse(operation.to_json());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(json::serialize(read->to_json()), json::serialize(operation.to_json()));
  EXPECT_EQ(read->error->status, 409);
  const json::Object answer = read->to_answer("/x/operations/op-1");
  EXPECT_EQ(answer.at("status").as_string(), "Failed");
  EXPECT_EQ(answer.at("error").at("code").as_string(), "GuestStateStale");
}

TEST(Operation, DamagedRecordsAreRefused) {
  for (const char* text :
       {"{}",
        R"({"id":"1","kind":"dance","resource":"/","status":"Failed","startTime":"2026-11-21T20:44:45Z"})",
        R"({"id":"1","kind":"start","resource":"/","status":"Maybe","startTime":"2026-11-21T20:44:45Z"})"}) {
    EXPECT_FALSE(Operation::parse(*json::parse(text))) << text;
  }
}

json::Value host_status(std::string_view power = "Running", std::string_view more = "") {
  return *json::parse(
      R"({"vmId":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","name":"vm1","epoch":1,"provisioning":{"state":"Succeeded"},"power":")" +
      std::string(power) + "\"" + std::string(more) + "}");
}

std::vector<std::string> codes(const json::Object& view) {
  std::vector<std::string> result;
  for (const json::Value& status : view.at("statuses").as_array())
    result.emplace_back(status.at("code").as_string());
  return result;
}

TEST(VmStatus, KeepsMembersItDoesNotKnowAndRefusesStatesItDoesNotKnow) {
  const auto status = VmStatus::parse(host_status(
      "Running",
      R"(,"powerRequest":{"requestId":"r1","state":"Failed","error":{"code":"GuestStateMissing","message":"gone"}},"new":7)"));
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->power_request->error.code, "GuestStateMissing");
  EXPECT_TRUE(status->raw.contains("new"));
  EXPECT_FALSE(VmStatus::parse(host_status("Flying")));
  EXPECT_FALSE(VmStatus::parse(*json::parse(R"({"vmId":"x"})")));
}

TEST(InstanceView, ShowsPowerStatesAsAzureDoes) {
  InstanceFacts facts{.provisioning_state = "Succeeded", .computer_name = "vm1"};
  const auto running = VmStatus::parse(host_status()).value();
  EXPECT_THAT(codes(instance_view(&running, facts)),
              ::testing::ElementsAre("ProvisioningState/succeeded", "PowerState/running"));
  const auto stopped = VmStatus::parse(host_status("Stopped")).value();
  EXPECT_THAT(codes(instance_view(&stopped, facts)), ::testing::Contains("PowerState/stopped"));
  facts.deallocated = true;
  EXPECT_THAT(codes(instance_view(&stopped, facts)), ::testing::Contains("PowerState/deallocated"));
  EXPECT_THAT(codes(instance_view(nullptr, facts)), ::testing::ElementsAre("ProvisioningState/succeeded"));
  facts.host_answers = false;
  EXPECT_THAT(codes(instance_view(&running, facts)), ::testing::Contains("PowerState/unknown"));
}

TEST(InstanceView, NamesTheSystemThatRunsAndElseTheImagesName) {
  const InstanceFacts facts{.provisioning_state = "Succeeded", .os_name = "debian-12-mini"};
  EXPECT_EQ(instance_view(nullptr, facts).at("osName").as_string(), "debian-12-mini");
  json::Object told = host_status().as_object();
  told["boot"] = json::Object{{"outcome", "Booted"}};
  told["guest"] = json::Object{{"agentVersion", "0.1.0"}, {"osName", "Debian GNU/Linux 12 (bookworm)"}};
  const auto status = VmStatus::parse(told).value();
  const json::Object view = instance_view(&status, facts);
  EXPECT_EQ(view.at("osName").as_string(), "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(view.at("vmAgent").at("vmAgentVersion").as_string(), "0.1.0");
}

TEST(Endpoints, HaveUniqueIdsAndPathsUnderOneMethod) {
  std::set<std::string> ids, routes;
  for (const Endpoint& endpoint : endpoints()) {
    EXPECT_TRUE(ids.insert(endpoint.operation_id).second) << endpoint.operation_id;
    EXPECT_TRUE(routes.insert(endpoint.method + " " + to_lower(endpoint.path)).second) << endpoint.path;
    EXPECT_FALSE(endpoint.out.empty()) << endpoint.operation_id;
    EXPECT_FALSE(endpoint.summary.empty()) << endpoint.operation_id;
  }
}

// docs/openapi.json is what the registry says. BOOTSEAL_UPDATE_GENERATED=1 writes it.
TEST(Endpoints, TheDocumentInTheTreeIsTheirs) {
  const std::filesystem::path path = std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "docs/openapi.json";
  const std::string wanted = json::serialize_pretty(openapi_document(endpoints()));
  if (std::getenv("BOOTSEAL_UPDATE_GENERATED") != nullptr) {
    ASSERT_TRUE(replace_file(path, as_bytes(wanted), 0644));
  }
  const auto content = read_file(path, std::size_t{8} << 20);
  ASSERT_TRUE(content);
  EXPECT_TRUE(as_text(*content) == wanted)
      << "docs/openapi.json is out of date; write it with BOOTSEAL_UPDATE_GENERATED=1 model_test";
}

TEST(OpenApi, EveryReferenceLeadsToAComponent) {
  const json::Object document = openapi_document(endpoints());
  const json::Object& schemas = document.at("components").at("schemas").as_object();
  const std::string text = json::serialize(document);
  constexpr std::string_view kReference = "#/components/schemas/";
  std::size_t count = 0;
  for (std::size_t at = text.find(kReference); at != std::string::npos; at = text.find(kReference, at + 1)) {
    const std::size_t begin = at + kReference.size();
    const std::string name = text.substr(begin, text.find('"', begin) - begin);
    EXPECT_TRUE(schemas.contains(name)) << name;
    ++count;
  }
  EXPECT_GT(count, 50U);
}

TEST(ArmError, KeepsTheWireNameAndStatusOfOurErrors) {
  const ArmError error = to_arm_error(Error{ErrorCode::guest_state_stale, "old", nullptr});
  EXPECT_EQ(error.code, "GuestStateStale");
  EXPECT_EQ(error.status, 409);
  EXPECT_EQ(from_arm_error(error).code, ErrorCode::guest_state_stale);
  EXPECT_EQ(from_arm_error(ArmError{404, "ResourceNotFound", "x", "", {}}).code, ErrorCode::not_found);
}

}  // namespace
}  // namespace bootseal::model

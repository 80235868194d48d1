// Network interfaces, passwords and scripts of VMs: what reaches the host.
#include <gmock/gmock.h>

#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class VmNetworkTest : public SiteTest {
 protected:
  VmNetworkTest() { start(); }

  std::string network(const std::string& path) const {
    return group() + "/providers/Microsoft.Network/" + path;
  }
  Reply put(const std::string& path, json::Object properties) {
    return call("PUT", network(path),
                json::Object{{"location", "local"}, {"properties", std::move(properties)}});
  }
  json::Object reference(const std::string& path) const { return {{"id", network(path)}}; }
  void make_network(const std::string& name = "v1") {
    const json::Object subnet{{"name", "s1"},
                              {"properties", json::Object{{"addressPrefix", "10.0.1.0/24"},
                                                          {"networkSecurityGroup", reference(group_name_)}}}};
    ASSERT_LT(put(group_name_, {}).status, 300);
    ASSERT_EQ(put("virtualNetworks/" + name,
                  {{"addressSpace", {{"addressPrefixes", {"10.0.0.0/16"}}}}, {"subnets", {subnet}}})
                  .status,
              201);
  }
  void make_nic(const std::string& name, const std::string& in = "v1") {
    const json::Object configuration{
        {"name", "ip1"},
        {"properties", json::Object{{"subnet", reference("virtualNetworks/" + in + "/subnets/s1")}}}};
    ASSERT_EQ(put("networkInterfaces/" + name, {{"ipConfigurations", {configuration}}}).status, 201);
  }
  json::Object vm_body(const std::vector<std::string>& nics, json::Object os = {}) const {
    json::Array references;
    for (const std::string& nic : nics) {
      json::Object one = reference("networkInterfaces/" + nic);
      one["properties"] = json::Object{{"primary", references.empty()}};
      references.emplace_back(std::move(one));
    }
    json::Object properties{{"hardwareProfile", {{"vmSize", "Standard_B1s"}}},
                            {"storageProfile", {{"imageReference", {{"offer", "mini"}}}}},
                            {"networkProfile", {{"networkInterfaces", std::move(references)}}}};
    if (!os.empty()) properties["osProfile"] = std::move(os);
    return {{"location", "local"}, {"properties", std::move(properties)}};
  }
  json::Array told(const std::string& name) {
    const auto assignment = host_.assignment(vm_id(name));
    if (!assignment || !assignment->contains("network")) return {};
    return assignment->at("network").as_array();
  }

  const std::string group_name_ = "networkSecurityGroups/g1";
};

TEST_F(VmNetworkTest, AHostIsToldTheNetworkAndTheNicNamesItsVm) {
  make_network();
  make_nic("nic1");
  ASSERT_EQ(outcome(call("PUT", vm("vm1"), vm_body({"NIC1"}))), "Succeeded");
  const json::Array interfaces = told("vm1");
  ASSERT_EQ(interfaces.size(), 1U);
  EXPECT_EQ(interfaces.at(0).at("nicId").as_string(), network("networkInterfaces/nic1"));
  EXPECT_EQ(interfaces.at(0).at("address").as_string(), "10.0.1.4");
  EXPECT_TRUE(interfaces.at(0).at("primary").as_bool());
  const Reply nic = call("GET", network("networkInterfaces/nic1"));
  EXPECT_EQ(nic.body.at_pointer("/properties/virtualMachine/id").as_string(), vm("vm1"));
  EXPECT_TRUE(nic.body.at_pointer("/properties/primary").as_bool());
  EXPECT_EQ(
      call("GET", vm("vm1")).body.at_pointer("/properties/networkProfile/networkInterfaces/0/id").as_string(),
      network("networkInterfaces/nic1"))
      << "in the spelling it was made with";
}

TEST_F(VmNetworkTest, AVmWithoutNetworkIsNotToldOfOne) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  EXPECT_FALSE(host_.assignment(vm_id("vm1"))->contains("network"));
}

TEST_F(VmNetworkTest, InterfacesOfOthersAndUnknownOnesAreRefused) {
  make_network();
  make_network("v2");
  make_nic("nic1");
  make_nic("nic2", "v2");
  EXPECT_THAT(call("PUT", vm("vm1"), vm_body({"none"})).error(), StartsWith("InvalidResourceReference: "));
  EXPECT_THAT(call("PUT", vm("vm1"), vm_body({"nic1", "nic2"})).error(),
              StartsWith("SubnetsNotInSameVnet: "));
  EXPECT_EQ(call("GET", vm("vm1")).status, 404);
  ASSERT_EQ(outcome(call("PUT", vm("vm1"), vm_body({"nic1"}))), "Succeeded");
  EXPECT_THAT(call("PUT", vm("vm2"), vm_body({"nic1"})).error(), StartsWith("NicInUse: "));
  EXPECT_THAT(call("DELETE", network("networkInterfaces/nic1")).error(), StartsWith("NicInUse: "));
  ASSERT_EQ(outcome(call("DELETE", vm("vm1"))), "Succeeded");
  EXPECT_LT(call("DELETE", network("networkInterfaces/nic1")).status, 300);
}

TEST_F(VmNetworkTest, ARuleOfTheSubnetReachesTheVmThatRuns) {
  make_network();
  make_nic("nic1");
  ASSERT_EQ(outcome(call("PUT", vm("vm1"), vm_body({"nic1"}))), "Succeeded");
  EXPECT_THAT(json::serialize(told("vm1")), Not(HasSubstr("8443")));
  const json::Object rule{{"properties", json::Object{{"protocol", "Tcp"},
                                                      {"sourcePortRange", "*"},
                                                      {"destinationPortRange", "8443"},
                                                      {"sourceAddressPrefix", "*"},
                                                      {"destinationAddressPrefix", "*"},
                                                      {"access", "Allow"},
                                                      {"priority", 200},
                                                      {"direction", "Inbound"}}}};
  ASSERT_LT(call("PUT", network(group_name_ + "/securityRules/web"), rule).status, 300);
  EXPECT_TRUE(until([&] { return json::serialize(told("vm1")).find("8443") != std::string::npos; }));
  ASSERT_LT(call("DELETE", network(group_name_ + "/securityRules/web")).status, 300);
  EXPECT_TRUE(until([&] { return json::serialize(told("vm1")).find("8443") == std::string::npos; }));
}

TEST_F(VmNetworkTest, APublicAddressOfTheInterfaceReachesTheVm) {
  make_network();
  make_nic("nic1");
  ASSERT_EQ(outcome(call("PUT", vm("vm1"), vm_body({"nic1"}))), "Succeeded");
  ASSERT_LT(put("publicIPAddresses/p1", {}).status, 300);
  const json::Object configuration{
      {"name", "ip1"},
      {"properties", json::Object{{"subnet", reference("virtualNetworks/v1/subnets/s1")},
                                  {"publicIPAddress", reference("publicIPAddresses/p1")}}}};
  ASSERT_LT(put("networkInterfaces/nic1", {{"ipConfigurations", {configuration}}}).status, 300);
  EXPECT_TRUE(until([&] { return told("vm1").at(0).as_object().contains("publicAddress"); }));
}

TEST_F(VmNetworkTest, APasswordReachesTheHostAsAHashAndNobodyElse) {
  const json::Object os{
      {"computerName", "vm1"}, {"adminUsername", "ops"}, {"adminPassword", "Correct-horse-1"}};
  const Reply made = call("PUT", vm("vm1"), vm_body({}, os));
  ASSERT_EQ(outcome(made), "Succeeded");
  EXPECT_THAT(made.text, Not(HasSubstr("assword\"")));
  const json::Value told_os = host_.assignment(vm_id("vm1"))->at("os");
  EXPECT_THAT(std::string(told_os.at("adminPasswordHash").as_string()), StartsWith("$y$"));
  EXPECT_TRUE(told_os.at("passwordAuthentication").as_bool());
  EXPECT_THAT(json::serialize(told_os), Not(HasSubstr("Correct-horse-1")));
  const std::string answer = call("GET", vm("vm1")).text;
  EXPECT_THAT(answer, Not(HasSubstr("$y$")));
  EXPECT_THAT(answer, Not(HasSubstr("Correct-horse-1")));
  // A template that is deployed again says the same password; another one is refused.
  EXPECT_EQ(call("PUT", vm("vm1"), vm_body({}, os)).status, 200);
  json::Object other = os;
  other["adminPassword"] = "Correct-horse-2";
  EXPECT_THAT(call("PUT", vm("vm1"), vm_body({}, other)).error(), StartsWith("PropertyChangeNotAllowed: "));
}

}  // namespace
}  // namespace bootseal::api::testing

#include "network.h"

#include <gmock/gmock.h>

#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class NetworkTest : public SiteTest {
 protected:
  NetworkTest() { start(); }

  std::string network(const std::string& path) const {
    return group() + "/providers/Microsoft.Network/" + path;
  }
  Reply put(const std::string& path, json::Object properties, const net::HeaderList& headers = {}) {
    return call("PUT", network(path),
                json::Object{{"location", "local"}, {"properties", std::move(properties)}}, headers);
  }
  Reply put_network(const std::string& name, const std::string& prefix, json::Array subnets) {
    return put("virtualNetworks/" + name,
               {{"addressSpace", {{"addressPrefixes", {prefix}}}}, {"subnets", std::move(subnets)}});
  }
  static json::Object subnet(const std::string& name, const std::string& prefix) {
    return {{"name", name}, {"properties", {{"addressPrefix", prefix}}}};
  }
  json::Object reference(const std::string& path) const { return {{"id", network(path)}}; }
  Reply put_nic(const std::string& name, json::Object configuration, json::Object more = {}) {
    more["ipConfigurations"] =
        json::Array{json::Object{{"name", "ip1"}, {"properties", std::move(configuration)}}};
    return put("networkInterfaces/" + name, std::move(more));
  }
  static std::string address_of(const Reply& nic) {
    if (nic.status >= 300) return nic.error();
    return std::string(
        nic.body.at_pointer("/properties/ipConfigurations/0/properties/privateIPAddress").as_string());
  }
};

TEST_F(NetworkTest, AVirtualNetworkIsMadeAnsweredListedAndDeleted) {
  const Reply made = put_network("v1", "10.0.0.0/16", {subnet("s1", "10.0.1.0/24")});
  ASSERT_EQ(made.status, 201) << made.text;
  EXPECT_EQ(made.body.at("type").as_string(), "Microsoft.Network/virtualNetworks");
  EXPECT_EQ(made.body.at_pointer("/properties/provisioningState").as_string(), "Succeeded");
  EXPECT_EQ(made.body.at_pointer("/properties/subnets/0/id").as_string(),
            network("virtualNetworks/v1/subnets/s1"));
  EXPECT_EQ(made.header("ETag"), made.body.at("etag").as_string());
  EXPECT_EQ(put_network("v1", "10.0.0.0/16", {subnet("s1", "10.0.1.0/24")}).status, 200);
  const Reply listed =
      call("GET", "/subscriptions/" + subscription_ + "/providers/microsoft.network/virtualnetworks");
  ASSERT_EQ(listed.body.at("value").as_array().size(), 1U);
  EXPECT_EQ(listed.body.at_pointer("/value/0/id").as_string(), network("virtualNetworks/v1"));
  EXPECT_EQ(call("GET", network("virtualNetworks")).body.at("value").as_array().size(), 1U);
  EXPECT_EQ(call("DELETE", network("virtualNetworks/V1")).status, 200);
  EXPECT_EQ(call("DELETE", network("virtualNetworks/v1")).status, 204);
  EXPECT_THAT(call("GET", network("virtualNetworks/v1")).error(), StartsWith("ResourceNotFound: "));
}

TEST_F(NetworkTest, ASubnetIsItsNetworksPart) {
  ASSERT_EQ(put_network("v1", "10.0.0.0/16", {subnet("s1", "10.0.1.0/24")}).status, 201);
  const std::string path = network("virtualNetworks/v1/subnets/");
  const Reply made = call("PUT", path + "s2", subnet("s2", "10.0.2.0/24"));
  ASSERT_EQ(made.status, 201) << made.text;
  EXPECT_EQ(made.body.at("id").as_string(), path + "s2");
  EXPECT_EQ(call("PUT", path + "S2", subnet("s2", "10.0.2.0/25")).status, 200);
  EXPECT_EQ(
      call("GET", network("virtualNetworks/v1")).body.at_pointer("/properties/subnets").as_array().size(),
      2U);
  EXPECT_EQ(call("GET", path + "s2").body.at_pointer("/properties/addressPrefix").as_string(), "10.0.2.0/25");
  EXPECT_EQ(call("GET", network("virtualNetworks/v1/subnets")).body.at("value").as_array().size(), 2U);
  EXPECT_EQ(call("DELETE", path + "s1").status, 200);
  EXPECT_EQ(call("DELETE", path + "s1").status, 204);
  EXPECT_EQ(call("GET", path + "s1").status, 404);
  EXPECT_THAT(call("PUT", network("virtualNetworks/v9/subnets/s1"), subnet("s1", "10.0.1.0/24")).error(),
              StartsWith("ParentResourceNotFound: "));
}

TEST_F(NetworkTest, RangesThatCannotBeAreRefusedAndChangeNothing) {
  const auto error = [&](const std::string& prefix, json::Array subnets) {
    return put_network("bad", prefix, std::move(subnets)).error();
  };
  EXPECT_THAT(error("10.0.0.0", {}), StartsWith("InvalidAddressPrefixFormat: "));
  EXPECT_THAT(error("10.0.0.0/40", {}), StartsWith("InvalidAddressPrefixFormat: "));
  EXPECT_THAT(error("10.0.0.1/16", {}), HasSubstr("should be 10.0.0.0/16"));
  EXPECT_THAT(error("10.0.0.0/30", {}), StartsWith("InvalidAddressPrefixLength: "));
  EXPECT_THAT(error("10.0.0.0/16", {subnet("a", "10.1.0.0/24")}), StartsWith("NetcfgInvalidSubnet: "));
  EXPECT_THAT(error("10.0.0.0/16", {subnet("a", "10.0.0.0/24"), subnet("b", "10.0.0.128/25")}),
              StartsWith("NetcfgSubnetRangesOverlap: "));
  EXPECT_THAT(error("fd00::/64", {}), StartsWith("UnsupportedAddressFamily: "));
  EXPECT_THAT(error("10.0.0.0/16", {subnet("a/b", "10.0.0.0/24")}), StartsWith("InvalidResourceName: "));
  EXPECT_EQ(call("GET", network("virtualNetworks/bad")).status, 404);
}

TEST_F(NetworkTest, AnInterfaceGetsTheLowestFreeAddressOfItsSubnet) {
  ASSERT_EQ(put_network("v1", "10.0.0.0/16", {subnet("s1", "10.0.1.0/29")}).status, 201);
  const json::Object in_subnet{{"subnet", reference("virtualNetworks/v1/subnets/s1")}};
  const Reply first = put_nic("n1", in_subnet);
  ASSERT_EQ(first.status, 201) << first.text;
  EXPECT_EQ(address_of(first), "10.0.1.4");
  EXPECT_THAT(std::string(first.body.at_pointer("/properties/macAddress").as_string()),
              ::testing::MatchesRegex("00-0D-3A-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]"));
  EXPECT_EQ(first.body.at_pointer("/properties/ipConfigurations/0/id").as_string(),
            network("networkInterfaces/n1/ipConfigurations/ip1"));
  EXPECT_EQ(address_of(put_nic("n2", in_subnet)), "10.0.1.5");
  EXPECT_EQ(address_of(put_nic("n3", in_subnet)), "10.0.1.6");
  EXPECT_THAT(put_nic("n4", in_subnet).error(), StartsWith("SubnetIsFull: "));
  // Freed at deletion; kept by a change.
  ASSERT_EQ(call("DELETE", network("networkInterfaces/n1")).status, 200);
  EXPECT_EQ(address_of(put_nic("n3", in_subnet, {{"enableIPForwarding", true}})), "10.0.1.6");
  EXPECT_EQ(address_of(put_nic("n4", in_subnet)), "10.0.1.4");
  const Reply shown = call("GET", network("virtualNetworks/v1/subnets/s1"));
  EXPECT_EQ(shown.body.at_pointer("/properties/ipConfigurations").as_array().size(), 3U);
}

TEST_F(NetworkTest, AStaticAddressIsHonouredOrRefused) {
  ASSERT_EQ(put_network("v1", "10.0.0.0/16", {subnet("s1", "10.0.1.0/24")}).status, 201);
  const auto with = [&](const std::string& address) {
    return json::Object{{"subnet", reference("virtualNetworks/v1/subnets/s1")},
                        {"privateIPAllocationMethod", "static"},
                        {"privateIPAddress", address}};
  };
  EXPECT_EQ(address_of(put_nic("n1", with("10.0.1.77"))), "10.0.1.77");
  EXPECT_THAT(put_nic("n2", with("10.0.1.77")).error(), StartsWith("PrivateIPAddressIsAllocated: "));
  EXPECT_THAT(put_nic("n2", with("10.0.2.5")).error(), StartsWith("PrivateIPAddressNotInSubnet: "));
  EXPECT_THAT(put_nic("n2", with("10.0.1.3")).error(), StartsWith("PrivateIPAddressInReservedRange: "));
  EXPECT_THAT(put_nic("n2", with("10.0.1.255")).error(), StartsWith("PrivateIPAddressInReservedRange: "));
  EXPECT_THAT(put_nic("n2", with("somewhere")).error(), StartsWith("InvalidIPAddressFormat: "));
  EXPECT_EQ(address_of(put_nic("n2", {{"subnet", reference("virtualNetworks/v1/subnets/s1")}})), "10.0.1.4");
}

TEST_F(NetworkTest, WhatAnotherResourceUsesIsNotDeleted) {
  ASSERT_EQ(
      put_network("v1", "10.0.0.0/16", {subnet("s1", "10.0.1.0/24"), subnet("s2", "10.0.2.0/24")}).status,
      201);
  ASSERT_EQ(put("networkSecurityGroups/g1", {}).status, 201);
  ASSERT_EQ(put("publicIPAddresses/p1", {}).status, 201);
  const Reply nic = put_nic("n1",
                            {{"subnet", reference("virtualNetworks/v1/subnets/s1")},
                             {"publicIPAddress", reference("publicIPAddresses/P1")}},
                            {{"networkSecurityGroup", reference("networkSecurityGroups/g1")}});
  ASSERT_EQ(nic.status, 201) << nic.text;
  EXPECT_THAT(call("DELETE", network("virtualNetworks/v1")).error(),
              StartsWith("InUseSubnetCannotBeDeleted: "));
  EXPECT_THAT(call("DELETE", network("virtualNetworks/v1/subnets/s1")).error(),
              StartsWith("InUseSubnetCannotBeDeleted: "));
  EXPECT_THAT(put_network("v1", "10.0.0.0/16", {subnet("s2", "10.0.2.0/24")}).error(),
              StartsWith("InUseSubnetCannotBeDeleted: "));
  EXPECT_THAT(put_network("v1", "10.0.0.0/16", {subnet("s1", "10.0.3.0/24")}).error(),
              StartsWith("InUsePrefixCannotBeDeleted: "));
  EXPECT_EQ(call("DELETE", network("virtualNetworks/v1/subnets/s2")).status, 200);
  EXPECT_THAT(call("DELETE", network("networkSecurityGroups/g1")).error(),
              StartsWith("InUseNetworkSecurityGroupCannotBeDeleted: "));
  EXPECT_THAT(call("DELETE", network("publicIPAddresses/p1")).error(),
              StartsWith("PublicIPAddressCannotBeDeleted: "));
  const std::string configuration = network("networkInterfaces/n1/ipConfigurations/ip1");
  EXPECT_EQ(call("GET", network("publicIPAddresses/p1"))
                .body.at_pointer("/properties/ipConfiguration/id")
                .as_string(),
            configuration);
  EXPECT_EQ(call("GET", network("networkSecurityGroups/g1"))
                .body.at_pointer("/properties/networkInterfaces/0/id")
                .as_string(),
            network("networkInterfaces/n1"));
  EXPECT_THAT(put_nic("n2", {{"subnet", reference("virtualNetworks/v1/subnets/s1")},
                             {"publicIPAddress", reference("publicIPAddresses/p1")}})
                  .error(),
              StartsWith("PublicIPAddressInUse: "));
  for (const char* path :
       {"networkInterfaces/n1", "publicIPAddresses/p1", "networkSecurityGroups/g1", "virtualNetworks/v1"}) {
    EXPECT_EQ(call("DELETE", network(path)).status, 200) << path;
  }
}

TEST_F(NetworkTest, ReferencesToWhatIsNotThereAreRefused) {
  EXPECT_THAT(put_nic("n1", {{"subnet", reference("virtualNetworks/v1/subnets/s1")}}).error(),
              StartsWith("InvalidResourceReference: "));
  EXPECT_THAT(put_nic("n1", {{"subnet", {{"id", group()}}}}).error(),
              StartsWith("LinkedInvalidPropertyId: "));
  EXPECT_THAT(put_nic("n1", {}).error(), StartsWith("SubnetMissingInIpConfiguration: "));
  json::Object with_group = subnet("s1", "10.0.1.0/24");
  with_group["properties"].as_object()["networkSecurityGroup"] = reference("networkSecurityGroups/none");
  EXPECT_THAT(put_network("v1", "10.0.0.0/16", {with_group}).error(),
              StartsWith("InvalidResourceReference: "));
}

TEST_F(NetworkTest, EachPublicAddressIsOneOfThePool) {
  const auto address = [](const Reply& reply) {
    return std::string(reply.body.at_pointer("/properties/ipAddress").as_string());
  };
  EXPECT_EQ(address(put("publicIPAddresses/p1", {})), "127.64.0.1");
  EXPECT_EQ(address(put("publicIPAddresses/p2", {})), "127.64.0.2");
  EXPECT_EQ(address(put("publicIPAddresses/p1", {{"idleTimeoutInMinutes", 5}})), "127.64.0.1");
  ASSERT_EQ(call("DELETE", network("publicIPAddresses/p1")).status, 200);
  crash();
  start();
  EXPECT_EQ(address(call("GET", network("publicIPAddresses/p2"))), "127.64.0.2");
  EXPECT_EQ(address(put("publicIPAddresses/p3", {{"publicIPAllocationMethod", "dynamic"}})), "127.64.0.1");
  EXPECT_THAT(put("publicIPAddresses/p4", {{"publicIPAddressVersion", "IPv6"}}).error(),
              StartsWith("UnsupportedAddressFamily: "));
}

TEST_F(NetworkTest, RulesAreResourcesOfTheirOwnInAnySpelling) {
  ASSERT_EQ(put("networkSecurityGroups/g1", {}).status, 201);
  const auto rule = [](int priority) {
    return json::Object{{"properties",
                         {{"access", "allow"},
                          {"direction", "inbound"},
                          {"protocol", "tcp"},
                          {"priority", priority},
                          {"sourceAddressPrefix", "*"},
                          {"sourcePortRange", "*"},
                          {"destinationAddressPrefix", "*"},
                          {"destinationPortRange", "22"}}}};
  };
  const std::string rules = network("networkSecurityGroups/g1/securityRules/");
  const Reply made = call("PUT", rules + "ssh", rule(100));
  ASSERT_EQ(made.status, 201) << made.text;
  EXPECT_EQ(made.body.at_pointer("/properties/protocol").as_string(), "Tcp");
  EXPECT_EQ(made.body.at_pointer("/properties/access").as_string(), "Allow");
  EXPECT_EQ(made.body.at_pointer("/properties/direction").as_string(), "Inbound");
  EXPECT_THAT(call("PUT", rules + "other", rule(100)).error(), StartsWith("SecurityRuleConflict: "));
  const Reply shown = call("GET", network("networkSecurityGroups/g1"));
  EXPECT_EQ(shown.body.at_pointer("/properties/securityRules").as_array().size(), 1U);
  EXPECT_EQ(shown.body.at_pointer("/properties/defaultSecurityRules").as_array().size(), 6U);
  EXPECT_EQ(call("DELETE", rules + "SSH").status, 200);
  EXPECT_TRUE(
      call("GET", network("networkSecurityGroups/g1/securityRules")).body.at("value").as_array().empty());
}

TEST_F(NetworkTest, ETagsGuardAgainstLostChanges) {
  const Reply made = put("publicIPAddresses/p1", {});
  const std::string etag = made.header("ETag");
  EXPECT_THAT(put("publicIPAddresses/p1", {}, {{"If-None-Match", "*"}}).error(),
              StartsWith("PreconditionFailed: "));
  EXPECT_EQ(put("publicIPAddresses/p1", {{"idleTimeoutInMinutes", 9}}, {{"If-Match", etag}}).status, 200);
  EXPECT_THAT(put("publicIPAddresses/p1", {}, {{"If-Match", etag}}).error(),
              StartsWith("PreconditionFailed: "));
  EXPECT_THAT(call("DELETE", network("publicIPAddresses/p1"), nullptr, {{"If-Match", etag}}).error(),
              StartsWith("PreconditionFailed: "));
  EXPECT_THAT(put("publicIPAddresses/p2", {}, {{"If-Match", "*"}}).error(),
              StartsWith("PreconditionFailed: "));
}

TEST_F(NetworkTest, TheEnvelopeIsHeldToAzuresRules) {
  const std::string path = network("publicIPAddresses/p1");
  EXPECT_THAT(call("PUT", path, json::Object{}).error(), StartsWith("LocationRequired: "));
  EXPECT_THAT(call("PUT", path, json::Object{{"location", "mars"}}).error(),
              StartsWith("LocationNotAvailableForResourceType: "));
  EXPECT_THAT(call("PUT", path, json::Object{{"location", "local"}, {"name", "other"}}).error(),
              StartsWith("InvalidRequestContent: "));
  EXPECT_THAT(call("PUT", path, json::Object{{"location", "local"}, {"colour", "blue"}}).error(),
              StartsWith("InvalidRequestContent: "));
  EXPECT_THAT(call("PUT", network("publicIPAddresses/p-"), json::Object{{"location", "local"}}).error(),
              StartsWith("InvalidResourceName: "));
  EXPECT_THAT(call("PUT", network("loadBalancers/l"), json::Object{{"location", "local"}}).error(),
              StartsWith("InvalidResourceType: "));
  EXPECT_THAT(call("PUT", group() + "/providers/Contoso.Web/sites/s", json::Object{}).error(),
              StartsWith("InvalidResourceNamespace: "));
  const Reply patched = [&] {
    EXPECT_EQ(call("PUT", path, json::Object{{"location", "Local"}, {"tags", {{"a", "b"}}}}).status, 201);
    return call("PATCH", path, json::Object{{"tags", {{"c", "d"}}}});
  }();
  EXPECT_EQ(json::serialize(patched.body.at("tags")), R"({"c":"d"})");
  EXPECT_EQ(patched.body.at("location").as_string(), "local");
}

}  // namespace
}  // namespace bootseal::api::testing

// Microsoft.Network: what clients may send and what they get. Read-only members are computed by the
// providers.
#include "endpoint_parts.h"
#include "resource_types.h"

namespace bootseal::model {
namespace {

constexpr std::size_t kMaximumPrefixes = 128;
constexpr std::size_t kMaximumPorts = 256;
constexpr std::size_t kMaximumRules = 1000;
constexpr std::size_t kMaximumSubnets = 3000;

std::vector<std::string> versions() {
  return {"2022-07-01", "2022-05-01", "2022-01-01", "2021-08-01", "2020-11-01", "2015-06-15"};
}

Field read_only(std::string name, SchemaRef schema = any_schema()) {
  return {std::move(name), std::move(schema), false, true};
}

SchemaRef strings(std::size_t maximum) {
  return array_schema(string_schema(256), maximum);
}

// An element of an array that is a resource of its own.
SchemaRef part(std::string name, SchemaRef properties) {
  return object_schema(std::move(name), {{"name", string_schema(128)},
                                         read_only("id", text()),
                                         read_only("type", text()),
                                         read_only("etag", text()),
                                         {"properties", std::move(properties)}});
}

SchemaRef subnet_properties() {
  const SchemaRef policies = string_schema(64);
  return object_schema("SubnetProperties", {{"addressPrefix", string_schema(64)},
                                            {"addressPrefixes", strings(kMaximumPrefixes)},
                                            {"networkSecurityGroup", reference_schema()},
                                            {"serviceEndpoints", array_schema(any_schema(), 64)},
                                            {"delegations", array_schema(any_schema(), 16)},
                                            {"privateEndpointNetworkPolicies", policies},
                                            {"privateLinkServiceNetworkPolicies", policies},
                                            {"defaultOutboundAccess", boolean_schema()},
                                            read_only("ipConfigurations"),
                                            read_only("privateEndpoints"),
                                            read_only("purpose"),
                                            read_only("provisioningState", text())});
}

SchemaRef rule_properties() {
  return object_schema("SecurityRuleProperties",
                       {{"description", string_schema(140)},
                        {"protocol", enum_schema({"Tcp", "Udp", "Icmp", "Esp", "Ah", "*"}), true},
                        {"sourcePortRange", string_schema(64)},
                        {"sourcePortRanges", strings(kMaximumPorts)},
                        {"destinationPortRange", string_schema(64)},
                        {"destinationPortRanges", strings(kMaximumPorts)},
                        {"sourceAddressPrefix", string_schema(64)},
                        {"sourceAddressPrefixes", strings(kMaximumPrefixes)},
                        {"destinationAddressPrefix", string_schema(64)},
                        {"destinationAddressPrefixes", strings(kMaximumPrefixes)},
                        {"sourceApplicationSecurityGroups", array_schema(any_schema(), 10)},
                        {"destinationApplicationSecurityGroups", array_schema(any_schema(), 10)},
                        {"access", enum_schema({"Allow", "Deny"}), true},
                        {"priority", integer_schema(), true},
                        {"direction", enum_schema({"Inbound", "Outbound"}), true},
                        read_only("provisioningState", text())});
}

SchemaRef virtual_network() {
  const SchemaRef properties =
      object_schema("VirtualNetworkProperties",
                    {{"addressSpace",
                      object_schema("AddressSpace", {{"addressPrefixes", strings(kMaximumPrefixes)}}), true},
                     {"dhcpOptions", object_schema("DhcpOptions", {{"dnsServers", strings(25)}})},
                     {"flowTimeoutInMinutes", integer_schema()},
                     {"subnets", array_schema(part("SubnetPart", subnet_properties()), kMaximumSubnets)},
                     {"virtualNetworkPeerings", array_schema(any_schema(), 16)},
                     {"enableDdosProtection", boolean_schema()},
                     {"enableVmProtection", boolean_schema()},
                     {"privateEndpointVNetPolicies", string_schema(32)},
                     {"bgpCommunities", any_schema(), false, true},
                     read_only("resourceGuid", text()),
                     read_only("provisioningState", text())});
  return object_schema("VirtualNetwork", {{"properties", properties}});
}

SchemaRef security_group() {
  const SchemaRef properties = object_schema(
      "NetworkSecurityGroupProperties",
      {{"securityRules", array_schema(part("SecurityRulePart", rule_properties()), kMaximumRules)},
       {"flushConnection", boolean_schema()},
       read_only("defaultSecurityRules"),
       read_only("networkInterfaces"),
       read_only("subnets"),
       read_only("resourceGuid", text()),
       read_only("provisioningState", text())});
  return object_schema("NetworkSecurityGroup", {{"properties", properties}});
}

SchemaRef public_address() {
  const SchemaRef dns = object_schema("PublicIPAddressDnsSettings", {{"domainNameLabel", string_schema(63)},
                                                                     {"fqdn", string_schema(253)},
                                                                     {"reverseFqdn", string_schema(253)}});
  const SchemaRef properties = object_schema(
      "PublicIPAddressProperties", {{"publicIPAllocationMethod", enum_schema({"Dynamic", "Static"})},
                                    {"publicIPAddressVersion", enum_schema({"IPv4", "IPv6"})},
                                    {"idleTimeoutInMinutes", integer_schema()},
                                    {"dnsSettings", dns},
                                    {"ddosSettings", any_schema()},
                                    {"ipTags", array_schema(any_schema(), 16)},
                                    {"deleteOption", enum_schema({"Delete", "Detach"})},
                                    read_only("ipAddress", text()),
                                    read_only("ipConfiguration"),
                                    read_only("resourceGuid", text()),
                                    read_only("provisioningState", text())});
  return object_schema(
      "PublicIPAddress",
      {{"sku", object_schema("PublicIPAddressSku", {{"name", enum_schema({"Basic", "Standard"})},
                                                    {"tier", enum_schema({"Regional", "Global"})}})},
       {"zones", array_schema(string_schema(16), 3)},
       {"properties", properties}});
}

SchemaRef network_interface() {
  const SchemaRef ip_properties = object_schema(
      "IPConfigurationProperties", {{"privateIPAddress", string_schema(64)},
                                    {"privateIPAllocationMethod", enum_schema({"Dynamic", "Static"})},
                                    {"privateIPAddressVersion", enum_schema({"IPv4", "IPv6"})},
                                    {"subnet", reference_schema()},
                                    {"publicIPAddress", reference_schema()},
                                    {"primary", boolean_schema()},
                                    read_only("provisioningState", text())});
  const SchemaRef dns =
      object_schema("NetworkInterfaceDnsSettings", {{"dnsServers", strings(25)},
                                                    {"internalDnsNameLabel", string_schema(63)},
                                                    read_only("appliedDnsServers"),
                                                    read_only("internalFqdn"),
                                                    read_only("internalDomainNameSuffix")});
  const SchemaRef properties =
      object_schema("NetworkInterfaceProperties",
                    {{"ipConfigurations", array_schema(part("IPConfiguration", ip_properties), 16), true},
                     {"networkSecurityGroup", reference_schema()},
                     {"dnsSettings", dns},
                     {"enableAcceleratedNetworking", boolean_schema()},
                     {"enableIPForwarding", boolean_schema()},
                     {"disableTcpStateTracking", boolean_schema()},
                     {"nicType", enum_schema({"Standard", "Elastic"})},
                     {"auxiliaryMode", string_schema(32)},
                     {"auxiliarySku", string_schema(32)},
                     read_only("primary", boolean_schema()),
                     read_only("macAddress", text()),
                     read_only("virtualMachine"),
                     read_only("hostedWorkloads"),
                     read_only("tapConfigurations"),
                     read_only("vnetEncryptionSupported"),
                     read_only("resourceGuid", text()),
                     read_only("provisioningState", text())});
  return object_schema("NetworkInterface", {{"properties", properties}});
}

ResourceType type_of(std::string type, std::string operations, std::string singular, SchemaRef schema) {
  ResourceType result;
  result.provider = "Microsoft.Network";
  result.type = std::move(type);
  result.operations = std::move(operations);
  result.singular = std::move(singular);
  result.api_versions = versions();
  result.schema = std::move(schema);
  return result;
}

ResourceType embedded(ResourceType type, std::string member) {
  type.service = ResourceType::Service::embedded;
  type.embedded_member = std::move(member);
  type.tracked = false;
  type.has_patch = false;
  return type;
}

}  // namespace

std::vector<ResourceType> network_types() {
  ResourceType network = type_of("virtualNetworks", "VirtualNetworks", "virtual network", virtual_network());
  network.minimum_name = 2;
  network.maximum_name = 64;
  return {
      std::move(network),
      embedded(type_of("virtualNetworks/subnets", "Subnets", "subnet",
                       object_schema("Subnet", {{"properties", subnet_properties()}})),
               "subnets"),
      type_of("networkSecurityGroups", "NetworkSecurityGroups", "network security group", security_group()),
      embedded(type_of("networkSecurityGroups/securityRules", "SecurityRules", "security rule",
                       object_schema("SecurityRule", {{"properties", rule_properties()}})),
               "securityRules"),
      type_of("publicIPAddresses", "PublicIPAddresses", "public IP address", public_address()),
      type_of("networkInterfaces", "NetworkInterfaces", "network interface", network_interface())};
}

}  // namespace bootseal::model

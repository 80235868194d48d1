// What the providers of Microsoft.Network share, and what others ask about networks.
#pragma once

#include "bootseal/model/address.h"
#include "bootseal/model/security_rules.h"
#include "resource_provider.h"

namespace bootseal::api {

inline constexpr std::string_view kVirtualNetworks = "Microsoft.Network/virtualNetworks";
inline constexpr std::string_view kSubnets = "Microsoft.Network/virtualNetworks/subnets";
inline constexpr std::string_view kSecurityGroups = "Microsoft.Network/networkSecurityGroups";
inline constexpr std::string_view kPublicAddresses = "Microsoft.Network/publicIPAddresses";
inline constexpr std::string_view kNetworkInterfaces = "Microsoft.Network/networkInterfaces";

// A subnet as its network holds it.
struct Subnet {
  ResourcePointer network;
  json::Object stored;  // {name, properties}
  model::ResourceId id;
  model::Ipv4Prefix prefix;
};
// 400 LinkedInvalidPropertyId, InvalidResourceReference.
model::ArmResult<Subnet> find_subnet(Service& service, const model::ResourceId& referrer,
                                     std::string_view id);

// The IP configurations of all network interfaces that name `id` (a subnet or a public address).
struct IpConfigurationUse {
  ResourcePointer interface;
  std::string name;
  std::string private_address;
  [[nodiscard]] std::string id() const { return interface->id.to_string() + "/ipConfigurations/" + name; }
};
model::ArmResult<std::vector<IpConfigurationUse>> configurations_using(Service& service,
                                                                       std::string_view member,
                                                                       const model::ResourceId& id);
// [{"id": …}, …]
json::Array reference_list(const std::vector<std::string>& ids);

// Puts the id of a referenced resource into the spelling it was made with, and leaves nothing beside it.
model::ArmStatus settle_reference(Service& service, const model::ResourceId& referrer, json::Object& holder,
                                  std::string_view member, std::string_view type);

std::unique_ptr<ResourceProvider> make_virtual_network_provider();
std::unique_ptr<ResourceProvider> make_security_group_provider();
std::unique_ptr<ResourceProvider> make_public_address_provider();
std::unique_ptr<ResourceProvider> make_network_interface_provider();

// Everything a host needs to know of one network interface (docs/architecture.md, Assignment: `network`).
struct InterfaceFacts {
  std::string nic_id;      // the resource id
  std::string mac;         // "00:0d:3a:…"
  std::string network_id;  // resourceGuid of the virtual network: one per network
  model::Ipv4Prefix subnet;
  model::Ipv4Address address;
  model::Ipv4Address gateway;
  std::vector<std::string> dns;
  std::string public_address;  // empty = none
  bool primary = false;
  std::vector<model::HostRule> inbound;
  std::vector<model::HostRule> outbound;

  [[nodiscard]] json::Object to_json() const;
};
// Of the primary IP configuration of an interface, by its id. 400 InvalidResourceReference.
model::ArmResult<InterfaceFacts> interface_facts(Service& service, const model::ResourceId& referrer,
                                                 std::string_view nic_id, bool primary);

}  // namespace bootseal::api

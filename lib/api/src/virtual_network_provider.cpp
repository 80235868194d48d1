// Virtual networks and their subnets.
#include <fmt/format.h>

#include "bootseal/base/ids.h"
#include "members.h"
#include "network.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;
using model::Ipv4Prefix;

constexpr unsigned kShortestPrefix = 2;
constexpr unsigned kLongestPrefix = 29;

ArmResult<Ipv4Prefix> parse_prefix(const std::string& text, const model::ResourceId& owner) {
  if (text.find(':') != std::string::npos) {
    return model::refuse(
        400, "UnsupportedAddressFamily",
        fmt::format("Address prefix {} of resource {} is of IPv6; this site's networks have IPv4 "
                    "only. Leave it out.",
                    text.substr(0, 64), owner.to_string()),
        "addressPrefix");
  }
  const auto prefix = Ipv4Prefix::parse(text);
  if (!prefix || text.find('/') == std::string::npos) {
    return model::refuse(
        400, "InvalidAddressPrefixFormat",
        fmt::format("Address prefix {} of resource {} is not formatted correctly. It should follow "
                    "CIDR notation, for example 10.0.0.0/24.",
                    text.substr(0, 64), owner.to_string()),
        "addressPrefix");
  }
  if (prefix->to_string() != text) {
    return model::refuse(
        400, "InvalidCIDRNotation",
        fmt::format("The address prefix {} in resource {} has an invalid CIDR notation. For the "
                    "given prefix length, the address prefix should be {}.",
                    text, owner.to_string(), prefix->to_string()),
        "addressPrefix");
  }
  if (prefix->length < kShortestPrefix || prefix->length > kLongestPrefix) {
    return model::refuse(
        400, "InvalidAddressPrefixLength",
        fmt::format("Address prefix {} of resource {} has an invalid length: it must be from /{} to "
                    "/{}.",
                    text, owner.to_string(), kShortestPrefix, kLongestPrefix),
        "addressPrefix");
  }
  return *prefix;
}

ArmResult<std::vector<Ipv4Prefix>> address_space(const model::ResourceId& id,
                                                 const json::Object& properties) {
  std::vector<Ipv4Prefix> space;
  for (const json::Value& text : array_member(object_member(properties, "addressSpace"), "addressPrefixes")) {
    BOOTSEAL_ARM_TRY(const Ipv4Prefix prefix, parse_prefix(std::string(text.get_string()), id));
    for (const Ipv4Prefix& other : space) {
      if (!prefix.overlaps(other)) continue;
      return model::refuse(400, "NetcfgAddressSpaceOverlap",
                           fmt::format("Address prefixes {} and {} of virtual network '{}' overlap.",
                                       other.to_string(), prefix.to_string(), id.name),
                           "addressSpace");
    }
    space.push_back(prefix);
  }
  if (space.empty()) {
    return model::refuse(400, "VirtualNetworkAddressSpaceMissing",
                         fmt::format("Virtual network '{}' needs at least one address prefix in "
                                     "addressSpace.addressPrefixes.",
                                     id.name),
                         "addressSpace");
  }
  return space;
}

struct NamedPrefix {
  std::string name;
  Ipv4Prefix prefix;
};

// The prefix of a subnet: one, in either of its two members.
ArmResult<Ipv4Prefix> subnet_prefix(const model::ResourceId& id, json::Object& properties) {
  std::string text = text_member(properties, "addressPrefix");
  const json::Array& many = array_member(properties, "addressPrefixes");
  if (many.size() > 1) {
    return model::refuse(400, "SubnetWithMultiplePrefixes",
                         fmt::format("Subnet {} has {} address prefixes; this site's subnets have one.",
                                     id.to_string(), many.size()),
                         "addressPrefixes");
  }
  if (text.empty() && !many.empty() && many[0].is_string()) text = std::string(many[0].get_string());
  if (text.empty()) {
    return model::refuse(400, "SubnetAddressPrefixMissing",
                         fmt::format("Subnet {} has no addressPrefix.", id.to_string()), "addressPrefix");
  }
  BOOTSEAL_ARM_TRY(const Ipv4Prefix prefix, parse_prefix(text, id));
  properties["addressPrefix"] = prefix.to_string();
  properties.erase("addressPrefixes");
  return prefix;
}

ArmStatus check_subnet_place(const model::ResourceId& network, const NamedPrefix& subnet,
                             const std::vector<Ipv4Prefix>& space, const std::vector<NamedPrefix>& earlier) {
  const bool inside = std::any_of(space.begin(), space.end(),
                                  [&](const Ipv4Prefix& prefix) { return prefix.contains(subnet.prefix); });
  if (!inside) {
    return model::refuse(
        400, "NetcfgInvalidSubnet",
        fmt::format("Subnet '{}' is not valid in virtual network '{}': {} is not within its address "
                    "space.",
                    subnet.name, network.name, subnet.prefix.to_string()),
        "addressPrefix");
  }
  for (const NamedPrefix& other : earlier) {
    if (model::equal_ignoring_case(other.name, subnet.name)) {
      return model::refuse(
          400, "InvalidRequestFormat",
          fmt::format("Virtual network '{}' names two subnets '{}'.", network.name, subnet.name), "subnets");
    }
    if (!other.prefix.overlaps(subnet.prefix)) continue;
    return model::refuse(
        400, "NetcfgSubnetRangesOverlap",
        fmt::format("Subnet '{}' is not valid because its IP address range overlaps with that of an "
                    "existing subnet '{}' in virtual network '{}'.",
                    subnet.name, other.name, network.name),
        "addressPrefix");
  }
  return {};
}

class VirtualNetworkProvider final : public ResourceProvider {
 public:
  ArmStatus prepare(Service& service, const Caller& /*caller*/, Draft& draft) override {
    json::Object& properties = draft.record.properties();
    BOOTSEAL_ARM_TRY_STATUS(check_unsupported(properties));
    BOOTSEAL_ARM_TRY(const auto space, address_space(draft.record.id, properties));
    for (const char* flag : {"enableDdosProtection", "enableVmProtection"})
      set_default(properties, flag, false);
    // Azure keeps the subnets of a network that is sent without the member.
    if (draft.existing != nullptr && !properties.contains("subnets"))
      properties["subnets"] = array_member(draft.existing->properties(), "subnets");
    std::vector<NamedPrefix> subnets;
    for (json::Value& value : make_array_member(properties, "subnets")) {
      BOOTSEAL_ARM_TRY(NamedPrefix subnet, prepare_subnet(service, draft.record.id, value.get_object()));
      BOOTSEAL_ARM_TRY_STATUS(check_subnet_place(draft.record.id, subnet, space, subnets));
      subnets.push_back(std::move(subnet));
    }
    if (draft.existing != nullptr)
      BOOTSEAL_ARM_TRY_STATUS(check_used_subnets(service, *draft.existing, subnets));
    if (!draft.record.state.contains("resourceGuid"))
      draft.record.state["resourceGuid"] = Guid::random().to_string();
    return {};
  }

  void complete(Service& service, const ResourceRecord& record, json::Object& answer) override {
    json::Object& properties = answer["properties"].get_object();
    properties["resourceGuid"] = text_member(record.state, "resourceGuid");
    set_default(properties, "virtualNetworkPeerings", json::Array());
    for (json::Value& value : make_array_member(properties, "subnets")) {
      json::Object& subnet = value.get_object()["properties"].get_object();
      set_default(subnet, "delegations", json::Array());
      set_default(subnet, "privateEndpointNetworkPolicies", "Disabled");
      set_default(subnet, "privateLinkServiceNetworkPolicies", "Enabled");
      const auto id = record.id.child("subnets", text_member(value.get_object(), "name"));
      const auto uses = configurations_using(service, "subnet", id);
      if (!uses || uses->empty()) continue;
      std::vector<std::string> ids;
      for (const IpConfigurationUse& use : *uses) ids.push_back(use.id());
      subnet["ipConfigurations"] = reference_list(ids);
    }
  }

  ArmStatus check_deletion(Service& service, const ResourceRecord& record) override {
    return check_used_subnets(service, record, {});
  }

 private:
  static ArmStatus check_unsupported(const json::Object& properties) {
    const json::Value* ddos = properties.if_contains("enableDdosProtection");
    if (ddos != nullptr && ddos->get_bool()) {
      return model::refuse(400, "FeatureNotSupported",
                           "DDoS protection is not offered on this site. Send enableDdosProtection false.",
                           "enableDdosProtection");
    }
    if (!array_member(properties, "virtualNetworkPeerings").empty()) {
      return model::refuse(400, "FeatureNotSupported",
                           "Peerings of virtual networks are not offered on this site. Leave them out.",
                           "virtualNetworkPeerings");
    }
    for (const json::Value& server : array_member(object_member(properties, "dhcpOptions"), "dnsServers")) {
      if (model::Ipv4Address::parse(std::string_view(server.get_string()))) continue;
      return model::refuse(400, "InvalidDnsServerAddress",
                           fmt::format("'{}' in dhcpOptions.dnsServers is not an IPv4 address.",
                                       std::string_view(server.get_string()).substr(0, 64)),
                           "dnsServers");
    }
    return {};
  }

  static ArmResult<NamedPrefix> prepare_subnet(Service& service, const model::ResourceId& network,
                                               json::Object& subnet) {
    const std::string name = text_member(subnet, "name");
    const model::ResourceType* type =
        model::find_resource_type("Microsoft.Network", "virtualNetworks/subnets");
    BOOTSEAL_ARM_TRY_STATUS(model::check_resource_name(*type, name));
    const model::ResourceId id = network.child("subnets", name);
    json::Object& properties = make_object_member(subnet, "properties");
    BOOTSEAL_ARM_TRY(const Ipv4Prefix prefix, subnet_prefix(id, properties));
    BOOTSEAL_ARM_TRY_STATUS(
        settle_reference(service, id, properties, "networkSecurityGroup", kSecurityGroups));
    return NamedPrefix{name, prefix};
  }

  // A subnet with network interfaces stays, and keeps their addresses.
  static ArmStatus check_used_subnets(Service& service, const ResourceRecord& existing,
                                      const std::vector<NamedPrefix>& wanted) {
    for (const json::Value& value : array_member(existing.properties(), "subnets")) {
      const std::string name = text_member(value.get_object(), "name");
      const model::ResourceId id = existing.id.child("subnets", name);
      BOOTSEAL_ARM_TRY(const auto uses, configurations_using(service, "subnet", id));
      if (uses.empty()) continue;
      const auto kept = std::find_if(wanted.begin(), wanted.end(), [&](const NamedPrefix& one) {
        return model::equal_ignoring_case(one.name, name);
      });
      if (kept == wanted.end()) {
        return model::refuse(
            400, "InUseSubnetCannotBeDeleted",
            fmt::format("Subnet {} is in use by {} and cannot be deleted. In order to delete the "
                        "subnet, delete all the resources within the subnet. See "
                        "aka.ms/deletesubnet.",
                        name, uses.front().id()));
      }
      for (const IpConfigurationUse& use : uses) {
        const auto address = model::Ipv4Address::parse(use.private_address);
        if (address && kept->prefix.contains(*address) &&
            !model::is_reserved_in_subnet(kept->prefix, *address))
          continue;
        return model::refuse(
            400, "InUsePrefixCannotBeDeleted",
            fmt::format("IpPrefix {} on Subnet {} has active allocations and cannot be deleted.",
                        text_member(object_member(value.get_object(), "properties"), "addressPrefix"), name));
      }
    }
    return {};
  }
};

}  // namespace

std::unique_ptr<ResourceProvider> make_virtual_network_provider() {
  return std::make_unique<VirtualNetworkProvider>();
}

}  // namespace bootseal::api

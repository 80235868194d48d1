#include <fmt/format.h>

#include "members.h"
#include "network.h"
#include "service.h"

namespace bootseal::api {

using model::ArmResult;
using model::ArmStatus;

void add_network_providers(ProviderTable& table) {
  table[model::to_lower(kVirtualNetworks)] = make_virtual_network_provider();
  table[model::to_lower(kSecurityGroups)] = make_security_group_provider();
  table[model::to_lower(kPublicAddresses)] = make_public_address_provider();
  table[model::to_lower(kNetworkInterfaces)] = make_network_interface_provider();
}

ArmResult<Subnet> find_subnet(Service& service, const model::ResourceId& referrer, std::string_view id) {
  const auto parsed = model::ResourceId::parse(id);
  if (!parsed || !model::equal_ignoring_case(parsed->full_type(), kSubnets)) {
    return model::refuse(
        400, "LinkedInvalidPropertyId",
        fmt::format("Property id '{}' of resource '{}' is invalid. Expect fully qualified resource "
                    "Id of a subnet that starts with '/subscriptions/{{subscriptionId}}'.",
                    id.substr(0, 256), referrer.to_string()));
  }
  const auto absent = [&] {
    return model::refuse(
        400, "InvalidResourceReference",
        fmt::format("Resource {} referenced by resource {} was not found. Please make sure that the "
                    "referenced resource exists, and that both resources are in the same region.",
                    parsed->to_string(), referrer.to_string()));
  };
  auto network = find_reference(service, referrer, parsed->parent(), kVirtualNetworks);
  if (!network) return absent();
  for (const json::Value& stored : array_member((*network)->properties(), "subnets")) {
    const json::Object& subnet = stored.get_object();
    if (!model::equal_ignoring_case(text_member(subnet, "name"), parsed->name)) continue;
    BOOTSEAL_ARM_TRY(
        const model::Ipv4Prefix prefix,
        model::Ipv4Prefix::parse(text_member(object_member(subnet, "properties"), "addressPrefix")));
    return Subnet{*network, subnet, (*network)->id.child("subnets", text_member(subnet, "name")), prefix};
  }
  return absent();
}

ArmResult<std::vector<IpConfigurationUse>> configurations_using(Service& service, std::string_view member,
                                                                const model::ResourceId& id) {
  BOOTSEAL_ARM_TRY(const auto referrers, service.resources.referrers(id.key()));
  std::vector<IpConfigurationUse> uses;
  for (const ResourcePointer& interface : referrers) {
    for (const json::Value& value : array_member(interface->properties(), "ipConfigurations")) {
      const json::Object& configuration = value.get_object();
      const json::Object& properties = object_member(configuration, "properties");
      if (!model::equal_ignoring_case(reference_member(properties, member), id.to_string())) continue;
      uses.push_back(
          {interface, text_member(configuration, "name"), text_member(properties, "privateIPAddress")});
    }
  }
  return uses;
}

json::Array reference_list(const std::vector<std::string>& ids) {
  json::Array list;
  for (const std::string& id : ids) list.emplace_back(json::Object{{"id", id}});
  return list;
}

ArmStatus settle_reference(Service& service, const model::ResourceId& referrer, json::Object& holder,
                           std::string_view member, std::string_view type) {
  const std::string id = reference_member(holder, member);
  if (id.empty()) {
    holder.erase(member);
    return {};
  }
  BOOTSEAL_ARM_TRY(const ResourcePointer found, find_reference(service, referrer, id, type));
  holder[member] = json::Object{{"id", found->id.to_string()}};
  return {};
}

}  // namespace bootseal::api

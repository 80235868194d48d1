// What a host is told of a network interface.
#include <algorithm>

#include "members.h"
#include "network.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;

// Azure writes 00-0D-3A-12-34-56, QEMU reads 00:0d:3a:12:34:56.
std::string qemu_mac(const std::string& azure) {
  std::string mac = model::to_lower(azure);
  std::replace(mac.begin(), mac.end(), '-', ':');
  return mac;
}

ArmStatus add_group(Service& service, const model::ResourceId& referrer, const std::string& id,
                    std::vector<std::vector<model::SecurityRule>>& groups) {
  if (id.empty()) return {};
  BOOTSEAL_ARM_TRY(const ResourcePointer group, find_reference(service, referrer, id, kSecurityGroups));
  BOOTSEAL_ARM_TRY(std::vector<model::SecurityRule> rules,
                   model::parse_security_rules(array_member(group->properties(), "securityRules")));
  groups.push_back(std::move(rules));
  return {};
}

const json::Object& primary_configuration(const ResourceRecord& nic) {
  const json::Array& configurations = array_member(nic.properties(), "ipConfigurations");
  const auto primary =
      std::find_if(configurations.begin(), configurations.end(), [](const json::Value& value) {
        const json::Value* flag = object_member(value.get_object(), "properties").if_contains("primary");
        return flag != nullptr && flag->is_bool() && flag->get_bool();
      });
  BOOTSEAL_CHECK(primary != configurations.end());  // prepare() chose one
  return object_member(primary->get_object(), "properties");
}

std::vector<std::string> dns_servers(const ResourceRecord& nic, const ResourceRecord& network) {
  std::vector<std::string> servers;
  for (const json::Array* list :
       {&array_member(object_member(nic.properties(), "dnsSettings"), "dnsServers"),
        &array_member(object_member(network.properties(), "dhcpOptions"), "dnsServers")}) {
    for (const json::Value& server : *list) servers.emplace_back(server.get_string());
    if (!servers.empty()) break;
  }
  return servers;
}

json::Array rules_json(const std::vector<model::HostRule>& rules, model::Direction direction) {
  json::Array list;
  for (const model::HostRule& rule : rules) list.emplace_back(rule.to_json(direction));
  return list;
}

}  // namespace

ArmResult<InterfaceFacts> interface_facts(Service& service, const model::ResourceId& referrer,
                                          std::string_view nic_id, bool primary) {
  BOOTSEAL_ARM_TRY(const ResourcePointer nic, find_reference(service, referrer, nic_id, kNetworkInterfaces));
  const json::Object& configuration = primary_configuration(*nic);
  BOOTSEAL_ARM_TRY(const Subnet subnet,
                   find_subnet(service, nic->id, reference_member(configuration, "subnet")));
  InterfaceFacts facts;
  facts.nic_id = nic->id.to_string();
  facts.mac = qemu_mac(text_member(nic->state, "macAddress"));
  facts.network_id = text_member(subnet.network->state, "resourceGuid");
  facts.subnet = subnet.prefix;
  BOOTSEAL_ARM_TRY(facts.address, model::Ipv4Address::parse(text_member(configuration, "privateIPAddress")));
  facts.gateway = {subnet.prefix.first().value + 1};
  facts.dns = dns_servers(*nic, *subnet.network);
  facts.primary = primary;
  if (const std::string id = reference_member(configuration, "publicIPAddress"); !id.empty()) {
    BOOTSEAL_ARM_TRY(const ResourcePointer address, find_reference(service, nic->id, id, kPublicAddresses));
    facts.public_address = text_member(address->state, "ipAddress");
  }
  std::vector<std::vector<model::SecurityRule>> groups;
  BOOTSEAL_ARM_TRY_STATUS(add_group(
      service, nic->id, reference_member(object_member(subnet.stored, "properties"), "networkSecurityGroup"),
      groups));
  BOOTSEAL_ARM_TRY_STATUS(
      add_group(service, nic->id, reference_member(nic->properties(), "networkSecurityGroup"), groups));
  model::AddressContext context;
  for (const json::Value& text :
       array_member(object_member(subnet.network->properties(), "addressSpace"), "addressPrefixes")) {
    if (const auto prefix = model::Ipv4Prefix::parse(std::string_view(text.get_string())))
      context.virtual_network.push_back(*prefix);
  }
  facts.inbound = model::host_rules(groups, model::Direction::inbound, facts.address, context);
  facts.outbound = model::host_rules(groups, model::Direction::outbound, facts.address, context);
  return facts;
}

json::Object InterfaceFacts::to_json() const {
  json::Object object;
  object["nicId"] = nic_id;
  object["mac"] = mac;
  object["networkId"] = network_id;
  object["subnet"] = subnet.to_string();
  object["address"] = address.to_string();
  object["gateway"] = gateway.to_string();
  json::Array servers;
  for (const std::string& server : dns) servers.emplace_back(server);
  object["dns"] = std::move(servers);
  if (!public_address.empty()) object["publicAddress"] = public_address;
  object["primary"] = primary;
  object["inbound"] = rules_json(inbound, model::Direction::inbound);
  object["outbound"] = rules_json(outbound, model::Direction::outbound);
  return object;
}

}  // namespace bootseal::api

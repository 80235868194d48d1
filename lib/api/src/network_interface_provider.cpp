// Network interfaces: their addresses come from their subnets, their MAC from ours.
#include <fmt/format.h>

#include <set>

#include "bootseal/base/ids.h"
#include "bootseal/crypto/digest.h"
#include "members.h"
#include "network.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;
using model::Ipv4Address;

// The block of MAC addresses that Azure's machines have.
std::string random_mac() {
  const Bytes random = crypto::random_bytes(3);
  return fmt::format("00-0D-3A-{:02X}-{:02X}-{:02X}", std::to_integer<unsigned>(random[0]),
                     std::to_integer<unsigned>(random[1]), std::to_integer<unsigned>(random[2]));
}

std::string mac_claim_key(std::string_view mac) {
  return fmt::format("addresses/mac/{}", mac);
}

// The addresses of a subnet that IP configurations have, but for those of one interface.
ArmResult<std::map<Ipv4Address, std::string>> taken_in(Service& service, const Subnet& subnet,
                                                       const model::ResourceId& but_not) {
  BOOTSEAL_ARM_TRY(const auto uses, configurations_using(service, "subnet", subnet.id));
  std::map<Ipv4Address, std::string> taken;
  for (const IpConfigurationUse& use : uses) {
    const auto address = Ipv4Address::parse(use.private_address);
    if (address && !(use.interface->id == but_not)) taken.emplace(*address, use.id());
  }
  return taken;
}

// What one interface's configurations have been given so far, by subnet.
using Given = std::map<std::string, std::set<Ipv4Address>>;

ArmResult<Ipv4Address> static_address(const std::string& text, const Subnet& subnet,
                                      const std::string& configuration,
                                      const std::map<Ipv4Address, std::string>& taken) {
  const auto address = Ipv4Address::parse(text);
  if (!address) {
    return model::refuse(400, "InvalidIPAddressFormat",
                         fmt::format("IP address {} of IP configuration {} is not an IPv4 address.",
                                     text.substr(0, 64), configuration),
                         "privateIPAddress");
  }
  if (!subnet.prefix.contains(*address)) {
    return model::refuse(
        400, "PrivateIPAddressNotInSubnet",
        fmt::format("Private static IP address {} does not belong to the range of subnet prefix {}.", text,
                    subnet.prefix.to_string()),
        "privateIPAddress");
  }
  if (model::is_reserved_in_subnet(subnet.prefix, *address)) {
    return model::refuse(
        400, "PrivateIPAddressInReservedRange",
        fmt::format("Private static IP address {} falls within reserved IP range of subnet prefix {}.", text,
                    subnet.prefix.to_string()),
        "privateIPAddress");
  }
  if (const auto other = taken.find(*address); other != taken.end()) {
    return model::refuse(
        400, "PrivateIPAddressIsAllocated",
        fmt::format("IP configuration {} is using the private IP address {} which is already "
                    "allocated to resource {}.",
                    configuration, text, other->second),
        "privateIPAddress");
  }
  return *address;
}

ArmResult<Ipv4Address> dynamic_address(const std::string& before, const Subnet& subnet,
                                       const std::map<Ipv4Address, std::string>& taken,
                                       const std::set<Ipv4Address>& given) {
  const auto is_free = [&](Ipv4Address address) {
    return subnet.prefix.contains(address) && !model::is_reserved_in_subnet(subnet.prefix, address) &&
           !taken.contains(address) && !given.contains(address);
  };
  if (const auto old = Ipv4Address::parse(before); old && is_free(*old)) return *old;
  for (std::uint64_t value = subnet.prefix.first().value; value <= subnet.prefix.last().value; ++value) {
    const Ipv4Address address{static_cast<std::uint32_t>(value)};
    if (is_free(address)) return address;
  }
  return model::refuse(
      400, "SubnetIsFull",
      fmt::format("Subnet {} with address prefix {} does not have enough capacity for 1 IP addresses.",
                  subnet.id.name, subnet.prefix.to_string()));
}

const json::Object* configuration_named(const ResourceRecord* record, const std::string& name) {
  if (record == nullptr) return nullptr;
  for (const json::Value& value : array_member(record->properties(), "ipConfigurations")) {
    if (model::equal_ignoring_case(text_member(value.get_object(), "name"), name)) return &value.get_object();
  }
  return nullptr;
}

ArmStatus settle_public_address(Service& service, const model::ResourceId& nic,
                                const std::string& configuration, json::Object& properties) {
  BOOTSEAL_ARM_TRY_STATUS(settle_reference(service, nic, properties, "publicIPAddress", kPublicAddresses));
  const std::string id = reference_member(properties, "publicIPAddress");
  if (id.empty()) return {};
  BOOTSEAL_ARM_TRY(const model::ResourceId address, model::ResourceId::parse(id));
  BOOTSEAL_ARM_TRY(const auto uses, configurations_using(service, "publicIPAddress", address));
  for (const IpConfigurationUse& use : uses) {
    if (use.interface->id == nic) continue;
    return model::refuse(
        400, "PublicIPAddressInUse",
        fmt::format("Resource {} is referencing public IP address {} that is already allocated to "
                    "resource {}.",
                    configuration, id, use.id()),
        "publicIPAddress");
  }
  return {};
}

class NetworkInterfaceProvider final : public ResourceProvider {
 public:
  ArmStatus prepare(Service& service, const Caller& /*caller*/, Draft& draft) override {
    json::Object& properties = draft.record.properties();
    const model::ResourceId& id = draft.record.id;
    json::Array& configurations = make_array_member(properties, "ipConfigurations");
    if (configurations.empty()) {
      return model::refuse(
          400, "NetworkInterfaceMustHaveAtLeastOneIpConfiguration",
          fmt::format("Network interface {} must have one or more IP configurations.", id.to_string()),
          "ipConfigurations");
    }
    BOOTSEAL_ARM_TRY_STATUS(
        settle_reference(service, id, properties, "networkSecurityGroup", kSecurityGroups));
    Given given;
    std::set<std::string> names, public_ids, networks;
    for (json::Value& value : configurations) {
      json::Object& configuration = value.get_object();
      BOOTSEAL_ARM_TRY_STATUS(prepare_configuration(service, draft, configuration, given));
      const json::Object& settled = object_member(configuration, "properties");
      networks.insert(model::ResourceId::parse(reference_member(settled, "subnet")).value().parent());
      const std::string address = reference_member(settled, "publicIPAddress");
      if (!names.insert(model::to_lower(text_member(configuration, "name"))).second ||
          (!address.empty() && !public_ids.insert(address).second)) {
        return model::refuse(
            400, "InvalidRequestFormat",
            fmt::format("Network interface '{}' names an IP configuration or a public address twice.",
                        id.name),
            "ipConfigurations");
      }
    }
    if (networks.size() > 1) {
      return model::refuse(
          400, "SubnetsNotInSameVnet",
          fmt::format("The IP configurations of network interface '{}' are in subnets of different "
                      "virtual networks.",
                      id.name),
          "ipConfigurations");
    }
    BOOTSEAL_ARM_TRY_STATUS(choose_primary(id, configurations));
    for (const char* flag : {"enableAcceleratedNetworking", "enableIPForwarding", "disableTcpStateTracking"})
      set_default(properties, flag, false);
    if (draft.existing == nullptr) BOOTSEAL_ARM_TRY_STATUS(give_mac(service, draft));
    return {};
  }

  void complete(Service& service, const ResourceRecord& record, json::Object& answer) override {
    json::Object& properties = answer["properties"].get_object();
    properties["resourceGuid"] = text_member(record.state, "resourceGuid");
    properties["macAddress"] = text_member(record.state, "macAddress");
    json::Object& dns = make_object_member(properties, "dnsSettings");
    set_default(dns, "dnsServers", json::Array());
    set_default(dns, "appliedDnsServers", json::Array());
    set_default(properties, "hostedWorkloads", json::Array());
    set_default(properties, "tapConfigurations", json::Array());
    set_default(properties, "nicType", "Standard");
    for (json::Value& value : make_array_member(properties, "ipConfigurations"))
      show_configuration(record, value.get_object());
    const auto vms = service.database.vms_referring_to(record.key());
    if (!vms || vms->empty()) return;
    const VmRecord& vm = *vms->front();
    properties["virtualMachine"] = json::Object{{"id", vm.id.to_string()}};
    properties["primary"] = is_primary_of(vm, record.id);
  }

  ArmStatus check_deletion(Service& service, const ResourceRecord& record) override {
    BOOTSEAL_ARM_TRY(const auto vms, service.database.vms_referring_to(record.key()));
    if (vms.empty()) return {};
    return model::refuse(
        400, "NicInUse",
        fmt::format("Network Interface {} is used by existing resource {}. In order to delete the "
                    "network interface, it must be dissociated from the resource. To learn more, see "
                    "aka.ms/deletenic.",
                    record.id.to_string(), vms.front()->id.to_string()));
  }

  void release(Service& /*service*/, const ResourceRecord& record, ResourceChange& also) override {
    also.writes.emplace_back(store::Delete{mac_claim_key(text_member(record.state, "macAddress"))});
  }

 private:
  static ArmStatus prepare_configuration(Service& service, const Draft& draft, json::Object& configuration,
                                         Given& given) {
    const model::ResourceId& nic = draft.record.id;
    const std::string name = text_member(configuration, "name");
    BOOTSEAL_ARM_TRY_STATUS(model::check_resource_name(*model::find_resource_type(nic), name));
    const std::string shown = nic.to_string() + "/ipConfigurations/" + name;
    json::Object& properties = make_object_member(configuration, "properties");
    set_default(properties, "privateIPAddressVersion", "IPv4");
    if (text_member(properties, "privateIPAddressVersion") != "IPv4") {
      return model::refuse(
          400, "UnsupportedAddressFamily",
          fmt::format("IP configuration {} is of IPv6; this site's networks have IPv4 only.", shown),
          "privateIPAddressVersion");
    }
    const std::string subnet_id = reference_member(properties, "subnet");
    if (subnet_id.empty()) {
      return model::refuse(400, "SubnetMissingInIpConfiguration",
                           fmt::format("IP configuration {} does not name a subnet.", shown), "subnet");
    }
    BOOTSEAL_ARM_TRY(const Subnet subnet, find_subnet(service, nic, subnet_id));
    properties["subnet"] = json::Object{{"id", subnet.id.to_string()}};
    BOOTSEAL_ARM_TRY_STATUS(settle_public_address(service, nic, shown, properties));
    BOOTSEAL_ARM_TRY(const auto taken, taken_in(service, subnet, nic));
    std::set<Ipv4Address>& mine = given[subnet.id.key()];
    const bool is_static = text_member(properties, "privateIPAllocationMethod") == "Static";
    properties["privateIPAllocationMethod"] = is_static ? "Static" : "Dynamic";
    const json::Object* before = configuration_named(draft.existing, name);
    const std::string kept = before != nullptr
                                 ? text_member(object_member(*before, "properties"), "privateIPAddress")
                                 : std::string();
    BOOTSEAL_ARM_TRY(const Ipv4Address address,
                     is_static
                         ? static_address(text_member(properties, "privateIPAddress"), subnet, shown, taken)
                         : dynamic_address(kept, subnet, taken, mine));
    if (!mine.insert(address).second) {
      return model::refuse(400, "PrivateIPAddressIsAllocated",
                           fmt::format("Two IP configurations of network interface '{}' have the address {}.",
                                       nic.name, address.to_string()),
                           "privateIPAddress");
    }
    properties["privateIPAddress"] = address.to_string();
    return {};
  }

  static ArmStatus choose_primary(const model::ResourceId& id, json::Array& configurations) {
    std::size_t primaries = 0;
    for (json::Value& value : configurations) {
      json::Object& properties = value.get_object()["properties"].get_object();
      set_default(properties, "primary", configurations.size() == 1);
      if (properties.at("primary").get_bool()) ++primaries;
    }
    if (primaries == 1) return {};
    return model::refuse(
        400, "NetworkInterfaceMustHaveOnePrimaryIpConfiguration",
        fmt::format("Network interface '{}' has {} primary IP configurations; set `primary` of one of "
                    "them.",
                    id.name, primaries),
        "ipConfigurations");
  }

  static ArmStatus give_mac(Service& service, Draft& draft) {
    std::string mac = random_mac();
    while (true) {
      BOOTSEAL_ARM_TRY(const auto claimed, service.database.store().get(mac_claim_key(mac)));
      if (!claimed) break;
      mac = random_mac();
    }
    draft.record.state["macAddress"] = mac;
    draft.record.state["resourceGuid"] = Guid::random().to_string();
    draft.also.conditions.push_back(store::Condition::absent(mac_claim_key(mac)));
    draft.also.writes.emplace_back(store::Put{mac_claim_key(mac), draft.record.key(), {}});
    return {};
  }

  static void show_configuration(const ResourceRecord& record, json::Object& configuration) {
    json::Object properties = object_member(configuration, "properties");
    properties["provisioningState"] = record.provisioning_state;
    const std::string name = text_member(configuration, "name");
    configuration = json::Object{{"name", name},
                                 {"id", record.id.to_string() + "/ipConfigurations/" + name},
                                 {"etag", record.etag()},
                                 {"type", "Microsoft.Network/networkInterfaces/ipConfigurations"},
                                 {"properties", std::move(properties)}};
  }

  static bool is_primary_of(const VmRecord& vm, const model::ResourceId& nic) {
    const json::Object& profile = object_member(object_member(vm.desired, "properties"), "networkProfile");
    const json::Array& interfaces = array_member(profile, "networkInterfaces");
    for (const json::Value& value : interfaces) {
      const json::Object& reference = value.get_object();
      if (!model::equal_ignoring_case(text_member(reference, "id"), nic.to_string())) continue;
      const json::Value* primary = object_member(reference, "properties").if_contains("primary");
      return primary != nullptr && primary->is_bool() ? primary->get_bool() : interfaces.size() == 1;
    }
    return false;
  }
};

}  // namespace

std::unique_ptr<ResourceProvider> make_network_interface_provider() {
  return std::make_unique<NetworkInterfaceProvider>();
}

}  // namespace bootseal::api

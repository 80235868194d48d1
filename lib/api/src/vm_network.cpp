#include "vm_network.h"

#include <fmt/format.h>

#include <set>

#include "bootseal/log/log.h"
#include "members.h"
#include "network.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;

ArmStatus check_free(Service& service, const ResourceRecord& nic, const model::ResourceId& vm) {
  BOOTSEAL_ARM_TRY(const auto users, service.database.vms_referring_to(nic.key()));
  for (const auto& user : users) {
    if (user->id == vm) continue;
    return model::refuse(
        400, "NicInUse",
        fmt::format(
            "Network Interface {} is used by existing resource {}. In order to use it for {}, it must "
            "be dissociated from that resource.",
            nic.id.to_string(), user->id.to_string(), vm.to_string()),
        "networkProfile.networkInterfaces");
  }
  return {};
}

// The keys under which others refer to a resource: its own, and those of its parts.
std::vector<std::string> keys_of(const ResourceRecord& record) {
  std::vector<std::string> keys = {record.key()};
  for (const json::Value& value : array_member(record.properties(), "subnets"))
    keys.push_back(
        model::to_lower(record.id.to_string() + "/subnets/" + text_member(value.get_object(), "name")));
  return keys;
}

// The VMs that use `record`, added to `vms`; `seen` = the resources that were looked at.
Status collect_users(Service& service, const ResourceRecord& record, std::set<std::string>& seen,
                     std::set<std::string>& vms) {
  if (!seen.insert(record.key()).second) return {};
  for (const std::string& key : keys_of(record)) {
    BOOTSEAL_TRY(const auto users, service.database.vms_referring_to(key));
    for (const auto& vm : users) vms.insert(vm->id.key());
    BOOTSEAL_TRY(const auto referrers, service.resources.referrers(key));
    for (const ResourcePointer& referrer : referrers)
      BOOTSEAL_TRY_STATUS(collect_users(service, *referrer, seen, vms));
  }
  return {};
}

}  // namespace

ArmStatus settle_interfaces(Service& service, const model::ResourceId& vm, json::Object& desired) {
  json::Object& properties = make_object_member(desired, "properties");
  if (!properties.contains("networkProfile")) return {};
  std::string network;
  for (json::Value& value :
       make_array_member(properties["networkProfile"].get_object(), "networkInterfaces")) {
    json::Object& reference = value.get_object();
    BOOTSEAL_ARM_TRY(const ResourcePointer nic,
                     find_reference(service, vm, text_member(reference, "id"), kNetworkInterfaces));
    reference["id"] = nic->id.to_string();
    BOOTSEAL_ARM_TRY_STATUS(check_free(service, *nic, vm));
    BOOTSEAL_ARM_TRY(const InterfaceFacts facts, interface_facts(service, vm, nic->id.to_string(), false));
    if (!network.empty() && network != facts.network_id) {
      return model::refuse(
          400, "SubnetsNotInSameVnet",
          fmt::format("The network interfaces of virtual machine '{}' are in different virtual networks.",
                      vm.name),
          "networkProfile.networkInterfaces");
    }
    network = facts.network_id;
  }
  return {};
}

ArmResult<std::optional<json::Array>> network_of(Service& service, const VmRecord& vm) {
  BOOTSEAL_ARM_TRY(const model::VmSpec spec, model::spec_of(vm.desired));
  if (!spec.interfaces) return std::optional<json::Array>();
  json::Array interfaces;
  for (const model::InterfaceReference& interface : *spec.interfaces) {
    BOOTSEAL_ARM_TRY(const InterfaceFacts facts,
                     interface_facts(service, vm.id, interface.id, interface.primary));
    interfaces.emplace_back(facts.to_json());
  }
  return std::optional(std::move(interfaces));
}

void wake_vms_using(Service& service, const ResourceRecord& changed) {
  std::set<std::string> seen, vms;
  if (const Status collected = collect_users(service, changed, seen, vms); !collected) {
    log::error("network.users-unknown",
               {{"id", changed.id.to_string()}, {"reason", collected.error().describe()}});
  }
  for (const std::string& key : vms) service.reconciler.wake(key);
}

}  // namespace bootseal::api

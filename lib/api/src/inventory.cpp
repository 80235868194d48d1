#include "inventory.h"

#include <fmt/format.h>

#include "members.h"
#include "resource_changes.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;

constexpr std::array kMoreMembers = {"sku", "kind", "identity", "zones", "managedBy", "plan"};

json::Object more_of(const json::Object& body) {
  json::Object more;
  for (const char* name : kMoreMembers) {
    if (const json::Value* value = body.if_contains(name)) more[name] = *value;
  }
  return more;
}

bool is_vm(const model::ResourceId& id) {
  return model::equal_ignoring_case(id.full_type(), model::kVirtualMachineType);
}

// A subscription has no record of its own: its tags are kept as a resource.
model::ResourceId subscription_tags(const Service& service) {
  model::ResourceId id = model::ResourceId::of_subscription(service.site.subscription);
  id.provider = "Microsoft.Resources";
  id.type = "tags";
  id.name = "default";
  return id;
}

tl::unexpected<model::ArmError> has_no_tags(const model::ResourceId& id) {
  return model::refuse(400, "InvalidResourceType",
                       fmt::format("Resources of the type '{}' have no tags.", id.full_type()));
}

ArmResult<GroupRecord> group_of(Service& service, const model::ResourceId& id) {
  BOOTSEAL_ARM_TRY_STATUS(check_place(service, id, false));
  BOOTSEAL_ARM_TRY(auto group, service.database.group(service.site.subscription, id.group));
  if (!group)
    return model::refuse(404, "ResourceGroupNotFound",
                         fmt::format("Resource group '{}' could not be found.", id.group));
  return *std::move(group);
}

ArmResult<VmRecord> vm_of(Service& service, const model::ResourceId& id) {
  BOOTSEAL_ARM_TRY_STATUS(check_place(service, id, false));
  BOOTSEAL_ARM_TRY(auto vm, service.database.vm(id.key()));
  if (!vm) return tl::unexpected(resource_not_found(id));
  return *std::move(vm);
}

ArmResult<ResourcePointer> resource_of(Service& service, const model::ResourceId& id) {
  BOOTSEAL_ARM_TRY_STATUS(check_place(service, id, false));
  BOOTSEAL_ARM_TRY(ResourcePointer record, service.resources.get(id.key()));
  if (record == nullptr) return tl::unexpected(resource_not_found(id));
  const model::ResourceType* type = model::find_resource_type(id);
  if (type == nullptr || !type->tracked) return has_no_tags(id);
  return record;
}

ArmStatus stored(const Status& written, const model::ResourceId& id) {
  if (!written && written.error().code == ErrorCode::conflict) {
    return model::refuse(409, "Conflict",
                         fmt::format("'{}' was changed at the same moment. Try again.", id.to_string()));
  }
  BOOTSEAL_ARM_TRY_STATUS(written);
  return {};
}

}  // namespace

ArmResult<std::vector<InventoryItem>> inventory(Service& service, const std::string& group_key) {
  std::vector<InventoryItem> items;
  BOOTSEAL_ARM_TRY(const auto vms, service.database.vm_list(group_key));
  for (const auto& vm : vms) {
    items.push_back({vm->id, std::string(kSiteLocation), object_member(vm->desired, "tags"), vm->time_created,
                     vm->time_changed, vm->provisioning_state, more_of(vm->desired)});
  }
  BOOTSEAL_ARM_TRY(const auto records, service.resources.below(group_key));
  for (const ResourcePointer& record : records) {
    const model::ResourceType* type = model::find_resource_type(record->id);
    if (type == nullptr || !type->tracked) continue;
    items.push_back({record->id, record->location, record->tags, record->created_time, record->changed_time,
                     record->provisioning_state, more_of(record->body)});
  }
  std::sort(items.begin(), items.end(),
            [](const InventoryItem& a, const InventoryItem& b) { return a.id.key() < b.id.key(); });
  return items;
}

ArmResult<json::Object> tags_of(Service& service, const model::ResourceId& id) {
  if (!id.is_resource() && id.group.empty()) {
    BOOTSEAL_ARM_TRY_STATUS(check_place(service, id, false));
    BOOTSEAL_ARM_TRY(const auto record, service.resources.get(subscription_tags(service).key()));
    return record == nullptr ? json::Object() : record->tags;
  }
  if (!id.is_resource()) {
    BOOTSEAL_ARM_TRY(const GroupRecord group, group_of(service, id));
    return group.tags;
  }
  if (is_vm(id)) {
    BOOTSEAL_ARM_TRY(const VmRecord vm, vm_of(service, id));
    return object_member(vm.desired, "tags");
  }
  BOOTSEAL_ARM_TRY(const ResourcePointer record, resource_of(service, id));
  return record->tags;
}

ArmStatus set_tags(Service& service, const model::ResourceId& id, json::Object tags) {
  BOOTSEAL_ARM_TRY_STATUS(model::check_tags(tags));
  if (!id.is_resource() && !id.group.empty()) {
    BOOTSEAL_ARM_TRY(GroupRecord group, group_of(service, id));
    group.tags = std::move(tags);
    return stored(service.database.put_group(group), id);
  }
  if (is_vm(id)) {
    BOOTSEAL_ARM_TRY(VmRecord vm, vm_of(service, id));
    vm.desired["tags"] = std::move(tags);
    vm.time_changed = service.now();
    ++vm.version;
    return stored(service.database.put_vm(vm), id);
  }
  ResourceRecord record;
  if (id.is_resource()) {
    BOOTSEAL_ARM_TRY(const ResourcePointer found, resource_of(service, id));
    record = *found;
  } else {
    BOOTSEAL_ARM_TRY_STATUS(check_place(service, id, false));
    record.id = subscription_tags(service);
    BOOTSEAL_ARM_TRY(const auto found, service.resources.get(record.key()));
    if (found != nullptr) record = *found;
  }
  record.tags = std::move(tags);
  record.changed_time = service.now();
  if (record.revision == 0) record.created_time = record.changed_time;
  if (record.revision != 0) ++record.version;
  return stored(service.resources.write({.puts = {record}}), id);
}

}  // namespace bootseal::api

// Resources of all types, whoever stores them, as one list; and their tags.
#pragma once

#include "service.h"

namespace bootseal::api {

// One resource that has a location and tags.
struct InventoryItem {
  model::ResourceId id;
  std::string location;
  json::Object tags;
  TimePoint created_time;
  TimePoint changed_time;
  std::string provisioning_state;
  json::Object more;  // sku, identity, zones, managedBy as far as it has them
};
// Those of a group (its ResourceId::key()), or all; in the order of their keys.
model::ArmResult<std::vector<InventoryItem>> inventory(Service& service, const std::string& group_key);

// The tags of a subscription, a group, a VM or another resource. 404 with the usual codes, 400 for what has
// no tags.
model::ArmResult<json::Object> tags_of(Service& service, const model::ResourceId& id);
model::ArmStatus set_tags(Service& service, const model::ResourceId& id, json::Object tags);

}  // namespace bootseal::api

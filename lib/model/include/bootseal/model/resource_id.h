// Resource ids, compared without regard to case: subscriptions, groups, resources in a group or directly
// under a subscription, nested resources, and extension resources below any of these.
//
//   /subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V/subnets/N
//   /subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/M/providers/Microsoft.Authorization/locks/L
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal::model {

// ASCII only, as in resource ids.
std::string to_lower(std::string_view text);
bool equal_ignoring_case(std::string_view a, std::string_view b);

// The parts of "/a/b/c"; repeated and trailing slashes do not count.
std::vector<std::string_view> path_segments(std::string_view path);

struct ResourceId {
  std::string subscription;          // empty = at the tenant's level
  std::string group;                 // empty = not in a group
  std::string provider;              // "Microsoft.Network"; empty = a subscription or a group
  std::string type;                  // "virtualNetworks/subnets"; empty as `provider` is
  std::string name;                  // the last name, "N"
  std::vector<std::string> parents;  // the names before it, outermost first: {"V"}
  std::string extended;              // of an extension of a resource: that resource's id

  static ResourceId of_subscription(std::string subscription);
  static ResourceId of_group(std::string subscription, std::string group);
  static ResourceId of_virtual_machine(std::string subscription, std::string group, std::string name);
  // Any case of the fixed words, repeated and trailing slashes; invalid_argument otherwise, also for names
  // that no resource can have.
  static Result<ResourceId> parse(std::string_view text);

  // Whether this is a resource: no subscription and no group.
  [[nodiscard]] bool is_resource() const { return !type.empty(); }
  // "Microsoft.Network/virtualNetworks/subnets"; empty for a subscription,
  // "Microsoft.Resources/resourceGroups" for a group.
  [[nodiscard]] std::string full_type() const;
  // What an extension resource is attached to, and where another resource lies: a resource, group or
  // subscription, or "" for the tenant.
  [[nodiscard]] std::string scope() const;
  // The resource one name up for a nested one; scope() for others.
  [[nodiscard]] std::string parent() const;
  // The nested resource `name` of `child_type` ("subnets").
  [[nodiscard]] ResourceId child(std::string_view child_type, std::string_view child_name) const;

  // With the fixed words in their canonical case and the names as they were given.
  [[nodiscard]] std::string to_string() const;
  // The same text in lower case: equal exactly for equal resources.
  [[nodiscard]] std::string key() const { return to_lower(to_string()); }
  bool operator==(const ResourceId& other) const { return key() == other.key(); }
};

// Whether `id` is `scope` itself or something below it; both are ids as text. "" and "/" are above
// everything.
bool is_within(std::string_view id, std::string_view scope);

// The scope of a request: its path up to the last whole TYPE/NAME pair, "/" when there is none.
// "…/virtualMachines/vm1/start" is "…/virtualMachines/vm1"; "{group}/providers/Microsoft.Compute/disks" is
// the group.
std::string scope_of_path(std::string_view path);

}  // namespace bootseal::model

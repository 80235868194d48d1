// Resource ids: /subscriptions/{s}/resourceGroups/{g}/providers/{namespace}/{type}/{name}, compared without
// regard to case.
#pragma once

#include <string>
#include <string_view>

#include "bootseal/base/result.h"

namespace bootseal::model {

// ASCII only, as in resource ids.
std::string to_lower(std::string_view text);
bool equal_ignoring_case(std::string_view a, std::string_view b);

// The id of a group (type empty) or of a resource in a group.
struct ResourceId {
  std::string subscription;
  std::string group;
  std::string provider;  // "Microsoft.Compute"
  std::string type;      // "virtualMachines"
  std::string name;

  static ResourceId of_group(std::string subscription, std::string group);
  static ResourceId of_virtual_machine(std::string subscription, std::string group, std::string name);
  // Any case of the fixed words, repeated and trailing slashes; invalid_argument otherwise, also for names
  // that are not valid resource names.
  static Result<ResourceId> parse(std::string_view text);
  // With the fixed words in their canonical case and the names as they were given.
  [[nodiscard]] std::string to_string() const;
  // The same text in lower case: equal exactly for equal resources.
  [[nodiscard]] std::string key() const { return to_lower(to_string()); }
  bool operator==(const ResourceId& other) const { return key() == other.key(); }
};

}  // namespace bootseal::model

// What the lists of endpoints are made of.
#pragma once

#include "bootseal/model/endpoint.h"

namespace bootseal::model {

inline const std::string kSubscription = "/subscriptions/{subscriptionId}";
inline const std::string kGroup = kSubscription + "/resourceGroups/{resourceGroupName}";
inline const std::string kVms = kGroup + "/providers/Microsoft.Compute/virtualMachines";
inline const std::string kVm = kVms + "/{vmName}";
inline const std::string kComputeLocation =
    kSubscription + "/providers/Microsoft.Compute/locations/{location}";

inline const std::string kProviderLocation =
    kSubscription + "/providers/{resourceProviderNamespace}/locations/{location}";

inline SchemaRef text() {
  return string_schema();
}

inline SchemaRef list_of(const std::string& name, const SchemaRef& items) {
  return object_schema(name, {{"value", array_schema(items), true}, {"nextLink", text()}});
}

inline Answer ok(SchemaRef schema, std::string description = "Done") {
  return {200, std::move(description), std::move(schema)};
}
inline Answer accepted() {
  return {202, "Accepted; poll the operation", nullptr, "application/json", true};
}
inline Answer absent() {
  return {204, "There is none", nullptr};
}

inline SchemaRef vm_size_schema() {
  return object_schema("VirtualMachineSize", {{"name", text()},
                                              {"numberOfCores", integer_schema()},
                                              {"memoryInMB", integer_schema()},
                                              {"osDiskSizeInMB", integer_schema()},
                                              {"resourceDiskSizeInMB", integer_schema()},
                                              {"maxDataDiskCount", integer_schema()}});
}

// Where resources of a type lie.
struct EndpointPlace {
  std::string suffix;  // of the operation ids: "AtGroup"
  std::string path;
  std::string where;  // in summaries
};
// Those of an extension resource, but for the tenant.
std::vector<EndpointPlace> extension_places();

// Providers, inventory, tags, activity: what concerns resources of all types.
std::vector<Endpoint> management_endpoints();
// Virtual machines and the actions on them.
std::vector<Endpoint> virtual_machine_endpoints();
// Publishers, images, extensions and sizes.
std::vector<Endpoint> catalogue_endpoints();
// Signing in, and the principals of the site.
std::vector<Endpoint> identity_endpoints();
// Role definitions and role assignments.
std::vector<Endpoint> role_endpoints();

}  // namespace bootseal::model

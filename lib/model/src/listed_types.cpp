// The resource types with handlers of their own, and those of Microsoft.Authorization.
#include "endpoint_parts.h"
#include "resource_types.h"

namespace bootseal::model {
namespace {

ResourceType listed(std::string provider, std::string type, std::vector<std::string> api_versions,
                    bool tracked = false) {
  ResourceType result;
  result.provider = std::move(provider);
  result.type = std::move(type);
  result.api_versions = std::move(api_versions);
  result.service = ResourceType::Service::own;
  result.tracked = tracked;
  return result;
}

}  // namespace

std::vector<ResourceType> listed_types() {
  const std::vector<std::string> compute = {"2022-11-01", "2022-08-01", "2022-03-01"};
  const std::vector<std::string> resources = {"2022-09-01", "2021-04-01"};
  return {
      listed("Microsoft.Compute", "virtualMachines", compute, true),
      listed("Microsoft.Compute", "locations", compute),
      listed("Microsoft.Compute", "locations/operations", compute),
      listed("Microsoft.Compute", "locations/vmSizes", compute),
      listed("Microsoft.Compute", "locations/usages", compute),
      listed("Microsoft.Compute", "locations/publishers", compute),
      listed("Microsoft.Compute", "skus", {"2021-07-01", "2019-04-01"}),
      listed("Microsoft.Resources", "subscriptions", resources),
      listed("Microsoft.Resources", "resourceGroups", resources),
      listed("Microsoft.Resources", "resources", resources),
      listed("Microsoft.Resources", "tags", resources),
      listed("Microsoft.Insights", "eventtypes", {"2015-04-01"}),
      listed("Microsoft.Authorization", "roleAssignments", {"2022-04-01", "2020-10-01-preview"}),
      listed("Microsoft.Authorization", "roleDefinitions", {"2022-04-01", "2018-01-01-preview"}),
      listed("Microsoft.Authorization", "permissions", {"2022-04-01"}),
      listed("Bootseal.Gallery", "images", compute),
  };
}

std::vector<ResourceType> authorization_types() {
  ResourceType lock;
  lock.provider = "Microsoft.Authorization";
  lock.type = "locks";
  lock.operations = "ManagementLocks";
  lock.singular = "lock";
  lock.api_versions = {"2020-05-01", "2017-04-01", "2016-09-01"};
  lock.level = ResourceType::Level::extension;
  lock.tracked = false;
  lock.has_patch = false;
  lock.maximum_name = 260;
  const SchemaRef properties =
      object_schema("ManagementLockProperties", {{"level", enum_schema({"CanNotDelete", "ReadOnly"}), true},
                                                 {"notes", string_schema(512)},
                                                 {"owners", array_schema(any_schema(), 16)}});
  lock.schema = object_schema("ManagementLock", {{"properties", properties, true}});
  return {std::move(lock)};
}

}  // namespace bootseal::model

// What can be made here: images and extensions by their publishers, sizes. Lists below publishers are
// bare arrays, as Azure's are.
#include "endpoint_parts.h"

namespace bootseal::model {
namespace {

const std::string kPublishers = kComputeLocation + "/publishers";
const std::string kOffers = kPublishers + "/{publisherName}/artifacttypes/vmimage/offers";
const std::string kImageVersions = kOffers + "/{offer}/skus/{skus}/versions";
const std::string kExtensionTypes = kPublishers + "/{publisherName}/artifacttypes/vmextension/types";

SchemaRef listed_artifact() {
  return array_schema(
      object_schema("VirtualMachineImageResource",
                    {{"id", text()}, {"name", text()}, {"location", text()}, {"properties", any_schema()}}));
}

// What is offered is no secret: every caller may look.
Endpoint look(std::string id, std::string path, std::string summary, SchemaRef answer,
              std::vector<QueryParameter> query = {}) {
  Endpoint endpoint{std::move(id),    "GET",   std::move(path),        std::move(summary), {}, true, false,
                    std::move(query), nullptr, {ok(std::move(answer))}};
  endpoint.any_caller = true;
  return endpoint;
}

}  // namespace

std::vector<Endpoint> catalogue_endpoints() {
  const SchemaRef artifacts = listed_artifact();
  const SchemaRef image =
      object_schema("VirtualMachineImage",
                    {{"id", text()}, {"name", text()}, {"location", text()}, {"properties", any_schema()}});
  return {
      look("VirtualMachineImages_ListPublishers", kPublishers, "Who publishes images and extensions",
           artifacts),
      look("VirtualMachineImages_ListOffers", kOffers, "The offers of a publisher", artifacts),
      look("VirtualMachineImages_ListSkus", kOffers + "/{offer}/skus", "The kinds of an offer", artifacts),
      look("VirtualMachineImages_List", kImageVersions, "The versions of an image", artifacts,
           {{"$top", integer_schema()},
            {"$orderby", text(), false, "name asc (the default) or name desc"},
            {"$expand", text(), false, "properties adds what the image is like"}}),
      look("VirtualMachineImages_Get", kImageVersions + "/{version}",
           "One version of an image; `latest` is the newest", image),
      look("VirtualMachineExtensionImages_ListTypes", kExtensionTypes, "The extensions of a publisher",
           artifacts),
      look("VirtualMachineExtensionImages_ListVersions", kExtensionTypes + "/{type}/versions",
           "The versions of an extension", artifacts,
           {{"$top", integer_schema()}, {"$orderby", text(), false, "name asc (the default) or name desc"}}),
      look("VirtualMachineExtensionImages_Get", kExtensionTypes + "/{type}/versions/{version}",
           "One version of an extension", image),
      look("ResourceSkus_List", kSubscription + "/providers/Microsoft.Compute/skus",
           "The sizes, with what they can do", list_of("ResourceSkuList", any_schema()),
           {{"$filter", text(), false, "location eq 'local'"}, {"includeExtendedLocations", text()}}),
  };
}

}  // namespace bootseal::model

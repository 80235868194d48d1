// What az asks before it makes a VM: images and extensions by their publishers, sizes as SKUs.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "bootseal/gallery/image.h"
#include "bootseal/model/vm_size.h"
#include "extensions.h"
#include "service.h"

namespace bootseal::api {
namespace {

using gallery::ImageManifest;
using gallery::ImageRecord;
using model::ArmResult;
using model::ArmStatus;
using model::equal_ignoring_case;
using net::Request;
using net::Response;

constexpr std::uint64_t kGib = std::uint64_t{1} << 30;

tl::unexpected<model::ArmError> artifact_not_found(std::string_view kind, const std::string& name) {
  return model::refuse(404, "NotFound",
                       fmt::format("Artifact: {} '{}' was not found.", kind, name.substr(0, 128)));
}

std::string publisher_path(const Service& service, std::string_view publisher) {
  return fmt::format("/Subscriptions/{}/Providers/Microsoft.Compute/Locations/{}/Publishers/{}",
                     service.site.subscription, kSiteLocation, publisher);
}

json::Object artifact(const std::string& id, std::string_view name) {
  return {{"location", kSiteLocation}, {"name", name}, {"id", id}};
}

ArmStatus check_place(const Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  return check_location(request.parameter("location"), "locations/publishers");
}

// The publisher of the path in its own spelling (404).
ArmResult<std::string_view> publisher_of(const Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_place(service, request));
  const std::string& asked = request.parameter("publisherName");
  if (equal_ignoring_case(asked, kImagePublisher)) return kImagePublisher;
  for (const ExtensionImage& extension : extension_images()) {
    if (equal_ignoring_case(asked, extension.publisher)) return extension.publisher;
  }
  return artifact_not_found("publisher", asked);
}

ArmResult<Response> list_publishers(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_place(service, request));
  json::Array items;
  items.emplace_back(artifact(publisher_path(service, kImagePublisher), kImagePublisher));
  for (const ExtensionImage& extension : extension_images())
    items.emplace_back(artifact(publisher_path(service, extension.publisher), extension.publisher));
  return Response::json(200, items);
}

// -- images: an image's name is both its offer and its kind --

std::string offer_path(const Service& service, std::string_view name) {
  return fmt::format("{}/ArtifactTypes/VMImage/Offers/{}", publisher_path(service, kImagePublisher), name);
}

std::string version_path(const Service& service, const ImageManifest& manifest) {
  return fmt::format("{}/Skus/{}/Versions/{}", offer_path(service, manifest.name), manifest.name,
                     manifest.version);
}

// All versions of the image in the path, oldest first (404).
ArmResult<std::vector<ImageRecord>> versions_of(const Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const std::string_view publisher, publisher_of(service, request));
  const std::string& offer = request.parameter("offer");
  BOOTSEAL_ARM_TRY(auto images, gallery::list_images(service.options.images));
  std::erase_if(images, [&](const ImageRecord& image) {
    return publisher != kImagePublisher || !equal_ignoring_case(image.manifest.name, offer);
  });
  if (images.empty()) return artifact_not_found("VMImage", offer);
  if (request.parameters.contains("skus") &&
      !equal_ignoring_case(request.parameter("skus"), images.front().manifest.name))
    return artifact_not_found("VMImage", offer + "/" + request.parameter("skus"));
  std::ranges::sort(images, [](const ImageRecord& a, const ImageRecord& b) {
    return gallery::compare_versions(a.manifest.version, b.manifest.version) < 0;
  });
  return images;
}

ArmResult<Response> list_offers(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const std::string_view publisher, publisher_of(service, request));
  json::Array items;
  if (publisher != kImagePublisher) return Response::json(200, items);
  BOOTSEAL_ARM_TRY(const auto images, gallery::list_images(service.options.images));
  std::string last;
  for (const ImageRecord& image : images) {  // in the order of their names
    if (std::exchange(last, image.manifest.name) != image.manifest.name)
      items.emplace_back(artifact(offer_path(service, image.manifest.name), image.manifest.name));
  }
  return Response::json(200, items);
}

ArmResult<Response> list_skus(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const auto versions, versions_of(service, request));
  const std::string& name = versions.front().manifest.name;
  return Response::json(
      200, json::Array{artifact(fmt::format("{}/Skus/{}", offer_path(service, name), name), name)});
}

json::Object image_properties(const ImageManifest& manifest) {
  const std::uint64_t size = manifest.disk_virtual_size_bytes;
  return {
      {"hyperVGeneration", manifest.hyper_v_generation},
      {"architecture", manifest.architecture},
      {"replicaType", "Managed"},
      {"osDiskImage", json::Object{{"operatingSystem", manifest.os_type},
                                   {"sizeInBytes", size},
                                   {"sizeInGb", (size + kGib - 1) / kGib}}},
      {"dataDiskImages", json::Array()},
      {"features", json::Array{json::Object{{"name", "SecurityType"}, {"value", manifest.security_type}}}},
      {"disallowed", json::Object{{"vmDiskType", "None"}}},
      {"imageDeprecationStatus", json::Object{{"imageState", "Active"}}},
      {"automaticOSUpgradeProperties", json::Object{{"automaticOSUpgradeSupported", false}}}};
}

json::Object image_version(const Service& service, const ImageManifest& manifest, bool with_properties) {
  json::Object object = artifact(version_path(service, manifest), manifest.version);
  if (with_properties) object["properties"] = image_properties(manifest);
  return object;
}

// Applies $orderby and $top to what is in ascending order.
template <typename Item>
ArmStatus order_and_cut(const Request& request, std::vector<Item>& items) {
  const std::string order = model::to_lower(request.query_value("$orderby").value_or("name asc"));
  if (order == "name desc") {
    std::ranges::reverse(items);
  } else if (order != "name asc" && order != "name") {
    return model::invalid_parameter(
        "$orderby", fmt::format("The value '{}' of $orderby is not known: wanted name asc or name desc.",
                                order.substr(0, 64)));
  }
  const auto top = request.query_value("$top");
  if (!top) return {};
  std::size_t count = 0;
  const auto [end, error] = std::from_chars(top->data(), top->data() + top->size(), count);
  if (error != std::errc() || end != top->data() + top->size()) {
    return model::invalid_parameter(
        "$top", fmt::format("The value '{}' of $top is not a whole number.", top->substr(0, 32)));
  }
  if (items.size() > count) items.erase(items.begin() + static_cast<std::ptrdiff_t>(count), items.end());
  return {};
}

ArmResult<Response> list_versions(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(auto versions, versions_of(service, request));
  BOOTSEAL_ARM_TRY_STATUS(order_and_cut(request, versions));
  const bool expand = equal_ignoring_case(request.query_value("$expand").value_or(""), "properties");
  json::Array items;
  for (const ImageRecord& image : versions)
    items.emplace_back(image_version(service, image.manifest, expand));
  return Response::json(200, items);
}

ArmResult<Response> get_version(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const auto versions, versions_of(service, request));
  const std::string& asked = request.parameter("version");
  if (equal_ignoring_case(asked, "latest"))
    return Response::json(200, image_version(service, versions.back().manifest, true));
  for (const ImageRecord& image : versions) {
    if (equal_ignoring_case(image.manifest.version, asked))
      return Response::json(200, image_version(service, image.manifest, true));
  }
  return artifact_not_found("VMImage", versions.front().manifest.name + ":" + asked);
}

// -- extensions --

std::string type_path(const Service& service, const ExtensionImage& extension) {
  return fmt::format("{}/ArtifactTypes/VMExtension/Types/{}", publisher_path(service, extension.publisher),
                     extension.type);
}

ArmResult<Response> list_extension_types(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const std::string_view publisher, publisher_of(service, request));
  json::Array items;
  for (const ExtensionImage& extension : extension_images()) {
    if (extension.publisher == publisher)
      items.emplace_back(artifact(type_path(service, extension), extension.type));
  }
  return Response::json(200, items);
}

ArmResult<const ExtensionImage*> extension_in_path(const Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const std::string_view publisher, publisher_of(service, request));
  const std::string& type = request.parameter("type");
  const ExtensionImage* extension = find_extension_image(publisher, type);
  if (extension == nullptr) return artifact_not_found("VMExtension", type);
  return extension;
}

json::Object extension_version(const Service& service, const ExtensionImage& extension,
                               std::string_view version) {
  return artifact(fmt::format("{}/Versions/{}", type_path(service, extension), version), version);
}

ArmResult<Response> list_extension_versions(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const ExtensionImage* extension, extension_in_path(service, request));
  std::vector<std::string_view> versions(extension->versions.begin(), extension->versions.end());
  BOOTSEAL_ARM_TRY_STATUS(order_and_cut(request, versions));
  json::Array items;
  for (const std::string_view version : versions)
    items.emplace_back(extension_version(service, *extension, version));
  return Response::json(200, items);
}

ArmResult<Response> get_extension_version(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const ExtensionImage* extension, extension_in_path(service, request));
  const std::string& asked = request.parameter("version");
  if (std::ranges::find(extension->versions, asked) == extension->versions.end())
    return artifact_not_found("VMExtension", std::string(extension->type) + ":" + asked);
  json::Object object = extension_version(service, *extension, asked);
  object["properties"] = json::Object{{"operatingSystem", extension->operating_system},
                                      {"computeRole", "IaaS"},
                                      {"supportsMultipleExtensions", false},
                                      {"vmScaleSetEnabled", false}};
  return Response::json(200, object);
}

// -- sizes --

json::Object capability(std::string_view name, std::string value) {
  return {{"name", name}, {"value", std::move(value)}};
}

json::Object sku_of(const model::VmSize& size) {
  const std::string_view name = size.name;
  const std::string_view short_name = name.substr(name.find('_') + 1);
  return {{"resourceType", "virtualMachines"},
          {"name", name},
          {"tier", "Standard"},
          {"size", short_name},
          {"locations", json::Array{json::Value(kSiteLocation)}},
          {"locationInfo", json::Array{json::Object{{"location", kSiteLocation}, {"zones", json::Array()}}}},
          {"capabilities",
           json::Array{capability("vCPUs", std::to_string(size.cpus)),
                       capability("vCPUsAvailable", std::to_string(size.cpus)),
                       capability("MemoryGB", fmt::format("{:g}", size.memory_mib / 1024.0)),
                       capability("HyperVGenerations", "V2"), capability("CpuArchitectureType", "x64"),
                       capability("PremiumIO", "True"), capability("TrustedLaunchDisabled", "False"),
                       capability("EncryptionAtHostSupported", "False")}},
          {"restrictions", json::Array()}};
}

ArmResult<Response> list_resource_skus(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const std::string filter = request.query_value("$filter").value_or("");
  json::Array items;
  // The one filter there is: location eq 'NAME'.
  const std::size_t begin = filter.find('\'');
  const std::size_t end = filter.rfind('\'');
  if (!filter.empty() && (!model::to_lower(filter).starts_with("location eq '") || begin == end)) {
    return model::invalid_parameter(
        "$filter", "The value of $filter is not understood here: wanted location eq 'local'.");
  }
  if (filter.empty() || equal_ignoring_case(filter.substr(begin + 1, end - begin - 1), kSiteLocation)) {
    for (const model::VmSize& size : model::vm_sizes()) items.emplace_back(sku_of(size));
  }
  return Response::json(200, json::Object{{"value", std::move(items)}});
}

}  // namespace

void add_publisher_handlers(HandlerTable& table) {
  table["VirtualMachineImages_ListPublishers"] = list_publishers;
  table["VirtualMachineImages_ListOffers"] = list_offers;
  table["VirtualMachineImages_ListSkus"] = list_skus;
  table["VirtualMachineImages_List"] = list_versions;
  table["VirtualMachineImages_Get"] = get_version;
  table["VirtualMachineExtensionImages_ListTypes"] = list_extension_types;
  table["VirtualMachineExtensionImages_ListVersions"] = list_extension_versions;
  table["VirtualMachineExtensionImages_Get"] = get_extension_version;
  table["ResourceSkus_List"] = list_resource_skus;
}

}  // namespace bootseal::api

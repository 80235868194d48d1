#include <fmt/format.h>

#include "bootseal/gallery/image.h"
#include "bootseal/model/virtual_machine.h"
#include "bootseal/model/vm_size.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;
using net::Request;
using net::Response;

ArmStatus check_location(const Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const std::string& location = request.parameter("location");
  if (model::equal_ignoring_case(location, model::kLocation)) return {};
  return model::refuse(400, "NoRegisteredProviderFound",
                       fmt::format("There is no location '{}'. The location of this site is '{}'.",
                                   location.substr(0, 64), model::kLocation));
}

Response list_sizes_response() {
  json::Array items;
  for (const model::VmSize& size : model::vm_sizes()) items.emplace_back(model::to_json(size));
  json::Object object;
  object["value"] = std::move(items);
  return Response::json(200, object);
}

ArmResult<Response> list_sizes(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_location(service, request));
  return list_sizes_response();
}

ArmResult<Response> list_vm_sizes(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(find_vm(service, request));
  return list_sizes_response();
}

ArmResult<model::Operation> find_operation(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_location(service, request));
  const std::string& id = request.parameter("operationId");
  const auto guid = Guid::parse(id);
  const auto absent = model::refuse(
      404, "NotFound",
      fmt::format("The operation '{}' is not known. Operations are kept for a day after their end.",
                  id.substr(0, 64)));
  if (!guid) return absent;
  BOOTSEAL_ARM_TRY(auto operation, service.database.operation(guid->to_string()));
  if (!operation) return absent;
  return *std::move(operation);
}

ArmResult<Response> get_operation(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const model::Operation operation, find_operation(service, request));
  Response response = Response::json(200, operation.to_answer(request.path));
  if (operation.status == model::OperationStatus::in_progress)
    response.headers.emplace_back("Retry-After", "1");
  return response;
}

ArmResult<Response> get_operation_result(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const model::Operation operation, find_operation(service, request));
  switch (operation.status) {
    case model::OperationStatus::in_progress: {
      Response response = Response::empty(202);
      add_operation_headers(service, request, operation.id, response,
                            request.parameter("resourceProviderNamespace"));
      return response;
    }
    case model::OperationStatus::failed:
      return tl::unexpected(operation.error.value_or(
          model::ArmError{500, "Internal", "the operation failed without a reason", {}, {}}));
    case model::OperationStatus::succeeded:
      break;
  }
  if (operation.output.is_null()) return Response::empty(204);
  return Response::json(200, operation.output);
}

json::Object image_json(const Service& service, const gallery::ImageRecord& record) {
  const gallery::ImageManifest& manifest = record.manifest;
  json::Array components;
  for (const gallery::BootComponent& component : manifest.boot_chain)
    components.emplace_back(gallery::component_to_json(component));
  json::Array features;
  features.emplace_back(json::Object{{"name", "SecurityType"}, {"value", manifest.security_type}});
  json::Object properties;
  properties["version"] = manifest.version;
  properties["description"] = manifest.description;
  properties["osType"] = manifest.os_type;
  properties["osName"] = manifest.os_name;
  properties["hyperVGeneration"] = manifest.hyper_v_generation;
  properties["architecture"] = manifest.architecture;
  properties["features"] = std::move(features);
  properties["diskSizeBytes"] = manifest.disk_virtual_size_bytes;
  properties["minimumMemoryMiB"] = manifest.minimum_memory_mib;
  properties["timeCreated"] = format_time(manifest.created_time);
  properties["bootChain"] = std::move(components);
  json::Object object;
  object["id"] = fmt::format("/subscriptions/{}/providers/Bootseal.Gallery/images/{}/versions/{}",
                             service.site.subscription, manifest.name, manifest.version);
  object["name"] = manifest.name;
  object["type"] = "Bootseal.Gallery/images";
  object["location"] = model::kLocation;
  object["properties"] = std::move(properties);
  return object;
}

ArmResult<Response> list_images(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  BOOTSEAL_ARM_TRY(const auto images, gallery::list_images(service.options.images));
  json::Array items;
  for (const gallery::ImageRecord& record : images) items.emplace_back(image_json(service, record));
  json::Object object;
  object["value"] = std::move(items);
  return Response::json(200, object);
}

ArmResult<Response> get_image(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  BOOTSEAL_ARM_TRY(const gallery::ImageRecord record,
                   gallery::find_image(service.options.images, request.parameter("imageName")));
  return Response::json(200, image_json(service, record));
}

}  // namespace

void add_catalogue_handlers(HandlerTable& table) {
  table["VirtualMachineSizes_List"] = list_sizes;
  table["VirtualMachines_ListAvailableSizes"] = list_vm_sizes;
  table["Operations_Get"] = get_operation;
  table["Operations_GetResult"] = get_operation_result;
  table["Images_List"] = list_images;
  table["Images_Get"] = get_image;
}

}  // namespace bootseal::api

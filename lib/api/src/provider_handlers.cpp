// Resource providers, features and usages.
#include <fmt/format.h>

#include <array>

#include "bootseal/model/vm_size.h"
#include "members.h"
#include "network.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

constexpr std::int64_t kNoLimit = 2147483647;

// Namespaces that clients and scripts expect to be registered, beside those with types of ours.
constexpr std::array kAlsoRegistered = std::to_array<std::string_view>(
    {"Microsoft.Authorization", "Microsoft.PolicyInsights", "Microsoft.KeyVault", "Microsoft.Attestation",
     "Microsoft.Features", "Microsoft.ManagedIdentity", "Microsoft.Storage"});

std::vector<std::string> namespaces() {
  std::vector<std::string> names;
  const auto add = [&](std::string_view name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.emplace_back(name);
  };
  for (const model::ResourceType& type : model::resource_types()) add(type.provider);
  for (const std::string_view name : kAlsoRegistered) add(name);
  return names;
}

json::Object type_json(const model::ResourceType& type) {
  json::Object object;
  object["resourceType"] = type.type;
  object["locations"] = type.level == model::ResourceType::Level::extension
                            ? json::Array()
                            : json::Array{json::Value(kSiteLocation)};
  json::Array versions;
  for (const std::string& version : type.api_versions) versions.emplace_back(version);
  object["apiVersions"] = std::move(versions);
  object["defaultApiVersion"] = type.api_versions.front();
  object["capabilities"] = type.tracked ? "SupportsTags, SupportsLocation" : "None";
  return object;
}

json::Object provider_json(const Service& service, const std::string& name) {
  json::Array types;
  for (const model::ResourceType& type : model::resource_types()) {
    if (type.provider == name) types.emplace_back(type_json(type));
  }
  json::Object object;
  object["id"] = fmt::format("/subscriptions/{}/providers/{}", service.site.subscription, name);
  object["namespace"] = name;
  object["registrationState"] = "Registered";
  object["registrationPolicy"] = "RegistrationFree";
  object["resourceTypes"] = std::move(types);
  return object;
}

Response list_of(json::Array items) {
  return Response::json(200, json::Object{{"value", std::move(items)}});
}

ArmResult<Response> list_providers(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  json::Array items;
  for (const std::string& name : namespaces()) items.emplace_back(provider_json(service, name));
  return list_of(std::move(items));
}

ArmResult<Response> get_provider(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const std::string& asked = request.parameter("providerNamespace");
  for (const std::string& name : namespaces()) {
    if (model::equal_ignoring_case(name, asked)) return Response::json(200, provider_json(service, name));
  }
  return model::refuse(404, "InvalidResourceNamespace",
                       fmt::format("The resource namespace '{}' is invalid.", asked.substr(0, 128)));
}

ArmResult<Response> list_features(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  return list_of({});  // nothing of this site is in preview
}

ArmResult<json::Value> usage(Service& service, const Request& request, const std::string& provider,
                             std::string_view name, std::string_view shown, std::size_t current,
                             std::int64_t limit) {
  json::Object object;
  object["id"] = fmt::format("/subscriptions/{}/providers/{}/locations/{}/usages/{}",
                             service.site.subscription, provider, request.parameter("location"), name);
  object["name"] = json::Object{{"value", name}, {"localizedValue", shown}};
  object["currentValue"] = current;
  object["limit"] = limit;
  object["unit"] = "Count";
  return json::Value(std::move(object));
}

ArmResult<Response> compute_usages(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  BOOTSEAL_ARM_TRY_STATUS(check_location(request.parameter("location"), "locations/usages"));
  BOOTSEAL_ARM_TRY(const auto vms, service.database.vm_list());
  std::size_t cores = 0;
  for (const auto& vm : vms) {
    const auto spec = model::spec_of(vm->desired);
    const model::VmSize* size = spec ? model::find_vm_size(spec->size) : nullptr;
    if (size != nullptr) cores += size->cpus;
  }
  json::Array items;
  const std::string provider = "Microsoft.Compute";
  BOOTSEAL_ARM_TRY(json::Value core_usage,
                   usage(service, request, provider, "cores", "Total Regional vCPUs", cores, kNoLimit));
  items.push_back(std::move(core_usage));
  BOOTSEAL_ARM_TRY(json::Value vm_usage, usage(service, request, provider, "virtualMachines",
                                               "Virtual Machines", vms.size(), kNoLimit));
  items.push_back(std::move(vm_usage));
  return list_of(std::move(items));
}

ArmResult<Response> network_usages(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  BOOTSEAL_ARM_TRY_STATUS(check_location(request.parameter("location"), "locations/usages"));
  const model::Ipv4Prefix& pool = service.public_pool;
  const std::int64_t pool_size = std::int64_t{pool.last().value} - pool.first().value + 1;
  const std::array counted = {
      std::tuple{kVirtualNetworks, "VirtualNetworks", "Virtual Networks", kNoLimit},
      std::tuple{kSecurityGroups, "NetworkSecurityGroups", "Network Security Groups", kNoLimit},
      std::tuple{kNetworkInterfaces, "NetworkInterfaces", "Network Interfaces", kNoLimit},
      std::tuple{kPublicAddresses, "PublicIPAddresses", "Public IP Addresses", pool_size}};
  json::Array items;
  for (const auto& [type, name, shown, limit] : counted) {
    BOOTSEAL_ARM_TRY(const auto records, service.resources.of_type(type));
    BOOTSEAL_ARM_TRY(json::Value one,
                     usage(service, request, "Microsoft.Network", name, shown, records.size(), limit));
    items.push_back(std::move(one));
  }
  return list_of(std::move(items));
}

}  // namespace

void add_provider_handlers(HandlerTable& table) {
  table["Providers_List"] = ApiHandler(list_providers);
  table["Providers_Get"] = ApiHandler(get_provider);
  table["Providers_Register"] = ApiHandler(get_provider);
  table["Features_List"] = ApiHandler(list_features);
  table["Features_ListAll"] = ApiHandler(list_features);
  table["Usages_ListCompute"] = ApiHandler(compute_usages);
  table["Usages_ListNetwork"] = ApiHandler(network_usages);
}

}  // namespace bootseal::api

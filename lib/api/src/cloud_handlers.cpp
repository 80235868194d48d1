// What clients ask about this cloud before or after signing in: its addresses, its images' short names, its
// tenant.
#include <fmt/format.h>

#include "bootseal/gallery/image.h"
#include "login.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

constexpr std::string_view kListSince = "2018-01-01";  // of the answer that is a list of clouds

// As Azure's own endpoint answered until 2017, and az 2 asks it (api-version 2015-01-01).
json::Object short_metadata(const std::string& base) {
  return {{"galleryEndpoint", base},
          {"graphEndpoint", base + "/graph"},
          {"portalEndpoint", base},
          {"authentication",
           json::Object{{"loginEndpoint", base + "/adfs"}, {"audiences", json::Array{json::Value(base)}}}}};
}

// As it answers since, and Terraform's providers read it: each cloud with the names of its services.
json::Array long_metadata(const std::string& base) {
  const json::Object authentication{{"loginEndpoint", base},
                                    {"audiences", json::Array{json::Value(base)}},
                                    {"tenant", "adfs"},
                                    {"identityProvider", "ADFS"}};
  const json::Object suffixes{{"keyVaultDns", "vault.local"}, {"storage", "local"}};
  return {json::Object{{"name", "Bootseal"},
                       {"portal", base},
                       {"authentication", authentication},
                       {"graph", base + "/graph"},
                       {"graphAudience", base + "/graph"},
                       {"microsoftGraphResourceId", base + "/graph"},
                       {"suffixes", suffixes},
                       {"gallery", base},
                       {"resourceManager", base},
                       {"vmImageAliasDoc", base + "/aliases.json"}}};
}

ArmResult<Response> metadata(Service& /*service*/, const Request& request) {
  const std::string base = base_url(request);
  if (request.query_value("api-version").value_or("") < kListSince)
    return Response::json(200, short_metadata(base));
  return Response::json(200, long_metadata(base));
}

ArmResult<Response> aliases(Service& service, const Request& /*request*/) {
  BOOTSEAL_ARM_TRY(const auto images, gallery::list_images(service.options.images));
  json::Object systems{{"Linux", json::Object()}, {"Windows", json::Object()}};
  for (const gallery::ImageRecord& image : images) {
    const gallery::ImageManifest& manifest = image.manifest;
    json::Object& system = systems[manifest.os_type == "Windows" ? "Windows" : "Linux"].get_object();
    system[manifest.name] = json::Object{{"publisher", kImagePublisher},
                                         {"offer", manifest.name},
                                         {"sku", manifest.name},
                                         {"version", "latest"},
                                         {"architecture", manifest.architecture}};
  }
  return Response::json(
      200, json::Object{{"outputs", json::Object{{"aliases", json::Object{{"type", "object"},
                                                                          {"value", std::move(systems)}}}}}});
}

ArmResult<Response> tenants(Service& service, const Request& /*request*/) {
  json::Object tenant{{"id", "/tenants/" + service.site.tenant},
                      {"tenantId", service.site.tenant},
                      {"displayName", "Bootseal"},
                      {"countryCode", ""},
                      {"tenantCategory", "Home"},
                      {"domains", json::Array()}};
  return Response::json(200, json::Object{{"value", json::Array{json::Value(std::move(tenant))}}});
}

}  // namespace

void add_cloud_handlers(HandlerTable& table) {
  table["Metadata_GetEndpoints"] = metadata;
  table["Images_GetAliases"] = aliases;
  table["Tenants_List"] = tenants;
}

}  // namespace bootseal::api

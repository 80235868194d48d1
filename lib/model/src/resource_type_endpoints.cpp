// The endpoints of a resource type.
#include <fmt/format.h>

#include "bootseal/model/resource_type.h"
#include "endpoint_parts.h"

namespace bootseal::model {
namespace {

std::vector<EndpointPlace> places_of(const ResourceType& type) {
  switch (type.level) {
    case ResourceType::Level::group:
      return {{"", kGroup, "of a group"}};
    case ResourceType::Level::subscription:
      return {{"", kSubscription, "of a subscription"}};
    case ResourceType::Level::extension:
      break;
  }
  std::vector<EndpointPlace> places = extension_places();
  if (type.at_tenant) places.insert(places.begin(), EndpointPlace{"AtTenant", "", "of the tenant"});
  return places;
}

std::string parameter_of(std::string_view type) {
  std::string name(type);
  if (name.ends_with("ies")) {
    name.replace(name.size() - 3, 3, "y");
  } else if (name.ends_with("ses")) {
    name.resize(name.size() - 2);
  } else if (name.ends_with('s')) {
    name.pop_back();
  }
  return "{" + name + "Name}";
}

// "…/providers/Microsoft.Network/virtualNetworks/{virtualNetworkName}/subnets"
std::string collection_of(const ResourceType& type, const std::string& scope) {
  std::string path = scope + "/providers/" + type.provider;
  std::string_view rest = type.type;
  for (std::size_t slash = rest.find('/'); slash != std::string_view::npos; slash = rest.find('/')) {
    path.append("/").append(rest.substr(0, slash)).append("/").append(parameter_of(rest.substr(0, slash)));
    rest.remove_prefix(slash + 1);
  }
  return path.append("/").append(rest);
}

std::string own_name(const ResourceType& type) {
  const std::size_t slash = type.type.rfind('/');
  return slash == std::string::npos ? type.type : type.type.substr(slash + 1);
}

Endpoint make(const ResourceType& type, const std::string& verb, std::string method, std::string path,
              std::string summary) {
  Endpoint endpoint;
  endpoint.operation_id = type.operation(verb);
  endpoint.method = std::move(method);
  endpoint.path = std::move(path);
  endpoint.summary = std::move(summary);
  return endpoint;
}

void add_writes(const ResourceType& type, const EndpointPlace& place, const std::string& path,
                const SchemaRef& schema, std::vector<Endpoint>& list) {
  const auto done = [&](int status, std::string description) {
    return Answer{status, std::move(description), schema, "application/json", type.long_running};
  };
  Endpoint put =
      make(type, "CreateOrUpdate" + place.suffix, "PUT", path,
           fmt::format("Makes or replaces a {}; If-Match and If-None-Match are honoured", type.singular));
  put.in = schema;
  put.out = {done(type.status_of_creation, "Made")};
  if (type.status_of_update != type.status_of_creation)
    put.out.push_back(done(type.status_of_update, "Replaced"));
  list.push_back(std::move(put));
  if (type.has_patch) {
    Endpoint patch = make(type, "Update" + place.suffix, "PATCH", path,
                          fmt::format("Changes a {}; If-Match is honoured", type.singular));
    patch.in = type.patch_schema != nullptr
                   ? type.patch_schema
                   : object_schema("TagsObject", {{"tags", map_schema(string_schema())}});
    patch.out = {type.long_running && type.status_of_update == 202 ? done(202, "Being changed")
                                                                   : done(200, "Changed")};
    list.push_back(std::move(patch));
  }
  Endpoint remove = make(type, "Delete" + place.suffix, "DELETE", path,
                         fmt::format("Deletes a {}; If-Match is honoured", type.singular));
  remove.out = {type.long_running ? accepted() : Answer{200, "Deleted", nullptr}, absent()};
  list.push_back(std::move(remove));
}

}  // namespace

std::vector<EndpointPlace> extension_places() {
  const std::string resource = "/providers/{resourceProviderNamespace}/{resourceType}/{resourceName}";
  return {{"AtSubscription", kSubscription, "of a subscription"},
          {"AtGroup", kGroup, "of a group"},
          {"AtSubscriptionResource", kSubscription + resource, "of a resource of the subscription"},
          {"AtResource", kGroup + resource, "of a resource"},
          {"AtNestedResource", kGroup + resource + "/{nestedResourceType}/{nestedResourceName}",
           "of a nested resource"}};
}

std::vector<Endpoint> endpoints_of(const ResourceType& type) {
  std::vector<Endpoint> list;
  if (type.service == ResourceType::Service::own) return list;
  const SchemaRef schema = resource_schema(type);
  const SchemaRef values = list_of(schema->name + "List", schema);
  if (type.level == ResourceType::Level::group && type.service == ResourceType::Service::generic &&
      type.type.find('/') == std::string::npos) {
    Endpoint all = make(type, "ListAll", "GET", collection_of(type, kSubscription),
                        fmt::format("Every {} of all groups", type.singular));
    all.out = {ok(values)};
    all.any_caller = true;
    list.push_back(std::move(all));
  }
  for (const EndpointPlace& place : places_of(type)) {
    const std::string collection = collection_of(type, place.path);
    const std::string path = collection + "/" + parameter_of(own_name(type));
    Endpoint all = make(type, "List" + place.suffix, "GET", collection,
                        fmt::format("Every {} {}", type.singular, place.where));
    all.out = {ok(values)};
    all.any_caller =
        type.level == ResourceType::Level::group && type.service == ResourceType::Service::generic;
    list.push_back(std::move(all));
    Endpoint get = make(type, "Get" + place.suffix, "GET", path, fmt::format("One {}", type.singular));
    get.out = {ok(schema)};
    list.push_back(std::move(get));
    add_writes(type, place, path, schema, list);
  }
  return list;
}

}  // namespace bootseal::model

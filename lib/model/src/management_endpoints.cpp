// Providers, inventory, tags, activity log, features and usages.
#include "endpoint_parts.h"

namespace bootseal::model {
namespace {

Endpoint make(std::string id, std::string method, std::string path, std::string summary,
              std::vector<Answer> out) {
  Endpoint endpoint;
  endpoint.operation_id = std::move(id);
  endpoint.method = std::move(method);
  endpoint.path = std::move(path);
  endpoint.summary = std::move(summary);
  endpoint.out = std::move(out);
  return endpoint;
}

Endpoint for_everybody(Endpoint endpoint) {
  endpoint.any_caller = true;
  return endpoint;
}

SchemaRef provider_schema() {
  const SchemaRef type = object_schema("ProviderResourceType", {{"resourceType", text(), true},
                                                                {"locations", array_schema(text()), true},
                                                                {"apiVersions", array_schema(text()), true},
                                                                {"defaultApiVersion", text()},
                                                                {"capabilities", text()}});
  return object_schema("Provider", {{"id", text(), true},
                                    {"namespace", text(), true},
                                    {"registrationState", text(), true},
                                    {"registrationPolicy", text()},
                                    {"resourceTypes", array_schema(type), true}});
}

SchemaRef generic_resource() {
  return object_schema("GenericResource", {{"id", text(), true},
                                           {"name", text(), true},
                                           {"type", text(), true},
                                           {"location", text()},
                                           {"tags", map_schema(text())},
                                           {"sku", any_schema()},
                                           {"identity", any_schema()},
                                           {"zones", array_schema(text())},
                                           {"managedBy", text()},
                                           {"createdTime", text()},
                                           {"changedTime", text()},
                                           {"provisioningState", text()}});
}

SchemaRef tags_schema(bool patch) {
  std::vector<Field> fields = {
      {"id", text(), false, true},
      {"name", text(), false, true},
      {"type", text(), false, true},
      {"properties", object_schema("TagsProperties", {{"tags", map_schema(text())}}), true}};
  if (patch) fields.push_back({"operation", enum_schema({"Merge", "Replace", "Delete"}), true});
  return object_schema(patch ? "TagsPatch" : "TagsResource", std::move(fields));
}

SchemaRef tag_details(const std::string& name, const std::string& member, bool with_values) {
  const SchemaRef count = object_schema("TagCount", {{"type", text()}, {"value", integer_schema()}});
  std::vector<Field> fields = {{"id", text()}, {member, text(), true}, {"count", count}};
  if (with_values) fields.push_back({"values", array_schema(tag_details("TagValue", "tagValue", false))});
  return object_schema(name, std::move(fields));
}

SchemaRef usages() {
  const SchemaRef name = object_schema("UsageName", {{"value", text()}, {"localizedValue", text()}});
  return list_of("UsageList", object_schema("Usage", {{"id", text()},
                                                      {"name", name},
                                                      {"currentValue", integer_schema()},
                                                      {"limit", integer_schema()},
                                                      {"unit", text()}}));
}

void add_tags(std::vector<Endpoint>& list) {
  for (const EndpointPlace& place : extension_places()) {
    const std::string path = place.path + "/providers/Microsoft.Resources/tags/default";
    const auto add = [&](const std::string& verb, const std::string& method, const std::string& summary,
                         const std::string& right, SchemaRef in, Answer out) {
      Endpoint endpoint =
          make("Tags_" + verb + place.suffix, method, path, summary + " " + place.where, {std::move(out)});
      endpoint.in = std::move(in);
      endpoint.action = "Microsoft.Resources/tags/" + right;
      list.push_back(std::move(endpoint));
    };
    const SchemaRef tags = tags_schema(false);
    add("Get", "GET", "The tags", "read", nullptr, ok(tags));
    add("CreateOrUpdate", "PUT", "Replaces the tags", "write", tags, ok(tags));
    add("Update", "PATCH", "Merges, replaces or deletes tags", "write", tags_schema(true), ok(tags));
    add("Delete", "DELETE", "Deletes the tags", "delete", nullptr, {200, "Deleted", nullptr});
  }
}

void add_tag_names(std::vector<Endpoint>& list) {
  const std::string names = kSubscription + "/tagNames";
  const std::string name = names + "/{tagName}";
  const std::string value = name + "/tagValues/{tagValue}";
  const SchemaRef details = tag_details("TagDetails", "tagName", true);
  const SchemaRef one_value = tag_details("TagValue", "tagValue", false);
  const Answer deleted{200, "Deleted", nullptr};
  list.push_back(make("TagNames_List", "GET", names, "The tag names in use, and those that were predefined",
                      {ok(list_of("TagDetailsList", details))}));
  list.push_back(
      make("TagNames_Put", "PUT", name, "Predefines a tag name", {ok(details), {201, "Made", details}}));
  list.push_back(
      make("TagNames_Delete", "DELETE", name, "Forgets a predefined tag name", {deleted, absent()}));
  list.push_back(make("TagValues_Put", "PUT", value, "Predefines a value of a tag",
                      {ok(one_value), {201, "Made", one_value}}));
  list.push_back(
      make("TagValues_Delete", "DELETE", value, "Forgets a predefined value", {deleted, absent()}));
}

}  // namespace

std::vector<Endpoint> management_endpoints() {
  const std::string providers = kSubscription + "/providers";
  const SchemaRef provider = provider_schema();
  const SchemaRef resources = list_of("GenericResourceList", generic_resource());
  const std::vector<QueryParameter> query = {
      {"$filter", text(), false,
       "eq, ne, and, or, not, substringof over resourceType, name, location, resourceGroup, "
       "tagName, tagValue"},
      {"$expand", text(), false, "createdTime, changedTime, provisioningState"},
      {"$top", integer_schema()},
      {"$skiptoken", text()}};
  std::vector<Endpoint> list = {
      for_everybody(make("Providers_List", "GET", providers, "The namespaces of resource types",
                         {ok(list_of("ProviderList", provider))})),
      for_everybody(
          make("Providers_Get", "GET", providers + "/{providerNamespace}", "One namespace", {ok(provider)})),
      for_everybody(make("Providers_Register", "POST", providers + "/{providerNamespace}/register",
                         "Registers a namespace: all of them are", {ok(provider)})),
      for_everybody(make("Resources_List", "GET", kSubscription + "/resources", "The resources of all groups",
                         {ok(resources)})),
      for_everybody(make("Resources_ListAtGroup", "GET", kGroup + "/resources", "The resources of a group",
                         {ok(resources)})),
      make("ActivityLogs_List", "GET", providers + "/Microsoft.Insights/eventtypes/management/values",
           "Who changed what, the newest first", {ok(list_of("EventDataList", any_schema()))}),
      for_everybody(make("Features_List", "GET",
                         providers + "/Microsoft.Features/providers/{resourceProviderNamespace}/features",
                         "The preview features of a namespace", {ok(list_of("FeatureList", any_schema()))})),
      for_everybody(make("Features_ListAll", "GET", providers + "/Microsoft.Features/features",
                         "The preview features", {ok(list_of("FeatureList", any_schema()))})),
      for_everybody(make("Usages_ListCompute", "GET", kComputeLocation + "/usages", "How much is in use",
                         {ok(usages())})),
      for_everybody(make("Usages_ListNetwork", "GET",
                         providers + "/Microsoft.Network/locations/{location}/usages", "How much is in use",
                         {ok(usages())}))};
  for (Endpoint& endpoint : list) {
    if (endpoint.operation_id.starts_with("Resources_List")) endpoint.query = query;
    if (endpoint.operation_id == "ActivityLogs_List") {
      endpoint.query = {{"$filter", text(), false,
                         "eventTimestamp ge 'T' and eventTimestamp le 'T' and "
                         "resourceGroupName, resourceUri, resourceProvider, correlationId, "
                         "caller or status eq 'X'"},
                        {"$select", text(), false, "The members that are wanted, separated by commas"}};
    }
  }
  add_tags(list);
  add_tag_names(list);
  return list;
}

}  // namespace bootseal::model

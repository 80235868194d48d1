#include <fmt/format.h>

#include "bootseal/model/filter.h"
#include "bootseal/model/virtual_machine.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

json::Object subscription_json(const Service& service) {
  json::Object object;
  object["id"] = "/subscriptions/" + service.site.subscription;
  object["subscriptionId"] = service.site.subscription;
  object["displayName"] = "Bootseal";
  object["state"] = "Enabled";
  object["tenantId"] = service.site.tenant;
  return object;
}

json::Object group_json(const GroupRecord& record) {
  json::Object properties;
  properties["provisioningState"] = record.deleting ? "Deleting" : "Succeeded";
  json::Object object;
  object["id"] = model::ResourceId::of_group(record.subscription, record.name).to_string();
  object["name"] = record.name;
  object["type"] = "Microsoft.Resources/resourceGroups";
  object["location"] = record.location;
  object["tags"] = record.tags;
  object["properties"] = std::move(properties);
  return object;
}

Response list(json::Array items) {
  json::Object object;
  object["value"] = std::move(items);
  return Response::json(200, object);
}

// Whoever has a role anywhere in it sees it.
ArmResult<Response> list_subscriptions(Service& service, const Caller& caller, const Request& /*request*/) {
  json::Array items;
  if (service.identity.may_somewhere_below(caller, "Microsoft.Resources/subscriptions/read",
                                           "/subscriptions/" + service.site.subscription))
    items.emplace_back(subscription_json(service));
  return list(std::move(items));
}

ArmResult<Response> get_subscription(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  return Response::json(200, subscription_json(service));
}

ArmResult<Response> list_locations(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  json::Object metadata;
  metadata["regionType"] = "Physical";
  metadata["regionCategory"] = "Recommended";
  json::Object location;
  location["id"] = fmt::format("/subscriptions/{}/locations/{}", service.site.subscription, model::kLocation);
  location["name"] = model::kLocation;
  location["displayName"] = "Local";
  location["regionalDisplayName"] = "Local";
  location["metadata"] = std::move(metadata);
  return list({location});
}

class GroupSubject final : public model::Filter::Subject {
 public:
  explicit GroupSubject(const GroupRecord& group) : group_(group) {}
  [[nodiscard]] std::string member(std::string_view name) const override {
    return name == "name" ? group_.name : name == "location" ? group_.location : std::string();
  }
  [[nodiscard]] bool has_tag(std::string_view name, const std::string* value) const override {
    for (const auto& [key, tag] : group_.tags) {
      if (!model::equal_ignoring_case(std::string_view(key), name)) continue;
      return value == nullptr || std::string_view(tag.get_string()) == *value;
    }
    return false;
  }

 private:
  const GroupRecord& group_;
};

ArmResult<Response> list_groups(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  BOOTSEAL_ARM_TRY(const model::Filter filter,
                   model::Filter::parse(request.query_value("$filter").value_or(""),
                                        {"name", "location", "tagName", "tagValue"}));
  BOOTSEAL_ARM_TRY(const auto groups, service.database.groups());
  std::vector<ListItem> items;
  for (const GroupRecord& group : groups) {
    const auto id = model::ResourceId::of_group(group.subscription, group.name);
    if (!filter.matches(GroupSubject(group)) ||
        !may(service, caller, "Microsoft.Resources/subscriptions/resourceGroups/read", id.to_string()))
      continue;
    items.push_back({id.key(), [group] { return group_json(group); }});
  }
  return page_of(request, items);
}

ArmResult<Response> get_group(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const GroupRecord group, find_group(service, request));
  return Response::json(200, group_json(group));
}

ArmResult<Response> check_group(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(find_group(service, request));
  return Response::empty(204);
}

ArmResult<Response> put_group(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const std::string& name = request.parameter("resourceGroupName");
  BOOTSEAL_ARM_TRY_STATUS(check_name("resource group", name));
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  static const model::SchemaRef schema = [] {
    for (const model::Endpoint& endpoint : model::endpoints()) {
      if (endpoint.operation_id == "ResourceGroups_CreateOrUpdate") return endpoint.in;
    }
    return model::any_schema();
  }();
  BOOTSEAL_ARM_TRY(const json::Value wanted, model::conform(*schema, body));
  const std::string location(wanted.at("location").get_string());
  if (!model::equal_ignoring_case(location, model::kLocation)) {
    return model::refuse(400, "LocationNotAvailableForResourceGroup",
                         fmt::format("The provided location '{}' is not available for resource group. List "
                                     "of available regions is '{}'.",
                                     location, model::kLocation),
                         "location");
  }
  BOOTSEAL_ARM_TRY(auto existing, service.database.group(service.site.subscription, name));
  if (existing && existing->deleting) {
    return model::refuse(
        409, "ResourceGroupBeingDeleted",
        fmt::format("The resource group '{}' is in deprovisioning state and cannot perform this operation.",
                    name));
  }
  GroupRecord record = existing.value_or(
      GroupRecord{service.site.subscription, name, std::string(model::kLocation), {}, false, {}, 0});
  const json::Value* tags = wanted.get_object().if_contains("tags");
  record.tags = tags != nullptr ? tags->get_object() : json::Object();
  BOOTSEAL_ARM_TRY_STATUS(model::check_tags(record.tags));
  BOOTSEAL_ARM_TRY_STATUS(service.database.put_group(record));
  return Response::json(existing ? 200 : 201, group_json(record));
}

ArmResult<Response> patch_group(Service& service, const Request& request, const model::SchemaRef& schema) {
  BOOTSEAL_ARM_TRY(GroupRecord group, find_group(service, request));
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(const json::Value patch, model::conform(*schema, body));
  if (const json::Value* tags = patch.get_object().if_contains("tags")) group.tags = tags->get_object();
  BOOTSEAL_ARM_TRY_STATUS(model::check_tags(group.tags));
  BOOTSEAL_ARM_TRY_STATUS(service.database.put_group(group));
  return Response::json(200, group_json(group));
}

ArmResult<Response> delete_group(Service& service, const Request& request) {
  auto found = find_group(service, request);
  if (!found && found.error().code == "ResourceGroupNotFound") return Response::empty(204);
  BOOTSEAL_ARM_TRY(GroupRecord group, std::move(found));
  if (!group.deleting) {
    model::Operation operation;
    operation.id = Guid::random().to_string();
    operation.kind = model::OperationKind::remove_group;
    operation.resource = model::ResourceId::of_group(group.subscription, group.name).to_string();
    operation.start_time = service.now();
    group.deleting = true;
    group.operation_id = operation.id;
    BOOTSEAL_ARM_TRY_STATUS(service.database.put_group(group, operation));
  }
  service.reconciler.wake(model::ResourceId::of_group(group.subscription, group.name).key());
  Response response = Response::empty(202);
  add_operation_headers(service, request, group.operation_id, response, "Microsoft.Resources");
  return response;
}

}  // namespace

void add_group_handlers(HandlerTable& table) {
  table["Subscriptions_List"] = list_subscriptions;
  table["Subscriptions_Get"] = get_subscription;
  table["Locations_List"] = list_locations;
  table["ResourceGroups_List"] = list_groups;
  table["ResourceGroups_Get"] = get_group;
  table["ResourceGroups_CheckExistence"] = check_group;
  table["ResourceGroups_CreateOrUpdate"] = put_group;
  for (const model::Endpoint& endpoint : model::endpoints()) {
    if (endpoint.operation_id != "ResourceGroups_Update") continue;
    table[endpoint.operation_id] = [schema = endpoint.in](Service& service, const Request& request) {
      return patch_group(service, request, schema);
    };
  }
  table["ResourceGroups_Delete"] = delete_group;
}

}  // namespace bootseal::api

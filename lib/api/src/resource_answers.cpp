// How stored resources are shown, found and referred to.
#include <fmt/format.h>

#include "bootseal/model/virtual_machine.h"
#include "resource_provider.h"
#include "service.h"

namespace bootseal::api {
namespace {

const json::Object& member_object(const json::Object& object, std::string_view name) {
  static const json::Object kNone;
  const json::Value* found = object.if_contains(name);
  return found != nullptr && found->is_object() ? found->get_object() : kNone;
}

// The children of one kind as resources of their own: {name, properties} gets id, type, etag and state.
void show_children(const ResourceRecord& record, const model::ResourceType& type, json::Object& properties) {
  json::Value& children = properties[type.embedded_member];
  if (!children.is_array()) children = json::Array();
  const std::string child_type = type.type.substr(type.type.rfind('/') + 1);
  for (json::Value& child : children.get_array()) {
    const std::string name(child.at("name").get_string());
    json::Object shown;
    shown["name"] = name;
    shown["id"] = record.id.child(child_type, name).to_string();
    shown["etag"] = record.etag();
    shown["type"] = type.full_type();
    json::Object child_properties{{"provisioningState", record.provisioning_state}};
    for (const auto& [key, value] : member_object(child.get_object(), "properties"))
      child_properties[key] = value;
    shown["properties"] = std::move(child_properties);
    child = std::move(shown);
  }
}

}  // namespace

json::Object resource_answer(Service& service, const ResourceRecord& record) {
  const model::ResourceType* type = model::find_resource_type(record.id);
  json::Object answer;
  answer["name"] = record.id.name;
  answer["id"] = record.id.to_string();
  answer["etag"] = record.etag();
  answer["type"] = record.id.full_type();
  if (type != nullptr && type->tracked) {
    answer["location"] = record.location;
    answer["tags"] = record.tags;
  }
  for (const auto& [name, value] : record.body) {
    if (std::string_view(name) != "properties") answer[name] = value;
  }
  json::Object properties;
  if (type == nullptr || type->tracked) properties["provisioningState"] = record.provisioning_state;
  for (const auto& [name, value] : record.properties()) properties[name] = value;
  if (type != nullptr) {
    for (const model::ResourceType* child : model::embedded_types_of(*type))
      show_children(record, *child, properties);
  }
  answer["properties"] = std::move(properties);
  provider_of(service, record.id).complete(service, record, answer);
  return answer;
}

ResourceProvider& provider_of(const Service& service, const model::ResourceId& id) {
  static ResourceProvider stored_only;
  const auto found = service.providers.find(model::to_lower(id.full_type()));
  return found == service.providers.end() ? stored_only : *found->second;
}

model::ArmResult<ResourcePointer> find_reference(Service& service, const model::ResourceId& referrer,
                                                 std::string_view id, std::string_view wanted_type) {
  const auto refuse = [&](std::string code, std::string message) {
    return model::refuse(400, std::move(code), std::move(message), std::string(id.substr(0, 256)));
  };
  const auto parsed = model::ResourceId::parse(id);
  if (!parsed || !model::equal_ignoring_case(parsed->full_type(), wanted_type)) {
    return refuse(
        "LinkedInvalidPropertyId",
        fmt::format("Property id '{}' of resource '{}' is invalid. Expect fully qualified resource Id of "
                    "type '{}' that starts with '/subscriptions/{{subscriptionId}}'.",
                    id.substr(0, 256), referrer.to_string(), wanted_type));
  }
  BOOTSEAL_ARM_TRY(ResourcePointer found, service.resources.get(parsed->key()));
  if (found == nullptr || found->deleting) {
    return refuse(
        "InvalidResourceReference",
        fmt::format("Resource {} referenced by resource {} was not found. Please make sure that the "
                    "referenced resource exists, and that both resources are in the same region.",
                    parsed->to_string(), referrer.to_string()));
  }
  return found;
}

model::ArmStatus check_etag(const net::Request& request, const std::string& what, const std::string& etag) {
  const auto failed = [](std::string message) {
    return model::refuse(412, "PreconditionFailed", std::move(message));
  };
  if (const auto match = request.header("If-Match")) {
    if (etag.empty())
      return failed(fmt::format("The condition If-Match does not hold: {} does not exist.", what));
    if (!names_tag(*match, etag)) {
      return failed(
          fmt::format("The condition If-Match does not hold: {} was changed by somebody else (its ETag is "
                      "now {}). Get it again.",
                      what, etag));
    }
  }
  if (const auto none_match = request.header("If-None-Match");
      none_match && !etag.empty() && names_tag(*none_match, etag)) {
    return failed(fmt::format("The condition If-None-Match does not hold: {} exists already.", what));
  }
  return {};
}

model::ArmStatus ResourceProvider::prepare(Service& /*service*/, const Caller& /*caller*/, Draft& /*draft*/) {
  return {};
}
void ResourceProvider::complete(Service& /*service*/, const ResourceRecord& /*record*/,
                                json::Object& /*answer*/) {}
model::ArmStatus ResourceProvider::check_deletion(Service& /*service*/, const ResourceRecord& /*record*/) {
  return {};
}
void ResourceProvider::release(Service& /*service*/, const ResourceRecord& /*record*/,
                               ResourceChange& /*also*/) {}
Step ResourceProvider::step(Service& /*service*/, const ResourceRecord& /*record*/,
                            const model::Operation* /*operation*/, const std::stop_token& /*stop*/) {
  return {};
}

}  // namespace bootseal::api

// Children that are stored in their parents (subnets, security rules): reading and writing one is reading and
// writing the parent.
#include <fmt/format.h>

#include <algorithm>

#include "resource_changes.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ResourceType;
using net::Request;
using net::Response;

struct Family {
  model::ResourceId child;
  ResourcePointer parent;
};

ArmResult<ResourcePointer> find_parent(Service& service, const std::string& text) {
  auto id = model::ResourceId::parse(text);
  if (!id) return model::refuse(400, "InvalidResourceId", id.error().message);
  BOOTSEAL_ARM_TRY_STATUS(check_place(service, *id, false));
  BOOTSEAL_ARM_TRY(ResourcePointer parent, service.resources.get(id->key()));
  if (parent == nullptr || parent->deleting) {
    model::ArmError error = resource_not_found(*id);
    error.code = "ParentResourceNotFound";
    error.message = fmt::format(
        "Can not perform requested operation on nested resource. Parent resource '{}' not found.", id->name);
    return tl::unexpected(std::move(error));
  }
  return parent;
}

ArmResult<Family> family_of(Service& service, const Request& request) {
  auto id = model::ResourceId::parse(request.path);
  if (!id) return model::refuse(400, "InvalidResourceId", id.error().message);
  BOOTSEAL_ARM_TRY(ResourcePointer parent, find_parent(service, id->parent()));
  return Family{*std::move(id), std::move(parent)};
}

// The children as an array that is there, of a parent's properties.
json::Array& children_of(json::Object& properties, const ResourceType& type) {
  json::Value& children = properties[type.embedded_member];
  if (!children.is_array()) children = json::Array();
  return children.get_array();
}

json::Array::iterator find_child(json::Array& children, const std::string& name) {
  return std::find_if(children.begin(), children.end(), [&](const json::Value& child) {
    return model::equal_ignoring_case(std::string_view(child.at("name").get_string()), name);
  });
}

ArmResult<Response> show(Service& service, const ResourceRecord& parent, const ResourceType& type,
                         const model::ResourceId& id, int status) {
  json::Object answer = resource_answer(service, parent);
  json::Array& children = children_of(answer["properties"].get_object(), type);
  const auto child = find_child(children, id.name);
  if (child == children.end()) {
    model::ArmError error = resource_not_found(id);
    error.code = "NotFound";
    error.message = fmt::format("Resource {} not found.", id.to_string());
    return tl::unexpected(std::move(error));
  }
  Response response = Response::json(status, *child);
  response.headers.emplace_back("ETag", parent.etag());
  return response;
}

ArmResult<Response> get_child(Service& service, const Request& request, const ResourceType& type) {
  BOOTSEAL_ARM_TRY(const Family family, family_of(service, request));
  return show(service, *family.parent, type, family.child, 200);
}

ArmResult<Response> list_children(Service& service, const Request& request, const ResourceType& type) {
  BOOTSEAL_ARM_TRY(const ResourcePointer parent, find_parent(service, model::scope_of_path(request.path)));
  json::Object answer = resource_answer(service, *parent);
  json::Array& children = children_of(answer["properties"].get_object(), type);
  return Response::json(200, json::Object{{"value", std::move(children)}});
}

ArmResult<Response> put_child(Service& service, const Caller& caller, const Request& request,
                              const ResourceType& type, const model::SchemaRef& schema) {
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(json::Value conformed, model::conform(*schema, body));
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY(const Family family, family_of(service, request));
  BOOTSEAL_ARM_TRY_STATUS(model::check_resource_name(type, family.child.name));
  json::Object& child = conformed.get_object();
  if (const json::Value* name = child.if_contains("name");
      name != nullptr &&
      !model::equal_ignoring_case(std::string_view(name->get_string()), family.child.name)) {
    return model::refuse(400, "InvalidRequestContent",
                         fmt::format("The name '{}' in the request does not match the name '{}' in the URL.",
                                     std::string_view(name->get_string()).substr(0, 128), family.child.name),
                         "name");
  }
  Draft draft;
  draft.record = *family.parent;
  draft.existing = family.parent.get();
  json::Array& children = children_of(draft.record.properties(), type);
  const auto old = find_child(children, family.child.name);
  const bool is_new = old == children.end();
  BOOTSEAL_ARM_TRY_STATUS(check_etag(request, "the " + type.singular, is_new ? "" : family.parent->etag()));
  child["name"] = is_new ? json::Value(family.child.name) : old->at("name");
  if (is_new) {
    children.push_back(std::move(conformed));
  } else {
    *old = std::move(conformed);
  }
  BOOTSEAL_ARM_TRY(const ResourceRecord stored, store_draft(service, caller, std::move(draft)));
  return show(service, stored, type, family.child, is_new ? type.status_of_creation : type.status_of_update);
}

ArmResult<Response> delete_child(Service& service, const Caller& caller, const Request& request,
                                 const ResourceType& type) {
  const auto exclusive = service.resources.exclusive();
  auto found = family_of(service, request);
  if (!found && found.error().code == "ParentResourceNotFound") return Response::empty(204);
  BOOTSEAL_ARM_TRY(const Family family, std::move(found));
  Draft draft;
  draft.record = *family.parent;
  draft.existing = family.parent.get();
  json::Array& children = children_of(draft.record.properties(), type);
  const auto child = find_child(children, family.child.name);
  if (child == children.end()) return Response::empty(204);
  BOOTSEAL_ARM_TRY_STATUS(check_etag(request, "the " + type.singular, family.parent->etag()));
  children.erase(child);
  BOOTSEAL_ARM_TRY_STATUS(store_draft(service, caller, std::move(draft)));
  return Response::empty(200);
}

}  // namespace

ApiHandler embedded_handler(const ResourceType& type, std::string_view verb, const model::SchemaRef& schema) {
  if (verb == "Get") {
    return ApiHandler(
        [&type](Service& service, const Request& request) { return get_child(service, request, type); });
  }
  if (verb == "List") {
    return ApiHandler(
        [&type](Service& service, const Request& request) { return list_children(service, request, type); });
  }
  if (verb == "Delete") {
    return ApiHandler([&type](Service& service, const Caller& caller, const Request& request) {
      return delete_child(service, caller, request, type);
    });
  }
  BOOTSEAL_CHECK(verb == "CreateOrUpdate");
  return ApiHandler([&type, schema](Service& service, const Caller& caller, const Request& request) {
    return put_child(service, caller, request, type, schema);
  });
}

}  // namespace bootseal::api

// The common handlers: PUT, GET, PATCH, DELETE and lists of every generic type.
#include <fmt/format.h>

#include "resource_changes.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ResourceType;
using net::Request;
using net::Response;

ArmResult<model::ResourceId> id_of(const Request& request) {
  auto id = model::ResourceId::parse(request.path);
  if (!id) return model::refuse(400, "InvalidResourceId", id.error().message);
  return *std::move(id);
}

ArmResult<ResourcePointer> find_resource(Service& service, const model::ResourceId& id) {
  BOOTSEAL_ARM_TRY_STATUS(check_place(service, id, false));
  BOOTSEAL_ARM_TRY(ResourcePointer found, service.resources.get(id.key()));
  if (found == nullptr) return tl::unexpected(resource_not_found(id));
  return found;
}

Response answer_of(Service& service, const Request& request, const ResourceRecord& record, int status) {
  Response response = Response::json(status, resource_answer(service, record));
  response.headers.emplace_back("ETag", record.etag());
  if (!record.operation_id.empty() && request.method != "GET")
    add_operation_headers(service, request, record.operation_id, response, record.id.provider);
  return response;
}

// Takes location, tags and name out of the conformed body of a PUT.
model::ArmStatus take_envelope(const ResourceType& type, ResourceRecord& record) {
  if (const json::Value* name = record.body.if_contains("name");
      name != nullptr && !model::equal_ignoring_case(std::string_view(name->get_string()), record.id.name)) {
    return model::refuse(400, "InvalidRequestContent",
                         fmt::format("The name '{}' in the request does not match the name '{}' in the URL.",
                                     std::string_view(name->get_string()).substr(0, 128), record.id.name),
                         "name");
  }
  record.body.erase("name");
  if (!type.tracked) return {};
  const json::Value* location = record.body.if_contains("location");
  if (location == nullptr && record.location.empty()) {
    return model::refuse(400, "LocationRequired", "The location property is required for this definition.",
                         "location");
  }
  if (location != nullptr) {
    BOOTSEAL_ARM_TRY_STATUS(check_location(std::string_view(location->get_string()), record.id.full_type()));
    record.location = std::string(kSiteLocation);
  }
  record.tags.clear();
  if (const json::Value* tags = record.body.if_contains("tags")) record.tags = tags->get_object();
  BOOTSEAL_ARM_TRY_STATUS(model::check_tags(record.tags));
  record.body.erase("location");
  record.body.erase("tags");
  return {};
}

ArmResult<Response> get_one(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const model::ResourceId id, id_of(request));
  BOOTSEAL_ARM_TRY(const ResourcePointer record, find_resource(service, id));
  return answer_of(service, request, *record, 200);
}

ArmResult<Response> put_one(Service& service, const Caller& caller, const Request& request,
                            const ResourceType& type, const model::SchemaRef& schema) {
  BOOTSEAL_ARM_TRY(const model::ResourceId id, id_of(request));
  BOOTSEAL_ARM_TRY_STATUS(model::check_resource_name(type, id.name));
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(json::Value conformed, model::conform(*schema, body));
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY_STATUS(check_place(service, id, true));
  if (!id.extended.empty()) BOOTSEAL_ARM_TRY_STATUS(check_extended(service, id));
  BOOTSEAL_ARM_TRY(const ResourcePointer existing, service.resources.get(id.key()));
  BOOTSEAL_ARM_TRY_STATUS(check_etag(request, "the " + type.singular, existing ? existing->etag() : ""));
  Draft draft;
  if (existing) draft.record = *existing;
  if (!existing) draft.record.id = id;
  draft.existing = existing.get();
  draft.record.body = std::move(conformed.get_object());
  BOOTSEAL_ARM_TRY_STATUS(take_envelope(type, draft.record));
  BOOTSEAL_ARM_TRY(const ResourceRecord stored, store_draft(service, caller, std::move(draft)));
  return answer_of(service, request, stored, existing ? type.status_of_update : type.status_of_creation);
}

// Members of the patch take the place of the stored ones; of `properties`, each one by itself.
void apply_patch(const json::Object& patch, ResourceRecord& record) {
  for (const auto& [name, value] : patch) {
    const std::string_view member(name);
    if (member == "tags") {
      record.tags = value.get_object();
    } else if (member == "properties") {
      for (const auto& [key, property] : value.get_object()) record.properties()[key] = property;
    } else {
      record.body[name] = value;
    }
  }
}

ArmResult<Response> patch_one(Service& service, const Caller& caller, const Request& request,
                              const ResourceType& type, const model::SchemaRef& schema) {
  BOOTSEAL_ARM_TRY(const model::ResourceId id, id_of(request));
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(const json::Value conformed, model::conform(*schema, body));
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY(const ResourcePointer existing, find_resource(service, id));
  BOOTSEAL_ARM_TRY_STATUS(check_etag(request, "the " + type.singular, existing->etag()));
  Draft draft;
  draft.record = *existing;
  draft.existing = existing.get();
  apply_patch(conformed.get_object(), draft.record);
  BOOTSEAL_ARM_TRY_STATUS(model::check_tags(draft.record.tags));
  BOOTSEAL_ARM_TRY(const ResourceRecord stored, store_draft(service, caller, std::move(draft)));
  const bool accepted = type.long_running && type.status_of_update == 202;
  return answer_of(service, request, stored, accepted ? 202 : 200);
}

ArmResult<Response> delete_one(Service& service, const Request& request, const ResourceType& type) {
  BOOTSEAL_ARM_TRY(const model::ResourceId id, id_of(request));
  const auto exclusive = service.resources.exclusive();
  auto found = find_resource(service, id);
  if (!found && found.error().code == "ResourceNotFound") return Response::empty(204);
  BOOTSEAL_ARM_TRY(const ResourcePointer record, std::move(found));
  BOOTSEAL_ARM_TRY_STATUS(check_etag(request, "the " + type.singular, record->etag()));
  BOOTSEAL_ARM_TRY(const auto operation, remove_resource(service, *record));
  if (!operation) return Response::empty(200);
  Response response = Response::empty(202);
  add_operation_headers(service, request, *operation, response, id.provider);
  return response;
}

ArmResult<Response> list_some(Service& service, const Caller& caller, const Request& request,
                              const ResourceType& type) {
  const std::string scope = model::scope_of_path(request.path);
  if (const auto place = model::ResourceId::parse(scope))
    BOOTSEAL_ARM_TRY_STATUS(check_place(service, *place, false));
  BOOTSEAL_ARM_TRY(const auto records,
                   service.resources.of_type(type.full_type(), scope == "/" ? "" : model::to_lower(scope)));
  const std::string action = type.full_type() + "/read";
  const bool all = may(service, caller, action, scope);
  std::vector<ListItem> items;
  for (const ResourcePointer& record : records) {
    if (all || may(service, caller, action, record->id.to_string()))
      items.push_back({record->key(), [&service, record] { return resource_answer(service, *record); }});
  }
  return page_of(request, items);
}

}  // namespace

void add_resource_handlers(HandlerTable& table) {
  for (const ResourceType& type : model::resource_types()) {
    if (type.service == ResourceType::Service::own) continue;
    const bool embedded = type.service == ResourceType::Service::embedded;
    for (const model::Endpoint& endpoint : model::endpoints_of(type)) {
      const std::string verb = endpoint.operation_id.substr(endpoint.operation_id.find('_') + 1);
      ApiHandler& handler = table[endpoint.operation_id];
      if (embedded) {
        handler = embedded_handler(type, verb, endpoint.in);
      } else if (verb.starts_with("List")) {
        handler = ApiHandler([&type](Service& service, const Caller& caller, const Request& request) {
          return list_some(service, caller, request, type);
        });
      } else if (verb.starts_with("Get")) {
        handler = ApiHandler(get_one);
      } else if (verb.starts_with("CreateOrUpdate")) {
        handler = ApiHandler(
            [&type, schema = endpoint.in](Service& service, const Caller& caller, const Request& request) {
              return put_one(service, caller, request, type, schema);
            });
      } else if (verb.starts_with("Update")) {
        handler = ApiHandler(
            [&type, schema = endpoint.in](Service& service, const Caller& caller, const Request& request) {
              return patch_one(service, caller, request, type, schema);
            });
      } else {
        handler = ApiHandler(
            [&type](Service& service, const Request& request) { return delete_one(service, request, type); });
      }
    }
  }
}

}  // namespace bootseal::api

// Tags at a scope (Microsoft.Resources/tags/default) and the tag names of the subscription.
#include <fmt/format.h>

#include "inventory.h"
#include "members.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

std::string_view name_of(const json::Object::value_type& tag) {
  return {tag.key().data(), tag.key().size()};
}

json::Object::iterator find_tag(json::Object& tags, std::string_view name) {
  return std::find_if(tags.begin(), tags.end(),
                      [&](const auto& tag) { return model::equal_ignoring_case(name_of(tag), name); });
}

ArmResult<model::ResourceId> target_of(const Request& request) {
  auto id = model::ResourceId::parse(request.path);
  if (!id) return model::refuse(400, "InvalidResourceId", id.error().message);
  auto scope = model::ResourceId::parse(id->scope());
  if (!scope) return model::refuse(400, "InvalidResourceId", scope.error().message);
  return *std::move(scope);
}

Response answer_of(const model::ResourceId& target, const json::Object& tags) {
  json::Object object;
  object["id"] = target.to_string() + "/providers/Microsoft.Resources/tags/default";
  object["name"] = "default";
  object["type"] = "Microsoft.Resources/tags";
  object["properties"] = json::Object{{"tags", tags}};
  return Response::json(200, object);
}

ArmResult<Response> get_tags(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const model::ResourceId target, target_of(request));
  BOOTSEAL_ARM_TRY(const json::Object tags, tags_of(service, target));
  return answer_of(target, tags);
}

ArmResult<json::Object> sent(const Request& request, const model::SchemaRef& schema) {
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(json::Value conformed, model::conform(*schema, body));
  return std::move(conformed.get_object());
}

ArmResult<Response> put_tags(Service& service, const Request& request, const model::SchemaRef& schema) {
  BOOTSEAL_ARM_TRY(const model::ResourceId target, target_of(request));
  BOOTSEAL_ARM_TRY(const json::Object body, sent(request, schema));
  const auto exclusive = service.resources.exclusive();
  const json::Object& tags = object_member(object_member(body, "properties"), "tags");
  BOOTSEAL_ARM_TRY_STATUS(set_tags(service, target, tags));
  return answer_of(target, tags);
}

json::Object merged(json::Object tags, const json::Object& more) {
  for (const auto& tag : more) {
    const auto known = find_tag(tags, name_of(tag));
    if (known == tags.end()) {
      tags[tag.key()] = tag.value();
    } else {
      known->value() = tag.value();
    }
  }
  return tags;
}

json::Object without(json::Object tags, const json::Object& fewer) {
  for (const auto& tag : fewer) {
    const auto known = find_tag(tags, name_of(tag));
    if (known != tags.end() && known->value() == tag.value()) tags.erase(known);
  }
  return tags;
}

ArmResult<Response> patch_tags(Service& service, const Request& request, const model::SchemaRef& schema) {
  BOOTSEAL_ARM_TRY(const model::ResourceId target, target_of(request));
  BOOTSEAL_ARM_TRY(const json::Object body, sent(request, schema));
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY(json::Object tags, tags_of(service, target));
  const json::Object& given = object_member(object_member(body, "properties"), "tags");
  const std::string operation = text_member(body, "operation");
  if (operation == "Merge") {
    tags = merged(std::move(tags), given);
  } else if (operation == "Delete") {
    tags = without(std::move(tags), given);
  } else {
    tags = given;
  }
  BOOTSEAL_ARM_TRY_STATUS(set_tags(service, target, tags));
  return answer_of(target, tags);
}

ArmResult<Response> delete_tags(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const model::ResourceId target, target_of(request));
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY_STATUS(set_tags(service, target, {}));
  return Response::empty(200);
}

// -- tag names: those in use are counted, those that were predefined are stored as {name: {value: true}} --

constexpr std::string_view kPredefined = "tag-names";

struct Predefined {
  json::Object names;
  store::Revision revision = 0;
};

ArmResult<Predefined> predefined(Service& service) {
  BOOTSEAL_ARM_TRY(const auto entry, service.database.store().get(kPredefined));
  Predefined result;
  if (!entry) return result;
  BOOTSEAL_ARM_TRY(const json::Value document, json::parse(entry->value));
  if (document.is_object()) result.names = document.get_object();
  result.revision = entry->mod_revision;
  return result;
}

model::ArmStatus store_predefined(Service& service, const Predefined& what) {
  BOOTSEAL_ARM_TRY_STATUS(service.database.store().transact(
      {{std::string(kPredefined), what.revision}},
      {store::Put{std::string(kPredefined), json::serialize(what.names), {}}}));
  return {};
}

using Counts = std::map<std::string, std::map<std::string, std::size_t>>;  // name -> value -> resources

ArmResult<Counts> counts_of(Service& service) {
  Counts counts;
  BOOTSEAL_ARM_TRY(const Predefined stored, predefined(service));
  for (const auto& name : stored.names) {
    auto& values = counts[std::string(name_of(name))];
    for (const auto& value : name.value().get_object()) values[std::string(name_of(value))];
  }
  const auto count = [&](const json::Object& tags) {
    for (const auto& tag : tags) {
      const auto known = std::find_if(counts.begin(), counts.end(), [&](const auto& one) {
        return model::equal_ignoring_case(one.first, name_of(tag));
      });
      auto& values = known == counts.end() ? counts[std::string(name_of(tag))] : known->second;
      ++values[std::string(tag.value().get_string())];
    }
  };
  BOOTSEAL_ARM_TRY(const auto items, inventory(service, {}));
  for (const InventoryItem& item : items) count(item.tags);
  BOOTSEAL_ARM_TRY(const auto groups, service.database.groups());
  for (const GroupRecord& group : groups) count(group.tags);
  return counts;
}

json::Object count_json(std::size_t count) {
  return {{"type", count == 0 ? "Predefined" : "Total"}, {"value", count}};
}

json::Object value_json(const std::string& id, const std::string& value, std::size_t count) {
  return {{"id", id + "/tagValues/" + value}, {"tagValue", value}, {"count", count_json(count)}};
}

json::Object details_json(const Service& service, const std::string& name,
                          const std::map<std::string, std::size_t>& values) {
  const std::string id = fmt::format("/subscriptions/{}/tagNames/{}", service.site.subscription, name);
  json::Array list;
  std::size_t total = 0;
  for (const auto& [value, count] : values) {
    list.emplace_back(value_json(id, value, count));
    total += count;
  }
  return {{"id", id}, {"tagName", name}, {"count", count_json(total)}, {"values", std::move(list)}};
}

ArmResult<Response> list_names(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  BOOTSEAL_ARM_TRY(const Counts counts, counts_of(service));
  std::vector<ListItem> items;
  for (const auto& [name, values] : counts)
    items.push_back(
        {name, [&service, &name = name, &values = values] { return details_json(service, name, values); }});
  return page_of(request, items);
}

ArmResult<Response> put_name(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const std::string& name = request.parameter("tagName");
  BOOTSEAL_ARM_TRY_STATUS(model::check_tags({{name, ""}}));
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY(Predefined stored, predefined(service));
  const bool is_new = find_tag(stored.names, name) == stored.names.end();
  if (is_new) {
    stored.names[name] = json::Object();
    BOOTSEAL_ARM_TRY_STATUS(store_predefined(service, stored));
  }
  return Response::json(is_new ? 201 : 200, details_json(service, name, {}));
}

ArmResult<Response> delete_name(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY(Predefined stored, predefined(service));
  const auto name = find_tag(stored.names, request.parameter("tagName"));
  if (name == stored.names.end()) return Response::empty(204);
  stored.names.erase(name);
  BOOTSEAL_ARM_TRY_STATUS(store_predefined(service, stored));
  return Response::empty(200);
}

ArmResult<Response> change_value(Service& service, const Request& request, bool add) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  const std::string& value = request.parameter("tagValue");
  const auto exclusive = service.resources.exclusive();
  BOOTSEAL_ARM_TRY(Predefined stored, predefined(service));
  const auto name = find_tag(stored.names, request.parameter("tagName"));
  if (name == stored.names.end()) {
    if (!add) return Response::empty(204);
    return model::refuse(404, "TagNotFound",
                         fmt::format("The tag name '{}' is not predefined. Make it first: PUT …/tagNames/{}.",
                                     request.parameter("tagName").substr(0, 128),
                                     request.parameter("tagName").substr(0, 128)));
  }
  const std::string text(name_of(*name));
  BOOTSEAL_ARM_TRY_STATUS(model::check_tags({{text, value}}));
  json::Object& values = name->value().get_object();
  const bool known = values.contains(value);
  if (!add && !known) return Response::empty(204);
  if (add) {
    values[value] = true;
  } else {
    values.erase(value);
  }
  BOOTSEAL_ARM_TRY_STATUS(store_predefined(service, stored));
  if (!add) return Response::empty(200);
  const std::string id = fmt::format("/subscriptions/{}/tagNames/{}", service.site.subscription, text);
  return Response::json(known ? 200 : 201, value_json(id, value, 0));
}

}  // namespace

void add_tag_handlers(HandlerTable& table) {
  for (const model::Endpoint& endpoint : model::endpoints()) {
    const std::string& id = endpoint.operation_id;
    if (id.starts_with("Tags_Get")) {
      table[id] = ApiHandler(get_tags);
    } else if (id.starts_with("Tags_CreateOrUpdate")) {
      table[id] = ApiHandler([schema = endpoint.in](Service& service, const Request& request) {
        return put_tags(service, request, schema);
      });
    } else if (id.starts_with("Tags_Update")) {
      table[id] = ApiHandler([schema = endpoint.in](Service& service, const Request& request) {
        return patch_tags(service, request, schema);
      });
    } else if (id.starts_with("Tags_Delete")) {
      table[id] = ApiHandler(delete_tags);
    }
  }
  table["TagNames_List"] = ApiHandler(list_names);
  table["TagNames_Put"] = ApiHandler(put_name);
  table["TagNames_Delete"] = ApiHandler(delete_name);
  table["TagValues_Put"] = ApiHandler(
      [](Service& service, const Request& request) { return change_value(service, request, true); });
  table["TagValues_Delete"] = ApiHandler(
      [](Service& service, const Request& request) { return change_value(service, request, false); });
}

}  // namespace bootseal::api

// GET …/resources.
#include <fmt/format.h>

#include "bootseal/model/filter.h"
#include "inventory.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

const std::vector<std::string_view> kMembers = {"resourceType", "name",     "location", "resourceGroup",
                                                "tagName",      "tagValue", "id"};

class Subject final : public model::Filter::Subject {
 public:
  explicit Subject(const InventoryItem& item) : item_(item) {}

  [[nodiscard]] std::string member(std::string_view name) const override {
    if (name == "resourceType") return item_.id.full_type();
    if (name == "name") return item_.id.name;
    if (name == "location") return item_.location;
    if (name == "resourceGroup") return item_.id.group;
    if (name == "id") return item_.id.to_string();
    return {};
  }
  [[nodiscard]] bool has_tag(std::string_view name, const std::string* value) const override {
    for (const auto& [key, tag] : item_.tags) {
      if (!model::equal_ignoring_case(std::string_view(key), name)) continue;
      return value == nullptr || std::string_view(tag.get_string()) == *value;
    }
    return false;
  }

 private:
  const InventoryItem& item_;
};

struct Expand {
  bool created = false;
  bool changed = false;
  bool state = false;
};

Expand expand_of(const Request& request) {
  const std::string text = model::to_lower(request.query_value("$expand").value_or(""));
  return {text.find("createdtime") != std::string::npos, text.find("changedtime") != std::string::npos,
          text.find("provisioningstate") != std::string::npos};
}

json::Object item_json(const InventoryItem& item, const Expand& expand) {
  json::Object object;
  object["id"] = item.id.to_string();
  object["name"] = item.id.name;
  object["type"] = item.id.full_type();
  object["location"] = item.location;
  object["tags"] = item.tags;
  for (const auto& [name, value] : item.more) object[name] = value;
  if (expand.created) object["createdTime"] = format_time(item.created_time);
  if (expand.changed) object["changedTime"] = format_time(item.changed_time);
  if (expand.state) object["provisioningState"] = item.provisioning_state;
  return object;
}

ArmResult<Response> list(Service& service, const Caller& caller, const Request& request,
                         const std::string& group_key) {
  BOOTSEAL_ARM_TRY(const model::Filter filter,
                   model::Filter::parse(request.query_value("$filter").value_or(""), kMembers));
  // A filter for one group needs to look at that group only.
  std::string key = group_key;
  if (const std::string wanted = filter.required("resourceGroup"); key.empty() && !wanted.empty())
    key = model::ResourceId::of_group(service.site.subscription, wanted).key();
  BOOTSEAL_ARM_TRY(auto items, inventory(service, key));
  const Expand expand = expand_of(request);
  std::vector<ListItem> shown;
  for (InventoryItem& item : items) {
    if (!filter.matches(Subject(item))) continue;
    const std::string id = item.id.to_string();
    if (!may(service, caller, item.id.full_type() + "/read", id)) continue;
    shown.push_back(
        {model::to_lower(id), [item = std::move(item), expand] { return item_json(item, expand); }});
  }
  return page_of(request, shown);
}

ArmResult<Response> list_all(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  return list(service, caller, request, {});
}

ArmResult<Response> list_in_group(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY(const GroupRecord group, find_group(service, request));
  return list(service, caller, request, model::ResourceId::of_group(group.subscription, group.name).key());
}

}  // namespace

void add_inventory_handlers(HandlerTable& table) {
  table["Resources_List"] = ApiHandler(list_all);
  table["Resources_ListAtGroup"] = ApiHandler(list_in_group);
}

}  // namespace bootseal::api

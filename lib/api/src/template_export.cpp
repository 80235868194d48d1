// A group as a template: every resource as it was asked for, without what is computed.
#include <algorithm>
#include <array>
#include <span>

#include "bootseal/model/virtual_machine.h"
#include "bootseal/template/expression.h"
#include "deployment_views.h"

namespace bootseal::api {
namespace {

// Members of a machine's answer that no request has.
constexpr std::array<std::string_view, 9> kComputed{
    "id", "name", "type", "etag", "provisioningState", "vmId", "timeCreated", "instanceView", "resources"};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::any_of(names,
                             [&](std::string_view one) { return model::equal_ignoring_case(one, name); });
}

// Texts that would read as expressions are written so that they do not.
json::Value escaped(const json::Value& value) {
  if (value.is_string()) return json::Value(boost::json::string(templates::escape_text(value.get_string())));
  if (const json::Array* list = value.if_array()) {
    json::Array result;
    for (const json::Value& element : *list) result.push_back(escaped(element));
    return json::Value(std::move(result));
  }
  if (const json::Object* members = value.if_object()) {
    json::Object result;
    for (const auto& member : *members)
      result[templates::escape_text(member.key())] = escaped(member.value());
    return json::Value(std::move(result));
  }
  return value;
}

// The ids of other exported resources that this one names.
void find_references(const json::Value& value, const std::set<std::string>& exported, const std::string& own,
                     std::set<std::string>& found) {
  if (value.is_string()) {
    const std::string text = model::to_lower(value.get_string());
    for (const std::string& id : exported)
      if (id != own && (text == id || text.starts_with(id + "/"))) found.insert(id);
  } else if (const json::Array* list = value.if_array()) {
    for (const json::Value& element : *list) find_references(element, exported, own, found);
  } else if (const json::Object* members = value.if_object()) {
    for (const auto& member : *members) find_references(member.value(), exported, own, found);
  }
}

json::Object without_computed(const json::Object& members) {
  json::Object result;
  for (const auto& member : members)
    if (!is_one_of(member.key(), kComputed)) result[member.key()] = member.value();
  return result;
}

// What a request that makes this resource would send.
model::ArmResult<json::Object> settings_of(Service& service, const model::ResourceId& id) {
  if (model::equal_ignoring_case(id.full_type(), model::kVirtualMachineType)) {
    BOOTSEAL_ARM_TRY(const auto vm, service.database.vm(id.key()));
    if (!vm) return json::Object();
    json::Object answer = without_computed(vm_answer(service, *vm, false));
    if (json::Value* properties = answer.if_contains("properties"))
      *properties = without_computed(properties->get_object());
    if (json::Value* identity = answer.if_contains("identity");
        identity != nullptr && identity->is_object()) {
      identity->get_object().erase("principalId");
      identity->get_object().erase("tenantId");
    }
    return answer;
  }
  BOOTSEAL_ARM_TRY(const ResourcePointer record, service.resources.get(id.key()));
  if (!record) return json::Object();
  json::Object result;
  if (!record->location.empty()) result["location"] = record->location;
  if (!record->tags.empty()) result["tags"] = record->tags;
  for (const auto& member : record->body) result[member.key()] = member.value();
  return result;
}

}  // namespace

model::ArmResult<json::Object> export_group(Service& service, const std::string& group_id,
                                            const std::set<std::string>& wanted) {
  BOOTSEAL_ARM_TRY(std::vector<GroupMember> members, members_of_group(service, group_id));
  std::erase_if(members, [&](const GroupMember& member) {
    return !wanted.empty() && !wanted.contains(member.id.key());
  });
  std::set<std::string> exported;
  for (const GroupMember& member : members) exported.insert(member.id.key());
  json::Array resources;
  for (const GroupMember& member : members) {
    BOOTSEAL_ARM_TRY(const json::Object settings, settings_of(service, member.id));
    json::Object resource{{"type", member.id.full_type()},
                          {"apiVersion", member.api_version},
                          {"name", templates::escape_text(member.id.name)}};
    std::set<std::string> references;
    find_references(json::Value(settings), exported, member.id.key(), references);
    json::Array depends_on;
    for (const std::string& id : references) depends_on.push_back(json::Value(id));
    if (!depends_on.empty()) resource["dependsOn"] = std::move(depends_on);
    for (const auto& part : settings) resource[part.key()] = escaped(part.value());
    resources.push_back(std::move(resource));
  }
  json::Object document{
      {"$schema", "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#"},
      {"contentVersion", "1.0.0.0"},
      {"parameters", json::Object{}},
      {"variables", json::Object{}},
      {"resources", std::move(resources)}};
  return json::Object{{"template", std::move(document)}};
}

}  // namespace bootseal::api

#include "bootseal/model/resource_type.h"
#include "bootseal/model/virtual_machine.h"
#include "bootseal/template/what_if.h"
#include "deployment_views.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kReadVersion = "2022-08-01";

json::Object change(const std::string& id, std::string_view type) {
  return {{"resourceId", id}, {"changeType", type}};
}

class WhatIf {
 public:
  WhatIf(Service& service, const Caller& caller, const DeploymentRequest& request)
      : service_(service), caller_(caller), request_(request) {}

  model::ArmStatus add(templates::Plan& plan) {
    for (const std::size_t index : plan.order()) {
      const templates::PlannedResource& resource = plan.resources()[index];
      if (resource.is_deployment()) {
        BOOTSEAL_ARM_TRY(const auto nested, plan.nested(index));
        if (nested) BOOTSEAL_ARM_TRY_STATUS(add(*nested));
        continue;
      }
      seen_.insert(model::to_lower(resource.id));
      BOOTSEAL_ARM_TRY(json::Object wanted, plan.preview(index));
      changes_.push_back(compare(resource, std::move(wanted)));
    }
    return {};
  }

  // What is in the group and not in the template: stays, or goes in complete mode.
  model::ArmStatus add_others(const std::string& group) {
    BOOTSEAL_ARM_TRY(const std::vector<GroupMember> members, members_of_group(service_, group));
    for (const GroupMember& member : members) {
      if (seen_.contains(member.id.key())) continue;
      const std::string id = member.id.to_string();
      json::Object entry = change(id, request_.complete ? "Delete" : "Ignore");
      const InnerAnswer stored = call_inside(service_, caller_, "GET", id, member.api_version);
      if (!stored.good()) continue;
      if (!request_.only_ids) entry["before"] = stored.body;
      changes_.push_back(std::move(entry));
    }
    return {};
  }

  json::Array take() { return std::move(changes_); }

 private:
  json::Object compare(const templates::PlannedResource& resource, json::Object wanted) {
    const InnerAnswer stored = call_inside(service_, caller_, "GET", resource.id, resource.api_version);
    json::Object after{{"id", resource.id},
                       {"type", resource.type},
                       {"name", resource.name},
                       {"apiVersion", resource.api_version}};
    for (const auto& member : wanted) after[member.key()] = member.value();
    if (!stored.good() || !stored.body.is_object()) {
      json::Object entry = change(resource.id, stored.response.status == 404 ? "Create" : "Unsupported");
      if (stored.response.status != 404) entry["unsupportedReason"] = stored.error().message;
      if (!request_.only_ids) entry["after"] = std::move(after);
      return entry;
    }
    json::Array delta = templates::property_changes(stored.body.get_object(), wanted);
    json::Object entry = change(resource.id, delta.empty() ? "NoChange" : "Modify");
    if (request_.only_ids) return entry;
    entry["before"] = stored.body;
    entry["after"] = std::move(after);
    if (!delta.empty()) entry["delta"] = std::move(delta);
    return entry;
  }

  Service& service_;
  const Caller& caller_;
  const DeploymentRequest& request_;
  std::set<std::string> seen_;
  json::Array changes_;
};

}  // namespace

model::ArmResult<std::vector<GroupMember>> members_of_group(Service& service, const std::string& group_id) {
  std::vector<GroupMember> members;
  const std::string group = model::to_lower(group_id);
  BOOTSEAL_ARM_TRY(const auto vms, service.database.vms(group));
  for (const VmRecord& vm : vms) members.push_back({vm.id, std::string(kReadVersion)});
  BOOTSEAL_ARM_TRY(const auto resources, service.resources.below(group));
  for (const ResourcePointer& resource : resources) {
    if (!resource->id.parents.empty() || !resource->id.extended.empty()) continue;
    const model::ResourceType* type = model::find_resource_type(resource->id);
    const bool known = type != nullptr && !type->api_versions.empty();
    members.push_back({resource->id, known ? type->api_versions.front() : std::string(kReadVersion)});
  }
  return members;
}

model::ArmResult<json::Array> what_if_changes(Service& service, const Caller& caller,
                                              const DeploymentTarget& target,
                                              const DeploymentRequest& request, templates::Plan& plan) {
  WhatIf what_if(service, caller, request);
  BOOTSEAL_ARM_TRY_STATUS(what_if.add(plan));
  if (target.in_group) BOOTSEAL_ARM_TRY_STATUS(what_if.add_others(target.scope));
  return what_if.take();
}

}  // namespace bootseal::api

// Larger answers about deployments.
#pragma once

#include <set>

#include "deployments.h"

namespace bootseal::api {

// [{"resourceId","changeType","before"?,"after"?,"delta"?}], what the plan would change; nested deployments
// as far as they are known. As the caller sees it.
model::ArmResult<json::Array> what_if_changes(Service& service, const Caller& caller,
                                              const DeploymentTarget& target,
                                              const DeploymentRequest& request, templates::Plan& plan);
// A template that makes what is in a group: {"template":{…}}. `wanted` holds ids in lower case; empty =
// everything.
model::ArmResult<json::Object> export_group(Service& service, const std::string& group_id,
                                            const std::set<std::string>& wanted);

// The resources of a group that stand by themselves: id and type.
struct GroupMember {
  model::ResourceId id;
  std::string api_version;
};
model::ArmResult<std::vector<GroupMember>> members_of_group(Service& service, const std::string& group_id);

}  // namespace bootseal::api

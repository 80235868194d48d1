// Network security groups and their rules.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "bootseal/base/ids.h"
#include "members.h"
#include "network.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;

struct Users {
  std::vector<std::string> interfaces;
  std::vector<std::string> subnets;
};

// Who names the group in a member `networkSecurityGroup`.
ArmResult<Users> users_of(Service& service, const ResourceRecord& record) {
  BOOTSEAL_ARM_TRY(const auto referrers, service.resources.referrers(record.key()));
  const auto names_it = [&](const json::Object& properties) {
    return model::equal_ignoring_case(reference_member(properties, "networkSecurityGroup"),
                                      record.id.to_string());
  };
  Users users;
  for (const ResourcePointer& referrer : referrers) {
    if (names_it(referrer->properties())) users.interfaces.push_back(referrer->id.to_string());
    for (const json::Value& value : array_member(referrer->properties(), "subnets")) {
      const json::Object& subnet = value.get_object();
      if (names_it(object_member(subnet, "properties")))
        users.subnets.push_back(referrer->id.child("subnets", text_member(subnet, "name")).to_string());
    }
  }
  return users;
}

class SecurityGroupProvider final : public ResourceProvider {
 public:
  ArmStatus prepare(Service& /*service*/, const Caller& /*caller*/, Draft& draft) override {
    json::Object& properties = draft.record.properties();
    if (draft.existing != nullptr && !properties.contains("securityRules"))
      properties["securityRules"] = array_member(draft.existing->properties(), "securityRules");
    json::Array& rules = make_array_member(properties, "securityRules");
    const model::ResourceType* type =
        model::find_resource_type("Microsoft.Network", "networkSecurityGroups/securityRules");
    for (auto rule = rules.begin(); rule != rules.end(); ++rule) {
      const std::string name = text_member(rule->get_object(), "name");
      BOOTSEAL_ARM_TRY_STATUS(model::check_resource_name(*type, name));
      const bool twice = std::any_of(rules.begin(), rule, [&](const json::Value& other) {
        return model::equal_ignoring_case(text_member(other.get_object(), "name"), name);
      });
      if (twice) {
        return model::refuse(
            400, "InvalidRequestFormat",
            fmt::format("Network security group '{}' names two rules '{}'.", draft.record.id.name, name),
            "securityRules");
      }
    }
    BOOTSEAL_ARM_TRY_STATUS(model::parse_security_rules(rules));
    if (!draft.record.state.contains("resourceGuid"))
      draft.record.state["resourceGuid"] = Guid::random().to_string();
    return {};
  }

  void complete(Service& service, const ResourceRecord& record, json::Object& answer) override {
    json::Object& properties = answer["properties"].get_object();
    properties["resourceGuid"] = text_member(record.state, "resourceGuid");
    for (json::Value& rule : make_array_member(properties, "securityRules")) {
      json::Object& stored = rule.get_object()["properties"].get_object();
      for (const char* many : {"sourcePortRanges", "destinationPortRanges", "sourceAddressPrefixes",
                               "destinationAddressPrefixes"}) {
        set_default(stored, many, json::Array());
      }
    }
    json::Array defaults;
    for (const model::SecurityRule& rule : model::default_security_rules()) {
      json::Object shown = model::to_json(rule);
      shown["id"] = record.id.child("defaultSecurityRules", rule.name).to_string();
      shown["etag"] = record.etag();
      shown["type"] = "Microsoft.Network/networkSecurityGroups/defaultSecurityRules";
      defaults.emplace_back(std::move(shown));
    }
    properties["defaultSecurityRules"] = std::move(defaults);
    const auto users = users_of(service, record);
    if (!users) return;
    if (!users->interfaces.empty()) properties["networkInterfaces"] = reference_list(users->interfaces);
    if (!users->subnets.empty()) properties["subnets"] = reference_list(users->subnets);
  }

  ArmStatus check_deletion(Service& service, const ResourceRecord& record) override {
    BOOTSEAL_ARM_TRY(Users users, users_of(service, record));
    users.interfaces.insert(users.interfaces.end(), users.subnets.begin(), users.subnets.end());
    if (users.interfaces.empty()) return {};
    return model::refuse(
        400, "InUseNetworkSecurityGroupCannotBeDeleted",
        fmt::format("Network security group {} cannot be deleted because it is in use by the "
                    "following resources: {}. In order to delete the Network security group, remove "
                    "the association with the resource(s).",
                    record.id.to_string(), fmt::join(users.interfaces, ", ")));
  }
};

}  // namespace

std::unique_ptr<ResourceProvider> make_security_group_provider() {
  return std::make_unique<SecurityGroupProvider>();
}

}  // namespace bootseal::api

// What the tests of the template library share.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "bootseal/template/evaluator.h"

namespace bootseal::templates {

inline json::Value parse_json(std::string_view text) {
  auto value = json::parse(text, {.bytes = 1 << 24, .depth = 100});
  EXPECT_TRUE(value) << text << ": " << (value ? "" : value.error().message);
  return value ? *value : json::Value();
}

inline Surroundings test_surroundings() {
  Surroundings result;
  result.scope = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg1";
  result.resource_group =
      parse_json(R"({"id":"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg1",
    "name":"rg1","location":"local","tags":{"Env":"test"},"properties":{"provisioningState":"Succeeded"}})")
          .get_object();
  result.subscription = parse_json(R"({"id":"/subscriptions/00000000-0000-0000-0000-000000000001",
    "subscriptionId":"00000000-0000-0000-0000-000000000001","tenantId":"t","displayName":"Site"})")
                            .get_object();
  result.deployment = parse_json(R"({"name":"dep1","properties":{"mode":"Incremental"}})").get_object();
  result.now = *parse_time("2026-11-21T20:44:45.123456Z");
  return result;
}

// Parameters and variables from a map; no user functions.
class MapSymbols final : public Symbols {
 public:
  model::ArmResult<json::Value> parameter(std::string_view name, Evaluator& /*evaluator*/) override {
    return find(parameters, name);
  }
  model::ArmResult<json::Value> variable(std::string_view name, Evaluator& /*evaluator*/) override {
    return find(variables, name);
  }
  const UserFunction* function(std::string_view name_space, std::string_view name) override {
    const auto found = functions.find(std::string(name_space) + "." + std::string(name));
    return found == functions.end() ? nullptr : &found->second;
  }
  std::vector<Named> resources_named(std::string_view name) override {
    if (name == "ip")
      return {{"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/ip",
               "2022-01-01"}};
    return {};
  }

  json::Object parameters;
  json::Object variables;
  std::map<std::string, UserFunction> functions;

 private:
  static model::ArmResult<json::Value> find(const json::Object& in, std::string_view name) {
    if (const json::Value* found = find_member(in, name)) return *found;
    return invalid_template("no such name: " + std::string(name));
  }
};

}  // namespace bootseal::templates

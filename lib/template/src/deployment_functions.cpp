// parameters, variables, copyIndex, and what is around a deployment.
#include <algorithm>

#include "functions.h"

namespace bootseal::templates {
namespace {

Outcome parameters(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view name, call.text(0));
  return call.evaluator.symbols().parameter(name, call.evaluator);
}
Outcome variables(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view name, call.text(0));
  return call.evaluator.symbols().variable(name, call.evaluator);
}

// copyIndex(), copyIndex(offset), copyIndex('loop'), copyIndex('loop', offset).
Outcome copy_index(Call& call) {
  const bool with_name = call.count() > 0 && call.arguments[0].is_string();
  std::int64_t offset = 0;
  if (call.count() == 2 || (call.count() == 1 && !with_name)) {
    BOOTSEAL_ARM_TRY(offset, call.integer(call.count() - 1));
  }
  const std::vector<Loop>& loops = call.evaluator.loops;
  auto loop = loops.rbegin();
  if (with_name) {
    loop = std::find_if(loops.rbegin(), loops.rend(), [&](const Loop& one) {
      return model::equal_ignoring_case(one.name, text_of(call.arguments[0]));
    });
    if (loop == loops.rend())
      return call.refuse(fmt::format("there is no copy loop '{}' around it.", text_of(call.arguments[0])));
  }
  if (loop == loops.rend()) {
    return invalid_template(
        "The template function 'copyIndex' is not expected at this location. The function can only be used "
        "in a resource "
        "with copy specified. Please see https://aka.ms/arm-copy for usage details.");
  }
  std::int64_t result = 0;
  if (__builtin_add_overflow(loop->index, offset, &result)) return call.refuse("the offset does not fit.");
  return json::Value(result);
}

Outcome resource_group(Call& call) {
  const json::Object& group = call.evaluator.surroundings().resource_group;
  if (!group.empty()) return json::Value(group);
  return invalid_template(
      "The template function 'RESOURCEGROUP' is not expected at this location: the deployment is not at a "
      "resource group. "
      "Please see https://aka.ms/arm-functions for usage details.");
}
Outcome subscription(Call& call) {
  return json::Value(call.evaluator.surroundings().subscription);
}
Outcome tenant(Call& call) {
  return json::Value(call.evaluator.surroundings().tenant);
}
Outcome deployment(Call& call) {
  return json::Value(call.evaluator.surroundings().deployment);
}
Outcome environment(Call& call) {
  return json::Value(call.evaluator.surroundings().environment);
}

}  // namespace

void add_deployment_functions(FunctionTable& table) {
  table["parameters"] = {1, 1, parameters};
  table["variables"] = {1, 1, variables};
  table["copyindex"] = {0, 2, copy_index};
  table["resourcegroup"] = {0, 0, resource_group};
  table["subscription"] = {0, 0, subscription};
  table["tenant"] = {0, 0, tenant};
  table["deployment"] = {0, 0, deployment};
  table["environment"] = {0, 0, environment};
}

}  // namespace bootseal::templates

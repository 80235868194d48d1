// true, false, null; what is decided without looking at every argument.
#include "functions.h"

namespace bootseal::templates {
namespace {

model::ArmResult<bool> condition(Evaluator& evaluator, const Expression& call, std::size_t index) {
  BOOTSEAL_ARM_TRY(const json::Value value, evaluator.expression(*call.arguments[index]));
  if (value.is_bool()) return value.get_bool();
  return invalid_template(fmt::format(
      "Unable to evaluate template language function '{}': argument {} must be true or false, it is {}.",
      call.text, index + 1, kind_name(value)));
}

Outcome choose(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(const bool first, condition(evaluator, call, 0));
  return evaluator.expression(*call.arguments[first ? 1 : 2]);
}

Outcome all(Evaluator& evaluator, const Expression& call) {
  for (std::size_t i = 0; i < call.arguments.size(); ++i) {
    BOOTSEAL_ARM_TRY(const bool holds, condition(evaluator, call, i));
    if (!holds) return json::Value(false);
  }
  return json::Value(true);
}

Outcome any(Evaluator& evaluator, const Expression& call) {
  for (std::size_t i = 0; i < call.arguments.size(); ++i) {
    BOOTSEAL_ARM_TRY(const bool holds, condition(evaluator, call, i));
    if (holds) return json::Value(true);
  }
  return json::Value(false);
}

Outcome coalesce(Evaluator& evaluator, const Expression& call) {
  for (const ExpressionTree& argument : call.arguments) {
    BOOTSEAL_ARM_TRY(json::Value value, evaluator.expression(*argument));
    if (!value.is_null()) return value;
  }
  return json::Value(nullptr);
}

Outcome negate(Call& call) {
  BOOTSEAL_ARM_TRY(const bool value, call.boolean(0));
  return json::Value(!value);
}
Outcome yes(Call& /*call*/) {
  return json::Value(true);
}
Outcome no(Call& /*call*/) {
  return json::Value(false);
}
Outcome nothing(Call& /*call*/) {
  return json::Value(nullptr);
}

Outcome to_boolean(Call& call) {
  const json::Value& value = call.arguments[0];
  if (value.is_bool()) return value;
  if (value.is_int64()) return json::Value(value.get_int64() != 0);
  if (value.is_string() && model::equal_ignoring_case(text_of(value), "true")) return json::Value(true);
  if (value.is_string() && model::equal_ignoring_case(text_of(value), "false")) return json::Value(false);
  return call.wrong(0, "a boolean, an integer, or the string 'true' or 'false'");
}

}  // namespace

void add_logic_functions(FunctionTable& table) {
  table["if"] = {3, 3, nullptr, choose};
  table["and"] = {2, kAnyCount, nullptr, all};
  table["or"] = {2, kAnyCount, nullptr, any};
  table["coalesce"] = {1, kAnyCount, nullptr, coalesce};
  table["not"] = {1, 1, negate};
  table["true"] = {0, 0, yes};
  table["false"] = {0, 0, no};
  table["null"] = {0, 0, nothing};
  table["bool"] = {1, 1, to_boolean};
}

}  // namespace bootseal::templates

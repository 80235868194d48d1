// Numbers and comparison.
#include <algorithm>
#include <charconv>
#include <limits>

#include "functions.h"

namespace bootseal::templates {
namespace {

using Integer = std::int64_t;

template <typename Operation>
Outcome calculate(Call& call, Operation operation) {
  BOOTSEAL_ARM_TRY(const Integer a, call.integer(0));
  BOOTSEAL_ARM_TRY(const Integer b, call.integer(1));
  Integer result = 0;
  if (operation(a, b, &result)) return call.refuse("the result does not fit into 64 bits.");
  return json::Value(result);
}

Outcome add(Call& call) {
  return calculate(call, [](Integer a, Integer b, Integer* r) { return __builtin_add_overflow(a, b, r); });
}
Outcome sub(Call& call) {
  return calculate(call, [](Integer a, Integer b, Integer* r) { return __builtin_sub_overflow(a, b, r); });
}
Outcome mul(Call& call) {
  return calculate(call, [](Integer a, Integer b, Integer* r) { return __builtin_mul_overflow(a, b, r); });
}

model::ArmStatus check_divisor(Call& call) {
  BOOTSEAL_ARM_TRY(const Integer a, call.integer(0));
  BOOTSEAL_ARM_TRY(const Integer b, call.integer(1));
  if (b == 0) return call.refuse("the second argument is zero; it cannot be divided by zero.");
  if (b == -1 && a == std::numeric_limits<Integer>::min())
    return call.refuse("the result does not fit into 64 bits.");
  return {};
}
Outcome div(Call& call) {
  BOOTSEAL_ARM_TRY_STATUS(check_divisor(call));
  return calculate(call, [](Integer a, Integer b, Integer* r) { return (*r = a / b, false); });
}
Outcome mod(Call& call) {
  BOOTSEAL_ARM_TRY_STATUS(check_divisor(call));
  return calculate(call, [](Integer a, Integer b, Integer* r) { return (*r = a % b, false); });
}

Outcome to_integer(Call& call) {
  if (!call.arguments[0].is_string()) {
    BOOTSEAL_ARM_TRY(const Integer value, call.integer(0));
    return json::Value(value);
  }
  std::string_view text = text_of(call.arguments[0]);
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  Integer value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size())
    return call.refuse(fmt::format("'{}' is not an integer.", text_of(call.arguments[0])));
  return json::Value(value);
}

// The integers of the arguments, or of the only one, an array.
model::ArmResult<std::vector<Integer>> integers(Call& call) {
  if (call.count() == 1 && call.arguments[0].is_array()) {
    json::Array elements = call.arguments[0].get_array();
    call.arguments.assign(elements.begin(), elements.end());
    if (call.arguments.empty()) return call.refuse("the array is empty.");
  }
  std::vector<Integer> values;
  for (std::size_t i = 0; i < call.count(); ++i) {
    BOOTSEAL_ARM_TRY(const Integer value, call.integer(i));
    values.push_back(value);
  }
  return values;
}
Outcome minimum(Call& call) {
  BOOTSEAL_ARM_TRY(const std::vector<Integer> values, integers(call));
  return json::Value(*std::ranges::min_element(values));
}
Outcome maximum(Call& call) {
  BOOTSEAL_ARM_TRY(const std::vector<Integer> values, integers(call));
  return json::Value(*std::ranges::max_element(values));
}

// Below zero, zero, or above, for two integers or two strings.
model::ArmResult<int> compare(const Call& call) {
  if (call.arguments[0].is_string()) {
    BOOTSEAL_ARM_TRY(const std::string_view a, call.text(0));
    BOOTSEAL_ARM_TRY(const std::string_view b, call.text(1));
    return a.compare(b);
  }
  BOOTSEAL_ARM_TRY(const Integer a, call.integer(0));
  BOOTSEAL_ARM_TRY(const Integer b, call.integer(1));
  return a < b ? -1 : a > b ? 1 : 0;
}
Outcome less(Call& call) {
  BOOTSEAL_ARM_TRY(const int order, compare(call));
  return json::Value(order < 0);
}
Outcome less_or_equals(Call& call) {
  BOOTSEAL_ARM_TRY(const int order, compare(call));
  return json::Value(order <= 0);
}
Outcome greater(Call& call) {
  BOOTSEAL_ARM_TRY(const int order, compare(call));
  return json::Value(order > 0);
}
Outcome greater_or_equals(Call& call) {
  BOOTSEAL_ARM_TRY(const int order, compare(call));
  return json::Value(order >= 0);
}
Outcome equals(Call& call) {
  return json::Value(call.arguments[0] == call.arguments[1]);
}

}  // namespace

void add_number_functions(FunctionTable& table) {
  table["add"] = {2, 2, add};
  table["sub"] = {2, 2, sub};
  table["mul"] = {2, 2, mul};
  table["div"] = {2, 2, div};
  table["mod"] = {2, 2, mod};
  table["int"] = {1, 1, to_integer};
  table["min"] = {1, kAnyCount, minimum};
  table["max"] = {1, kAnyCount, maximum};
  table["less"] = {2, 2, less};
  table["lessorequals"] = {2, 2, less_or_equals};
  table["greater"] = {2, 2, greater};
  table["greaterorequals"] = {2, 2, greater_or_equals};
  table["equals"] = {2, 2, equals};
}

}  // namespace bootseal::templates

#include "bootseal/template/evaluator.h"

#include <algorithm>

#include "functions.h"

namespace bootseal::templates {
namespace {

constexpr std::size_t kMaxValueDepth = 96;
constexpr std::uint64_t kWorkOfCall = 16;
constexpr std::int64_t kMaxCopies = 800;

class Nesting {
 public:
  explicit Nesting(std::size_t& depth) : depth_(depth) { ++depth_; }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  std::size_t& depth_;
};

// The bytes that a value takes, roughly; npos when it is nested too deeply.
std::uint64_t weigh(const json::Value& value, std::size_t depth) {
  if (depth > kMaxValueDepth) return std::string_view::npos;
  std::uint64_t sum = kWorkOfCall;
  const auto add = [&](std::uint64_t more) {
    sum = more == std::string_view::npos ? more : sum + more;
    return more != std::string_view::npos;
  };
  if (value.is_string()) return sum + value.get_string().size();
  if (const json::Array* array = value.if_array()) {
    for (const json::Value& element : *array)
      if (!add(weigh(element, depth + 1))) break;
  } else if (const json::Object* object = value.if_object()) {
    for (const auto& member : *object) {
      if (!add(weigh(member.value(), depth + 1))) break;
      sum += member.key().size();
    }
  }
  return sum;
}

tl::unexpected<model::ArmError> too_much() {
  return invalid_template(
      "The template needs more work to evaluate than one deployment may: its loops, variables or functions "
      "grow too "
      "far. Split it into several deployments.");
}

tl::unexpected<model::ArmError> too_deep() {
  return invalid_template("The expressions and values of the template are nested too deeply. Flatten them.");
}

bool is_property_loop(const json::Value& value) {
  const json::Object* loop = value.if_object();
  return loop != nullptr && loop->contains("name") && loop->contains("count") && loop->contains("input");
}

bool are_property_loops(std::string_view name, const json::Value& value) {
  const json::Array* array = value.if_array();
  return model::equal_ignoring_case(name, "copy") && array != nullptr && !array->empty() &&
         std::ranges::all_of(*array, is_property_loop);
}

std::string member_names(const json::Object& object) {
  constexpr std::size_t kShown = 16;
  std::string names;
  std::size_t count = 0;
  for (const auto& member : object) {
    if (++count > kShown) return names + ", …";
    if (!names.empty()) names += ", ";
    names += member.key();
  }
  return names;
}

}  // namespace

model::ArmStatus Budget::charge(std::uint64_t work) {
  spent_ += std::min(work, limits_.work + 1);
  if (spent_ > limits_.work) return too_much();
  return {};
}

model::ArmStatus Budget::charge(const json::Value& value) {
  const std::uint64_t weight = weigh(value, 0);
  if (weight == std::string_view::npos) return too_deep();
  return charge(weight);
}

bool is_deferred(const model::ArmError& error) {
  return error.code == "ExpressionDeferred";
}

tl::unexpected<model::ArmError> invalid_template(std::string message) {
  return model::refuse(400, "InvalidTemplate", std::move(message));
}

const json::Value* find_member(const json::Object& object, std::string_view name) {
  if (const json::Value* exact = object.if_contains(name)) return exact;
  for (const auto& member : object)
    if (model::equal_ignoring_case(member.key(), name)) return &member.value();
  return nullptr;
}

Outcome Evaluator::expression(const Expression& tree) {
  const Nesting nesting(depth_);
  if (depth_ > budget_.limits().depth) return too_deep();
  switch (tree.kind) {
    case Expression::Kind::text:
      return to_value(tree.text);
    case Expression::Kind::number:
      return json::Value(tree.number);
    case Expression::Kind::call:
      return call(tree);
    case Expression::Kind::member: {
      BOOTSEAL_ARM_TRY(const json::Value target, expression(*tree.target));
      return member(target, tree.text);
    }
    case Expression::Kind::index:
      break;
  }
  BOOTSEAL_ARM_TRY(const json::Value target, expression(*tree.target));
  BOOTSEAL_ARM_TRY(const json::Value index, expression(*tree.arguments.front()));
  return element(target, index);
}

Outcome Evaluator::call(const Expression& tree) {
  BOOTSEAL_ARM_TRY_STATUS(budget_.charge(kWorkOfCall));
  if (!tree.name_space.empty()) return call_user_function(tree);
  const std::string name = model::to_lower(tree.text);
  auto found = functions().find(name);
  if (found == functions().end() && name.starts_with("list")) found = functions().find("list*");
  if (found == functions().end()) {
    return invalid_template(
        fmt::format("The template function '{}' is not valid. Please see "
                    "https://aka.ms/arm-function for usage details.",
                    tree.text));
  }
  const Function& function = found->second;
  if (tree.arguments.size() < function.minimum || tree.arguments.size() > function.maximum) {
    const std::string wanted = function.minimum == function.maximum ? fmt::format("{}", function.minimum)
                               : function.maximum == kAnyCount
                                   ? fmt::format("at least {}", function.minimum)
                                   : fmt::format("{} to {}", function.minimum, function.maximum);
    return invalid_template(fmt::format(
        "Unable to evaluate template language function '{}': function requires {} argument(s) while {} "
        "were provided. Please see https://aka.ms/arm-function-{} for usage details.",
        tree.text, wanted, tree.arguments.size(), name));
  }
  if (function.lazy != nullptr) return function.lazy(*this, tree);
  Call evaluated{tree.text, {}, *this};
  evaluated.arguments.reserve(tree.arguments.size());
  for (const ExpressionTree& argument : tree.arguments) {
    BOOTSEAL_ARM_TRY(json::Value value, expression(*argument));
    evaluated.arguments.push_back(std::move(value));
  }
  BOOTSEAL_ARM_TRY(json::Value result, function.eager(evaluated));
  BOOTSEAL_ARM_TRY_STATUS(budget_.charge(result));
  return result;
}

namespace {

// Inside a user's function: its own parameters, no variables, no other user's functions (as on Azure).
class FunctionSymbols final : public Symbols {
 public:
  explicit FunctionSymbols(std::map<std::string, json::Value> parameters)
      : parameters_(std::move(parameters)) {}

  Outcome parameter(std::string_view name, Evaluator& /*evaluator*/) override {
    const auto found = parameters_.find(model::to_lower(name));
    if (found != parameters_.end()) return found->second;
    return invalid_template(fmt::format("The template function's parameter '{}' is not found.", name));
  }
  Outcome variable(std::string_view name, Evaluator& /*evaluator*/) override {
    return invalid_template(fmt::format(
        "The variable '{}' cannot be used in a template function. Give it as an argument.", name));
  }
  const UserFunction* function(std::string_view /*name_space*/, std::string_view /*name*/) override {
    return nullptr;
  }
  std::vector<Named> resources_named(std::string_view /*name*/) override { return {}; }

 private:
  std::map<std::string, json::Value> parameters_;
};

}  // namespace

Outcome Evaluator::call_user_function(const Expression& tree) {
  const std::string name = fmt::format("{}.{}", tree.name_space, tree.text);
  const UserFunction* function = in_user_function_ ? nullptr : symbols_.function(tree.name_space, tree.text);
  if (function == nullptr) {
    return invalid_template(fmt::format("The template function '{}' is not valid: {}.", name,
                                        in_user_function_
                                            ? "a template function cannot call another one"
                                            : "the template does not define it in 'functions'"));
  }
  if (tree.arguments.size() != function->parameters.size()) {
    return invalid_template(
        fmt::format("Unable to evaluate template function '{}': it requires {} argument(s) while "
                    "{} were provided.",
                    name, function->parameters.size(), tree.arguments.size()));
  }
  std::map<std::string, json::Value> bound;
  for (std::size_t i = 0; i < tree.arguments.size(); ++i) {
    BOOTSEAL_ARM_TRY(json::Value argument, expression(*tree.arguments[i]));
    bound[model::to_lower(function->parameters[i])] = std::move(argument);
  }
  FunctionSymbols inside(std::move(bound));
  Evaluator evaluator(surroundings_, inside, runtime_, budget_);
  evaluator.depth_ = depth_;
  evaluator.in_user_function_ = true;
  return evaluator.value(function->output);
}

Outcome Evaluator::member(const json::Value& target, std::string_view name) {
  const json::Object* object = target.if_object();
  if (object == nullptr) {
    return invalid_template(fmt::format(
        "The language expression property '{}' can't be evaluated: what it is taken of is {}, not an object.",
        name, kind_name(target)));
  }
  if (const json::Value* found = find_member(*object, name)) {
    BOOTSEAL_ARM_TRY_STATUS(budget_.charge(*found));
    return *found;
  }
  return invalid_template(
      fmt::format("The language expression property '{}' doesn't exist, available properties are '{}'.", name,
                  member_names(*object)));
}

Outcome Evaluator::element(const json::Value& target, const json::Value& index) {
  if (index.is_string()) return member(target, text_of(index));
  const json::Array* array = target.if_array();
  if (array == nullptr || !index.is_int64()) {
    return invalid_template(
        fmt::format("The language expression index must be an integer into an array or a name into "
                    "an object; here it is {} into {}.",
                    kind_name(index), kind_name(target)));
  }
  const std::int64_t at = index.get_int64();
  if (at < 0 || static_cast<std::uint64_t>(at) >= array->size()) {
    return invalid_template(fmt::format(
        "The language expression property array index '{}' is out of bounds: the array has {} elements.", at,
        array->size()));
  }
  const json::Value& found = (*array)[static_cast<std::size_t>(at)];
  BOOTSEAL_ARM_TRY_STATUS(budget_.charge(found));
  return found;
}

Outcome Evaluator::text(std::string_view text) {
  if (!is_expression(text)) return to_value(unescape_text(text));
  BOOTSEAL_ARM_TRY_STATUS(budget_.charge(text.size()));
  BOOTSEAL_ARM_TRY(const ExpressionTree tree, parse_expression(text));
  return expression(*tree);
}

Outcome Evaluator::value(const json::Value& value) {
  const Nesting nesting(depth_);
  if (depth_ > budget_.limits().depth) return too_deep();
  BOOTSEAL_ARM_TRY_STATUS(budget_.charge(1));
  if (value.is_string()) {
    Outcome result = text(text_of(value));
    if (result || !keep_deferred || !is_deferred(result.error())) return result;
    if (on_deferred) {
      BOOTSEAL_ARM_TRY(const ExpressionTree tree, parse_expression(text_of(value)));
      on_deferred(*tree);
    }
    return value;
  }
  if (const json::Array* array = value.if_array()) {
    json::Array result;
    for (const json::Value& element : *array) {
      BOOTSEAL_ARM_TRY(json::Value evaluated, this->value(element));
      result.push_back(std::move(evaluated));
    }
    return json::Value(std::move(result));
  }
  if (const json::Object* members = value.if_object()) return object(*members);
  return value;
}

Outcome Evaluator::object(const json::Object& object) {
  json::Object result;
  for (const auto& member : object) {
    if (are_property_loops(member.key(), member.value())) {
      BOOTSEAL_ARM_TRY_STATUS(expand_copies(member.value().get_array(), result));
      continue;
    }
    BOOTSEAL_ARM_TRY(const json::Value name, text(member.key()));
    if (!name.is_string()) {
      return invalid_template(
          fmt::format("The name of a property, '{}', must come out as a string; it is {}.",
                      std::string_view(member.key()), kind_name(name)));
    }
    BOOTSEAL_ARM_TRY(json::Value evaluated, value(member.value()));
    result[text_of(name)] = std::move(evaluated);
  }
  return json::Value(std::move(result));
}

model::ArmStatus Evaluator::expand_copies(const json::Array& copies, json::Object& into) {
  for (const json::Value& copy : copies) {
    const json::Object& loop = copy.get_object();
    BOOTSEAL_ARM_TRY(const std::string name, string(loop.at("name"), "the name of a property's copy"));
    BOOTSEAL_ARM_TRY(const json::Value count, value(loop.at("count")));
    if (!count.is_int64() || count.get_int64() < 0 || count.get_int64() > kMaxCopies) {
      return invalid_template(fmt::format("The copy count of '{}' must be an integer of 0 to {}; it is {}.",
                                          name, kMaxCopies, to_text(count)));
    }
    json::Array elements;
    loops.push_back({name, 0});
    for (std::int64_t i = 0; i < count.get_int64(); ++i) {
      loops.back().index = i;
      Outcome element = value(loop.at("input"));
      if (!element) {
        loops.pop_back();
        return tl::unexpected(std::move(element).error());
      }
      elements.push_back(*std::move(element));
    }
    loops.pop_back();
    into[name] = std::move(elements);
  }
  return {};
}

model::ArmResult<std::string> Evaluator::string(const json::Value& value, std::string_view what) {
  BOOTSEAL_ARM_TRY(const json::Value result, this->value(value));
  if (!result.is_string())
    return invalid_template(fmt::format("Expected {} to be a string; it is {}.", what, kind_name(result)));
  return std::string(text_of(result));
}

}  // namespace bootseal::templates

#include "template_symbols.h"

#include <algorithm>
#include <utility>

#include "functions.h"

namespace bootseal::templates {
namespace {

// A default value or a variable does not see the loops and lambdas around the expression that names it.
class Outside {
 public:
  Outside(Evaluator& evaluator, bool volatile_functions)
      : evaluator_(evaluator), volatile_(evaluator.volatile_functions) {
    loops_.swap(evaluator.loops);
    lambda_variables_.swap(evaluator.lambda_variables);
    evaluator.volatile_functions = volatile_functions;
    keep_deferred_ = std::exchange(evaluator.keep_deferred, false);
  }
  ~Outside() {
    loops_.swap(evaluator_.loops);
    lambda_variables_.swap(evaluator_.lambda_variables);
    evaluator_.volatile_functions = volatile_;
    evaluator_.keep_deferred = keep_deferred_;
  }
  Outside(const Outside&) = delete;
  Outside& operator=(const Outside&) = delete;

 private:
  Evaluator& evaluator_;
  std::vector<Loop> loops_;
  std::vector<std::pair<std::string, json::Value>> lambda_variables_;
  bool volatile_;
  bool keep_deferred_ = false;
};

// Marks a name as being evaluated; a name that is needed for itself is a circle.
class InProgress {
 public:
  InProgress(std::set<std::string>& names, std::string name) : names_(names), name_(std::move(name)) {
    first_ = names_.insert(name_).second;
  }
  ~InProgress() {
    if (first_) names_.erase(name_);
  }
  InProgress(const InProgress&) = delete;
  InProgress& operator=(const InProgress&) = delete;
  [[nodiscard]] bool first() const { return first_; }

 private:
  std::set<std::string>& names_;
  std::string name_;
  bool first_ = false;
};

}  // namespace

model::ArmResult<std::unique_ptr<TemplateSymbols>> TemplateSymbols::create(TemplateContext& context) {
  std::unique_ptr<TemplateSymbols> symbols(new TemplateSymbols(context));
  BOOTSEAL_ARM_TRY(symbols->declared_, parse_parameters(context));
  BOOTSEAL_ARM_TRY_STATUS(check_given(context, symbols->declared_));
  BOOTSEAL_ARM_TRY_STATUS(symbols->read_functions());
  BOOTSEAL_ARM_TRY_STATUS(symbols->read_variables());
  BOOTSEAL_ARM_TRY_STATUS(symbols->settle_parameters());
  return symbols;
}

model::ArmStatus TemplateSymbols::settle_parameters() {
  for (const Parameter& parameter : declared_) {
    Evaluator evaluator(context_.input.surroundings, *this, nullptr, context_.budget);
    BOOTSEAL_ARM_TRY_STATUS(this->parameter(parameter.name, evaluator));
  }
  return {};
}

Outcome TemplateSymbols::parameter(std::string_view name, Evaluator& evaluator) {
  const std::string key = model::to_lower(name);
  if (const auto found = values_.find(key); found != values_.end()) return found->second;
  const auto declared = std::ranges::find_if(
      declared_, [&](const Parameter& one) { return model::equal_ignoring_case(one.name, name); });
  if (declared == declared_.end()) {
    return invalid_template(
        fmt::format("The template parameter '{}' is not found. Please see https://aka.ms/arm-parameter for "
                    "usage details.",
                    name));
  }
  const InProgress mark(in_progress_, "parameter " + key);
  if (!mark.first())
    return TemplateContext::problem(
        "parameters." + declared->name,
        fmt::format("The default value of the parameter '{}' needs itself.", declared->name));
  const json::Value* given = find_member(context_.input.parameters, name);
  if (given != nullptr) given = given->get_object().if_contains("value");
  const bool nothing = given == nullptr || given->is_null();
  json::Value value = nothing ? json::Value(nullptr) : *given;
  if (nothing) {
    BOOTSEAL_ARM_TRY(value, default_of(*declared, evaluator));
  }
  BOOTSEAL_ARM_TRY_STATUS(check_value(context_, *declared, value));
  values_[key] = value;
  return value;
}

Outcome TemplateSymbols::default_of(const Parameter& parameter, Evaluator& evaluator) {
  const std::string path = "parameters." + parameter.name;
  const json::Value* value = find_member(parameter.declaration, "defaultValue");
  const json::Value* nullable = find_member(parameter.declaration, "nullable");
  if (value == nullptr && nullable != nullptr && nullable->is_bool() && nullable->get_bool())
    return json::Value(nullptr);
  if (value == nullptr) {
    return TemplateContext::problem(
        path, fmt::format("The value for the template parameter '{}'{} is not provided. Please see "
                          "https://aka.ms/arm-create-parameter-file for usage details.",
                          parameter.name, context_.at(path)));
  }
  const Outside outside(evaluator, true);
  Outcome result = evaluator.value(*value);
  if (result || result.error().message.starts_with("Deployment template")) return result;
  return TemplateContext::problem(
      path, fmt::format("The default value of the template parameter '{}'{} is not valid: {}", parameter.name,
                        context_.at(path), result.error().message));
}

model::ArmStatus TemplateSymbols::read_variables() {
  const json::Value* section = find_member(context_.input.document.get_object(), "variables");
  if (section == nullptr || section->is_null()) return {};
  if (!section->is_object())
    return TemplateContext::problem("variables", "The template's 'variables' must be an object.");
  for (const auto& member : section->get_object()) {
    if (!model::equal_ignoring_case(member.key(), "copy") || !member.value().is_array()) {
      variables_[model::to_lower(member.key())] = {member.value(), false};
      continue;
    }
    for (const json::Value& loop : member.value().get_array()) {
      const json::Value* name = loop.is_object() ? loop.get_object().if_contains("name") : nullptr;
      if (name == nullptr || !name->is_string() || !loop.get_object().contains("count") ||
          !loop.get_object().contains("input"))
        return TemplateContext::problem("variables.copy",
                                        "Every copy of a variable must have a name, a count and an input.");
      variables_[model::to_lower(text_of(*name))] = {loop, true};
    }
  }
  if (variables_.size() > kMaxVariables) {
    return TemplateContext::problem(
        "variables",
        fmt::format("The number of template variables limit exceeded. Limit: '{}' and actual: '{}'.",
                    kMaxVariables, variables_.size()));
  }
  return {};
}

Outcome TemplateSymbols::variable(std::string_view name, Evaluator& evaluator) {
  const std::string key = model::to_lower(name);
  if (const auto found = variable_values_.find(key); found != variable_values_.end()) return found->second;
  const auto declared = variables_.find(key);
  if (declared == variables_.end()) {
    return invalid_template(
        fmt::format("The template variable '{}' is not found. Please see https://aka.ms/arm-syntax-variables "
                    "for usage details.",
                    name));
  }
  const InProgress mark(in_progress_, "variable " + key);
  if (!mark.first()) {
    return TemplateContext::problem("variables." + std::string(name),
                                    fmt::format("The template variable '{}' needs itself.", name));
  }
  const Outside outside(evaluator, false);
  const Variable& variable = declared->second;
  const json::Value raw =
      variable.copy ? json::Value(json::Object{{"copy", json::Array{variable.value}}}) : variable.value;
  BOOTSEAL_ARM_TRY(json::Value value, evaluator.value(raw));
  if (variable.copy) {
    json::Value elements = value.get_object().begin()->value();
    value = std::move(elements);
  }
  variable_values_[key] = value;
  return value;
}

model::ArmStatus TemplateSymbols::read_functions() {
  const json::Value* section = find_member(context_.input.document.get_object(), "functions");
  if (section == nullptr || section->is_null()) return {};
  if (!section->is_array())
    return TemplateContext::problem("functions", "The template's 'functions' must be an array.");
  for (const json::Value& group : section->get_array()) {
    const json::Value* name_space =
        group.is_object() ? find_member(group.get_object(), "namespace") : nullptr;
    const json::Value* members = group.is_object() ? find_member(group.get_object(), "members") : nullptr;
    if (name_space == nullptr || !name_space->is_string() || members == nullptr || !members->is_object())
      return TemplateContext::problem("functions",
                                      "Every element of 'functions' must have a namespace and members.");
    for (const auto& member : members->get_object())
      BOOTSEAL_ARM_TRY_STATUS(read_function(std::string(text_of(*name_space)), member.key(), member.value()));
  }
  return {};
}

model::ArmStatus TemplateSymbols::read_function(const std::string& name_space, std::string_view name,
                                                const json::Value& definition) {
  const auto wrong = [&](std::string_view why) {
    return TemplateContext::problem(
        "functions", fmt::format("The template function '{}.{}' is not valid: {}.", name_space, name, why));
  };
  const json::Value* output =
      definition.is_object() ? find_member(definition.get_object(), "output") : nullptr;
  const json::Value* value =
      output != nullptr && output->is_object() ? find_member(output->get_object(), "value") : nullptr;
  if (value == nullptr) return wrong("it must have an output with a value");
  UserFunction function;
  function.output = *value;
  const json::Value* parameters = find_member(definition.get_object(), "parameters");
  if (parameters != nullptr && parameters->is_array()) {
    for (const json::Value& parameter : parameters->get_array()) {
      const json::Value* parameter_name =
          parameter.is_object() ? find_member(parameter.get_object(), "name") : nullptr;
      if (parameter_name == nullptr || !parameter_name->is_string())
        return wrong("every parameter must have a name");
      function.parameters.emplace_back(text_of(*parameter_name));
    }
  }
  functions_[model::to_lower(fmt::format("{}.{}", name_space, name))] = std::move(function);
  return {};
}

const UserFunction* TemplateSymbols::function(std::string_view name_space, std::string_view name) {
  const auto found = functions_.find(model::to_lower(fmt::format("{}.{}", name_space, name)));
  return found == functions_.end() ? nullptr : &found->second;
}

std::vector<Symbols::Named> TemplateSymbols::resources_named(std::string_view name) {
  return find_resources ? find_resources(name) : std::vector<Named>();
}

}  // namespace bootseal::templates

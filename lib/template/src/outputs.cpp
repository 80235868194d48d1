#include "outputs.h"

#include "functions.h"

namespace bootseal::templates {
namespace {

struct Output {
  std::string name;
  ValueType type = ValueType::string;
  const json::Object* declaration = nullptr;
};

model::ArmResult<std::vector<Output>> declared(const TemplateContext& context) {
  std::vector<Output> result;
  const json::Value* section = find_member(context.input.document.get_object(), "outputs");
  if (section == nullptr || section->is_null()) return result;
  if (!section->is_object())
    return TemplateContext::problem("outputs", "The template's 'outputs' must be an object");
  if (section->get_object().size() > kMaxOutputs) {
    return TemplateContext::problem(
        "outputs", fmt::format("The number of template outputs limit exceeded. Limit: '{}' and actual: "
                               "'{}'",
                               kMaxOutputs, section->get_object().size()));
  }
  for (const auto& member : section->get_object()) {
    const std::string path = "outputs." + std::string(member.key());
    const json::Value* type =
        member.value().is_object() ? find_member(member.value().get_object(), "type") : nullptr;
    // A "$ref" says which object it is; what matters here is that it is one.
    const bool reference = member.value().is_object() && member.value().get_object().contains("$ref");
    const auto known = type != nullptr && type->is_string() ? parse_value_type(text_of(*type))
                       : reference                          ? std::optional(ValueType::object)
                                                            : std::nullopt;
    if (!known) {
      return TemplateContext::problem(
          path, fmt::format("The template output '{}'{} must be an object with a 'type'",
                            std::string_view(member.key()), context.at(path)));
    }
    result.push_back({member.key(), *known, &member.value().get_object()});
  }
  return result;
}

model::ArmResult<json::Value> looped(const Output& output, const json::Object& copy, Evaluator& evaluator) {
  const json::Value* count = find_member(copy, "count");
  const json::Value* input = find_member(copy, "input");
  if (count == nullptr || input == nullptr)
    return invalid_template(
        fmt::format("The copy of the output '{}' must have a count and an input.", output.name));
  const json::Value loop(json::Object{
      {"copy",
       json::Array{json::Object{{"name", escape_text(output.name)}, {"count", *count}, {"input", *input}}}}});
  BOOTSEAL_ARM_TRY(const json::Value result, evaluator.value(loop));
  return result.get_object().begin()->value();
}

// Nothing for an output whose condition does not hold.
model::ArmResult<std::optional<json::Value>> value_of(const Output& output, Evaluator& evaluator) {
  if (const json::Value* condition = find_member(*output.declaration, "condition")) {
    BOOTSEAL_ARM_TRY(const json::Value holds, evaluator.value(*condition));
    if (!holds.is_bool())
      return invalid_template(
          fmt::format("The condition of the output '{}' must be true or false.", output.name));
    if (!holds.get_bool()) return std::nullopt;
  }
  const json::Value* copy = find_member(*output.declaration, "copy");
  if (copy != nullptr && copy->is_object()) {
    BOOTSEAL_ARM_TRY(json::Value list, looped(output, copy->get_object(), evaluator));
    return std::optional(std::move(list));
  }
  const json::Value* value = find_member(*output.declaration, "value");
  if (value == nullptr) return invalid_template(fmt::format("The output '{}' has no value.", output.name));
  BOOTSEAL_ARM_TRY(json::Value result, evaluator.value(*value));
  return std::optional(std::move(result));
}

bool accepts(const Output& output, const json::Value& value) {
  const json::Value* nullable = find_member(*output.declaration, "nullable");
  if (value.is_null() && nullable != nullptr && nullable->is_bool() && nullable->get_bool()) return true;
  return output.declaration->contains("$ref") || fits(output.type, value);
}

model::ArmStatus check_type(const Output& output, const json::Value& value) {
  if (accepts(output, value)) return {};
  return model::refuse(
      400, "DeploymentOutputEvaluationFailed",
      fmt::format("Unable to evaluate template outputs: '{}'. The output is declared as {}, its value is {}.",
                  output.name, to_string(output.type), kind_name(value)),
      output.name);
}

}  // namespace

model::ArmStatus check_outputs(TemplateContext& context, TemplateSymbols& symbols) {
  BOOTSEAL_ARM_TRY(const std::vector<Output> outputs, declared(context));
  Evaluator evaluator(context.input.surroundings, symbols, nullptr, context.budget);
  for (const Output& output : outputs) {
    const auto value = value_of(output, evaluator);
    if (!value && is_deferred(value.error())) continue;
    if (!value) {
      return model::refuse(400, "InvalidTemplate",
                           fmt::format("The template output '{}'{} is not valid: {}", output.name,
                                       context.at("outputs." + output.name), value.error().message),
                           "outputs." + output.name);
    }
    if (*value) BOOTSEAL_ARM_TRY_STATUS(check_type(output, **value));
  }
  return {};
}

model::ArmResult<json::Object> evaluate_outputs(const TemplateContext& context, Evaluator& evaluator) {
  BOOTSEAL_ARM_TRY(const std::vector<Output> outputs, declared(context));
  json::Object result;
  for (const Output& output : outputs) {
    auto value = value_of(output, evaluator);
    if (!value) {
      return model::refuse(
          400, "DeploymentOutputEvaluationFailed",
          fmt::format("Unable to evaluate template outputs: '{}'. {}", output.name, value.error().message),
          output.name);
    }
    if (!*value) continue;
    BOOTSEAL_ARM_TRY_STATUS(check_type(output, **value));
    json::Object shown{{"type", to_string(output.type)}};
    if (!is_secure(output.type)) shown["value"] = std::move(**value);
    result[output.name] = std::move(shown);
  }
  return result;
}

}  // namespace bootseal::templates

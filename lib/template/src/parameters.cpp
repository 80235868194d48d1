#include "parameters.h"

#include <algorithm>
#include <array>

#include "functions.h"

namespace bootseal::templates {
namespace {

struct TypeName {
  ValueType type;
  std::string_view name;
};
constexpr std::array kTypes{
    TypeName{ValueType::string, "String"}, TypeName{ValueType::secure_string, "SecureString"},
    TypeName{ValueType::integer, "Int"},   TypeName{ValueType::boolean, "Bool"},
    TypeName{ValueType::object, "Object"}, TypeName{ValueType::secure_object, "SecureObject"},
    TypeName{ValueType::array, "Array"},
};
constexpr int kMaxReferences = 8;  // of a type to a definition to a definition …

// The declaration with what its "$ref" names; members of the declaration win.
model::ArmResult<json::Object> resolve(const TemplateContext& context, const std::string& path,
                                       json::Object declaration) {
  for (int i = 0; i < kMaxReferences; ++i) {
    const json::Value* reference = declaration.if_contains("$ref");
    if (reference == nullptr) return declaration;
    constexpr std::string_view kPrefix = "#/definitions/";
    const std::string_view text = reference->is_string() ? text_of(*reference) : std::string_view();
    const json::Value* definitions = find_member(context.input.document.get_object(), "definitions");
    const json::Value* found = nullptr;
    if (text.starts_with(kPrefix) && definitions != nullptr && definitions->is_object())
      found = find_member(definitions->get_object(), text.substr(kPrefix.size()));
    if (found == nullptr || !found->is_object()) {
      return TemplateContext::problem(
          path, fmt::format("The type reference '{}'{} is not valid: the template has no such definition.",
                            text, context.at(path)));
    }
    declaration.erase("$ref");
    for (const auto& member : found->get_object())
      if (!declaration.contains(member.key())) declaration[member.key()] = member.value();
  }
  return TemplateContext::problem(path, "The type references of a parameter go around in a circle.");
}

std::optional<std::int64_t> number(const Parameter& parameter, std::string_view name) {
  const json::Value* found = find_member(parameter.declaration, name);
  if (found == nullptr || !found->is_int64()) return std::nullopt;
  return found->get_int64();
}

std::string place(const TemplateContext& context, const Parameter& parameter) {
  return context.at("parameters." + parameter.name);
}

model::ArmStatus check_range(const TemplateContext& context, const Parameter& parameter, std::int64_t actual,
                             std::string_view least, std::string_view most, std::string_view what) {
  const auto refuse = [&](std::string_view relation, std::int64_t bound) {
    return TemplateContext::problem(
        "parameters." + parameter.name,
        fmt::format("The provided value for the template parameter '{}'{} is not valid. {} '{}' is {} '{}'.",
                    parameter.name, place(context, parameter), what, actual, relation, bound));
  };
  const auto minimum = number(parameter, least);
  const auto maximum = number(parameter, most);
  if (minimum && actual < *minimum) return refuse("less than the minimum", *minimum);
  if (maximum && actual > *maximum) return refuse("greater than the maximum", *maximum);
  return {};
}

model::ArmStatus check_allowed(const TemplateContext& context, const Parameter& parameter,
                               const json::Value& value) {
  const json::Value* allowed = find_member(parameter.declaration, "allowedValues");
  if (allowed == nullptr || !allowed->is_array()) return {};
  const json::Array& list = allowed->get_array();
  const auto is_allowed = [&](const json::Value& given) {
    return std::find(list.begin(), list.end(), given) != list.end();
  };
  // An array may hold any selection of them.
  const bool holds =
      is_allowed(value) || (value.is_array() && std::ranges::all_of(value.get_array(), is_allowed));
  if (holds) return {};
  std::string shown;
  for (const json::Value& one : list) shown += (shown.empty() ? "" : ",") + to_text(one);
  return TemplateContext::problem(
      "parameters." + parameter.name,
      fmt::format("The provided value{} for the template parameter '{}'{} is not valid. The parameter value "
                  "is not part of "
                  "the allowed value(s): '{}'.",
                  is_secure(parameter.type) ? "" : fmt::format(" '{}'", to_text(value)), parameter.name,
                  place(context, parameter), shown));
}

}  // namespace

std::optional<ValueType> parse_value_type(std::string_view text) {
  for (const TypeName& type : kTypes)
    if (model::equal_ignoring_case(type.name, text)) return type.type;
  return std::nullopt;
}

std::string_view to_string(ValueType type) {
  return std::ranges::find(kTypes, type, &TypeName::type)->name;
}

bool is_secure(ValueType type) {
  return type == ValueType::secure_string || type == ValueType::secure_object;
}

bool fits(ValueType type, const json::Value& value) {
  switch (type) {
    case ValueType::string:
    case ValueType::secure_string:
      return value.is_string();
    case ValueType::integer:
      return value.is_int64();
    case ValueType::boolean:
      return value.is_bool();
    case ValueType::object:
    case ValueType::secure_object:
      return value.is_object();
    case ValueType::array:
      break;
  }
  return value.is_array();
}

model::ArmResult<std::vector<Parameter>> parse_parameters(const TemplateContext& context) {
  std::vector<Parameter> result;
  const json::Value* section = find_member(context.input.document.get_object(), "parameters");
  if (section == nullptr || section->is_null()) return result;
  if (!section->is_object())
    return TemplateContext::problem("parameters", "The template's 'parameters' must be an object.");
  if (section->get_object().size() > kMaxParameters) {
    return TemplateContext::problem(
        "parameters",
        fmt::format(
            "The number of template parameters limit exceeded. Limit: '{}' and actual: '{}'. Please see "
            "https://aka.ms/arm-create-parameter-file for usage details.",
            kMaxParameters, section->get_object().size()));
  }
  for (const auto& member : section->get_object()) {
    Parameter parameter;
    parameter.name = member.key();
    const std::string path = "parameters." + parameter.name;
    if (!member.value().is_object())
      return TemplateContext::problem(
          path, fmt::format("The template parameter '{}'{} must be an object with a 'type'.", parameter.name,
                            context.at(path)));
    BOOTSEAL_ARM_TRY(parameter.declaration, resolve(context, path, member.value().get_object()));
    const json::Value* type = find_member(parameter.declaration, "type");
    const auto known = type != nullptr && type->is_string() ? parse_value_type(text_of(*type)) : std::nullopt;
    if (!known) {
      return TemplateContext::problem(path, fmt::format("The type of the template parameter '{}'{} must be "
                                                        "one of string, securestring, int, bool, object, "
                                                        "secureObject, array.",
                                                        parameter.name, context.at(path)));
    }
    parameter.type = *known;
    result.push_back(std::move(parameter));
  }
  return result;
}

model::ArmStatus check_given(const TemplateContext& context, const std::vector<Parameter>& declared) {
  std::string unknown;
  for (const auto& member : context.input.parameters) {
    const bool known = std::ranges::any_of(
        declared, [&](const Parameter& one) { return model::equal_ignoring_case(one.name, member.key()); });
    if (!known) unknown += (unknown.empty() ? "" : ", ") + std::string(member.key());
    const json::Object* given = member.value().if_object();
    if (given == nullptr || (given->contains("reference") && !given->contains("value"))) {
      return model::refuse(400, "InvalidRequestContent",
                           fmt::format("The parameter '{}' must be given as {{\"value\": …}}. Values from a "
                                       "key vault are not read by this site; "
                                       "give the value itself, as a securestring.",
                                       std::string_view(member.key())),
                           "properties.parameters." + std::string(member.key()));
    }
  }
  if (unknown.empty()) return {};
  std::string names;
  for (const Parameter& parameter : declared) names += (names.empty() ? "" : ", ") + parameter.name;
  return TemplateContext::problem(
      "parameters",
      fmt::format("The template parameters '{}' in the parameters file are not valid; they are not present "
                  "in the original "
                  "template and can therefore not be provided at deployment time. The only supported "
                  "parameters for this "
                  "template are '{}'. Please see https://aka.ms/arm-pass-parameter-values for usage details.",
                  unknown, names));
}

model::ArmStatus check_value(const TemplateContext& context, const Parameter& parameter,
                             const json::Value& value) {
  if (value.is_null()) {
    const json::Value* nullable = find_member(parameter.declaration, "nullable");
    if (nullable != nullptr && nullable->is_bool() && nullable->get_bool()) return {};
  }
  if (!fits(parameter.type, value)) {
    return TemplateContext::problem(
        "parameters." + parameter.name,
        fmt::format("Template parameter JToken type is not valid. Expected '{}'. Actual: {}. The template "
                    "parameter is '{}'{}. "
                    "Please see https://aka.ms/arm-parameter for usage details.",
                    to_string(parameter.type), kind_name(value), parameter.name, place(context, parameter)));
  }
  if (value.is_int64()) {
    BOOTSEAL_ARM_TRY_STATUS(
        check_range(context, parameter, value.get_int64(), "minValue", "maxValue", "The value"));
  } else if (value.is_string() || value.is_array()) {
    const std::size_t length = value.is_string() ? to_utf16(text_of(value)).size() : value.get_array().size();
    BOOTSEAL_ARM_TRY_STATUS(check_range(context, parameter, static_cast<std::int64_t>(length), "minLength",
                                        "maxLength", "The length of the value"));
  }
  return check_allowed(context, parameter, value);
}

}  // namespace bootseal::templates

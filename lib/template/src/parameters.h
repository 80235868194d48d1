// The parameters of a template: declarations, and values that fit them.
#pragma once

#include <map>

#include "template_context.h"

namespace bootseal::templates {

enum class ValueType : std::uint8_t { string, secure_string, integer, boolean, object, secure_object, array };

// Any case; nothing for an unknown type.
std::optional<ValueType> parse_value_type(std::string_view text);
std::string_view to_string(ValueType type);  // "SecureString"
bool is_secure(ValueType type);
bool fits(ValueType type, const json::Value& value);

struct Parameter {
  std::string name;
  ValueType type = ValueType::string;
  json::Object declaration;  // with what its "$ref" adds
};

// In the order of the template. 400 InvalidTemplate for a declaration that is none, or more than there may
// be.
model::ArmResult<std::vector<Parameter>> parse_parameters(const TemplateContext& context);
// 400 InvalidTemplate for given names that are not declared, and values that come from elsewhere.
model::ArmStatus check_given(const TemplateContext& context, const std::vector<Parameter>& declared);
// 400 InvalidTemplate when the value is not of the type or breaks a constraint. Secrets are not shown.
model::ArmStatus check_value(const TemplateContext& context, const Parameter& parameter,
                             const json::Value& value);

}  // namespace bootseal::templates

#include "bootseal/model/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "bootseal/model/resource_id.h"

namespace bootseal::model {
namespace {

std::shared_ptr<Schema> make(Schema::Kind kind) {
  auto schema = std::make_shared<Schema>();
  schema->kind = kind;
  return schema;
}

std::string_view last_part(std::string_view path) {
  return path.substr(path.rfind('.') + 1);
}

std::string printable(std::string_view text) {
  constexpr std::size_t kShown = 128;
  std::string result(text.substr(0, kShown));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
      '?');
  return result;
}

std::string_view kind_name(Schema::Kind kind) {
  switch (kind) {
    case Schema::Kind::string:
      return "a string";
    case Schema::Kind::integer:
      return "a whole number";
    case Schema::Kind::number:
      return "a number";
    case Schema::Kind::boolean:
      return "true or false";
    case Schema::Kind::array:
      return "an array";
    case Schema::Kind::object:
    case Schema::Kind::map:
      return "an object";
    case Schema::Kind::any:
      break;
  }
  return "a value";
}

tl::unexpected<ArmError> wrong_type(const Schema& schema, const std::string& path) {
  if (path.empty()) {
    return refuse(400, "InvalidRequestContent",
                  fmt::format("The request content was invalid: wanted {}.", kind_name(schema.kind)));
  }
  return invalid_parameter(
      path, fmt::format("The value of parameter '{}' is invalid: wanted {}.", path, kind_name(schema.kind)));
}

ArmResult<json::Value> conform_at(const Schema& schema, const json::Value& value, const std::string& path);

ArmResult<json::Value> conform_string(const Schema& schema, const json::Value& value,
                                      const std::string& path) {
  if (!value.is_string()) return wrong_type(schema, path);
  const std::string_view text(value.get_string().data(), value.get_string().size());
  if (schema.maximum != 0 && text.size() > schema.maximum) {
    return invalid_parameter(
        path, fmt::format("The value of parameter '{}' has {} characters, at most {} are allowed.", path,
                          text.size(), schema.maximum));
  }
  if (schema.values.empty()) return value;
  for (const std::string& allowed : schema.values) {
    if (equal_ignoring_case(allowed, text)) return json::Value(allowed);
  }
  return invalid_parameter(
      path, fmt::format("The value '{}' provided for the {} is not valid. Allowed values are '{}'.",
                        printable(text), last_part(path), fmt::join(schema.values, ",")));
}

ArmResult<json::Value> conform_array(const Schema& schema, const json::Value& value,
                                     const std::string& path) {
  if (!value.is_array()) return wrong_type(schema, path);
  const json::Array& elements = value.get_array();
  if (schema.maximum != 0 && elements.size() > schema.maximum) {
    return invalid_parameter(path, fmt::format("The parameter '{}' has {} elements, at most {} are allowed.",
                                               path, elements.size(), schema.maximum));
  }
  json::Array result;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    BOOTSEAL_ARM_TRY(json::Value element,
                     conform_at(*schema.items, elements[i], fmt::format("{}[{}]", path, i)));
    result.push_back(std::move(element));
  }
  return json::Value(std::move(result));
}

ArmResult<json::Value> conform_map(const Schema& schema, const json::Value& value, const std::string& path) {
  if (!value.is_object()) return wrong_type(schema, path);
  json::Object result;
  for (const auto& [name, member] : value.get_object()) {
    if (member.is_null()) continue;
    BOOTSEAL_ARM_TRY(json::Value element,
                     conform_at(*schema.items, member, fmt::format("{}.{}", path, std::string_view(name))));
    result[name] = std::move(element);
  }
  return json::Value(std::move(result));
}

ArmResult<json::Value> conform_object(const Schema& schema, const json::Value& value,
                                      const std::string& path) {
  if (!value.is_object()) return wrong_type(schema, path);
  json::Object result;
  for (const auto& [name, member] : value.get_object()) {
    const std::string_view text(name.data(), name.size());
    const auto field = std::find_if(schema.fields.begin(), schema.fields.end(),
                                    [&](const Field& f) { return equal_ignoring_case(f.name, text); });
    const std::string member_path =
        path.empty() ? printable(text) : fmt::format("{}.{}", path, printable(text));
    if (field == schema.fields.end()) {
      return refuse(400, path.empty() ? "InvalidRequestContent" : "BadRequest",
                    fmt::format("Could not find member '{}' on object of type '{}'. Path '{}'.",
                                printable(text), schema.name, member_path),
                    member_path);
    }
    if (field->read_only || member.is_null()) continue;
    BOOTSEAL_ARM_TRY(
        json::Value conformed,
        conform_at(*field->schema, member, path.empty() ? field->name : path + "." + field->name));
    result[field->name] = std::move(conformed);
  }
  for (const Field& field : schema.fields) {
    if (field.required && !result.contains(field.name)) {
      const std::string field_path = path.empty() ? field.name : path + "." + field.name;
      return invalid_parameter(field_path,
                               fmt::format("Required parameter '{}' is missing (null).", field_path));
    }
  }
  return json::Value(std::move(result));
}

ArmResult<json::Value> conform_at(const Schema& schema, const json::Value& value, const std::string& path) {
  switch (schema.kind) {
    case Schema::Kind::any:
      return value;
    case Schema::Kind::string:
      return conform_string(schema, value, path);
    case Schema::Kind::integer:
      if (!value.is_int64() && !value.is_uint64()) return wrong_type(schema, path);
      return value;
    case Schema::Kind::number:
      if (!value.is_number()) return wrong_type(schema, path);
      return value;
    case Schema::Kind::boolean:
      if (!value.is_bool()) return wrong_type(schema, path);
      return value;
    case Schema::Kind::array:
      return conform_array(schema, value, path);
    case Schema::Kind::map:
      return conform_map(schema, value, path);
    case Schema::Kind::object:
      return conform_object(schema, value, path);
  }
  return value;
}

json::Object openapi_object(const Schema& schema, json::Object& components) {
  json::Object object;
  object["type"] = "object";
  json::Object properties;
  json::Array required;
  for (const Field& field : schema.fields) {
    json::Value property = to_openapi(*field.schema, components);
    // A $ref stands alone in OpenAPI 3.0, so what belongs to the field goes around it.
    if (property.get_object().contains("$ref") && (field.read_only || !field.description.empty())) {
      json::Object around;
      around["allOf"] = json::Array{std::move(property)};
      property = std::move(around);
    }
    if (field.read_only) property.get_object()["readOnly"] = true;
    if (!field.description.empty()) property.get_object()["description"] = field.description;
    properties[field.name] = std::move(property);
    if (field.required) required.emplace_back(field.name);
  }
  object["properties"] = std::move(properties);
  if (!required.empty()) object["required"] = std::move(required);
  return object;
}

}  // namespace

SchemaRef any_schema() {
  return make(Schema::Kind::any);
}
SchemaRef integer_schema() {
  return make(Schema::Kind::integer);
}
SchemaRef number_schema() {
  return make(Schema::Kind::number);
}
SchemaRef boolean_schema() {
  return make(Schema::Kind::boolean);
}

SchemaRef string_schema(std::size_t maximum) {
  auto schema = make(Schema::Kind::string);
  schema->maximum = maximum;
  return schema;
}

SchemaRef enum_schema(std::vector<std::string> values) {
  auto schema = make(Schema::Kind::string);
  schema->values = std::move(values);
  return schema;
}

SchemaRef array_schema(SchemaRef items, std::size_t maximum) {
  auto schema = make(Schema::Kind::array);
  schema->items = std::move(items);
  schema->maximum = maximum;
  return schema;
}

SchemaRef map_schema(SchemaRef items) {
  auto schema = make(Schema::Kind::map);
  schema->items = std::move(items);
  return schema;
}

SchemaRef object_schema(std::string name, std::vector<Field> fields) {
  auto schema = make(Schema::Kind::object);
  schema->name = std::move(name);
  schema->fields = std::move(fields);
  return schema;
}

ArmResult<json::Value> conform(const Schema& schema, const json::Value& value) {
  return conform_at(schema, value, {});
}

json::Value to_openapi(const Schema& schema, json::Object& components) {
  json::Object object;
  switch (schema.kind) {
    case Schema::Kind::any:
      return object;
    case Schema::Kind::string:
      object["type"] = "string";
      if (!schema.values.empty()) {
        json::Array values;
        for (const std::string& value : schema.values) values.emplace_back(value);
        object["enum"] = std::move(values);
      }
      if (schema.maximum != 0) object["maxLength"] = schema.maximum;
      return object;
    case Schema::Kind::integer:
      object["type"] = "integer";
      return object;
    case Schema::Kind::number:
      object["type"] = "number";
      return object;
    case Schema::Kind::boolean:
      object["type"] = "boolean";
      return object;
    case Schema::Kind::array:
      object["type"] = "array";
      object["items"] = to_openapi(*schema.items, components);
      if (schema.maximum != 0) object["maxItems"] = schema.maximum;
      return object;
    case Schema::Kind::map:
      object["type"] = "object";
      object["additionalProperties"] = to_openapi(*schema.items, components);
      return object;
    case Schema::Kind::object:
      break;
  }
  if (schema.name.empty()) return openapi_object(schema, components);
  if (!components.contains(schema.name)) {
    components[schema.name] = nullptr;  // stops a schema that names itself
    json::Object described = openapi_object(schema, components);
    components[schema.name] = std::move(described);
  }
  object["$ref"] = fmt::format("#/components/schemas/{}", schema.name);
  return object;
}

}  // namespace bootseal::model

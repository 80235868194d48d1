// The shapes of requests and answers, declared once: they refuse what does not fit, and they are the schemas
// of the OpenAPI document.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bootseal/json/json.h"
#include "bootseal/model/arm_error.h"

namespace bootseal::model {

struct Schema;
using SchemaRef = std::shared_ptr<const Schema>;

struct Field {
  std::string name;
  SchemaRef schema;
  bool required = false;
  bool read_only = false;  // answered; left out of what clients send back
  std::string description;
};

struct Schema {
  enum class Kind : std::uint8_t { any, string, integer, number, boolean, array, object, map };
  Kind kind = Kind::any;
  std::string name;  // of an object: the component in the OpenAPI document and the type in messages
  std::vector<std::string> values;  // of a string: the allowed ones, in canonical case (empty = any)
  std::size_t maximum = 0;    // of a string: bytes, of an array: elements (0 = the limits of the transport)
  std::vector<Field> fields;  // of an object
  SchemaRef items;            // of an array or a map
};

SchemaRef any_schema();
SchemaRef string_schema(std::size_t maximum = 0);
SchemaRef integer_schema();
SchemaRef number_schema();
SchemaRef boolean_schema();
SchemaRef enum_schema(std::vector<std::string> values);
SchemaRef array_schema(SchemaRef items, std::size_t maximum = 0);
// An object with free names and values of one shape (tags).
SchemaRef map_schema(SchemaRef items);
SchemaRef object_schema(std::string name, std::vector<Field> fields);

// `value` as the schema wants it: null members and read-only members are left out, enumerated texts get their
// canonical case, member names too. Refused, with the path of the field, as Azure refuses them: a body that
// is no object (InvalidRequestContent), an unknown member (BadRequest), a wrong type or value
// (InvalidParameter), a missing required member (InvalidParameter).
ArmResult<json::Value> conform(const Schema& schema, const json::Value& value);

// The OpenAPI 3.0 schema object; named objects become {"$ref":"#/components/schemas/NAME"} and are added to
// `components`.
json::Value to_openapi(const Schema& schema, json::Object& components);

}  // namespace bootseal::model

// Reading members of JSON that was conformed to its schema.
#pragma once

#include <string>
#include <string_view>

#include "bootseal/json/json.h"

namespace bootseal::api {

// "" when there is none.
inline std::string text_member(const json::Object& object, std::string_view name) {
  const json::Value* found = object.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

// An empty one when there is none.
inline const json::Object& object_member(const json::Object& object, std::string_view name) {
  static const json::Object kNone;
  const json::Value* found = object.if_contains(name);
  return found != nullptr && found->is_object() ? found->get_object() : kNone;
}
inline const json::Array& array_member(const json::Object& object, std::string_view name) {
  static const json::Array kNone;
  const json::Value* found = object.if_contains(name);
  return found != nullptr && found->is_array() ? found->get_array() : kNone;
}

inline json::Object& make_object_member(json::Object& object, std::string_view name) {
  json::Value& found = object[name];
  if (!found.is_object()) found = json::Object();
  return found.get_object();
}
inline json::Array& make_array_member(json::Object& object, std::string_view name) {
  json::Value& found = object[name];
  if (!found.is_array()) found = json::Array();
  return found.get_array();
}
inline void set_default(json::Object& object, std::string_view name, json::Value value) {
  if (!object.contains(name)) object[name] = std::move(value);
}

// The id in a reference member {"id": …}; "" when there is none.
inline std::string reference_member(const json::Object& object, std::string_view name) {
  return text_member(object_member(object, name), "id");
}

}  // namespace bootseal::api

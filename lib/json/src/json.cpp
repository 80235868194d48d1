#include "bootseal/json/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parser.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <cmath>

namespace bootseal::json {
namespace {

std::string_view kind_of(const Value& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return "null";
    case boost::json::kind::bool_:
      return "a boolean";
    case boost::json::kind::int64:
    case boost::json::kind::uint64:
      return "an integer";
    case boost::json::kind::double_:
      return "a number";
    case boost::json::kind::string:
      return "a string";
    case boost::json::kind::array:
      return "an array";
    case boost::json::kind::object:
      return "an object";
  }
  return "something else";
}

// A number beyond the range of a double becomes an infinity, which JSON cannot say.
bool holds_infinity(const Value& value) {
  if (value.is_double()) return !std::isfinite(value.get_double());
  if (const Array* array = value.if_array()) return std::ranges::any_of(*array, holds_infinity);
  if (const Object* object = value.if_object())
    return std::ranges::any_of(*object, [](const auto& member) { return holds_infinity(member.value()); });
  return false;
}

void write_pretty(const Value& value, std::string& text, std::size_t indent) {
  const auto new_line = [&](std::size_t depth) {
    text += '\n';
    text.append(depth * 2, ' ');
  };
  if (const Object* object = value.if_object(); object != nullptr && !object->empty()) {
    text += '{';
    bool first = true;
    for (const auto& [name, member] : *object) {
      if (!first) text += ',';
      first = false;
      new_line(indent + 1);
      text += boost::json::serialize(boost::json::string(name));
      text += ": ";
      write_pretty(member, text, indent + 1);
    }
    new_line(indent);
    text += '}';
  } else if (const Array* array = value.if_array(); array != nullptr && !array->empty()) {
    text += '[';
    bool first = true;
    for (const Value& element : *array) {
      if (!first) text += ',';
      first = false;
      new_line(indent + 1);
      write_pretty(element, text, indent + 1);
    }
    new_line(indent);
    text += ']';
  } else {
    text += boost::json::serialize(value);
  }
}

}  // namespace

Result<Value> parse(std::string_view text, const Limits& limits) {
  if (text.size() > limits.bytes)
    return fail(ErrorCode::exhausted,
                fmt::format("the JSON text has {} bytes, at most {} are allowed", text.size(), limits.bytes));
  boost::json::parse_options options;
  options.max_depth = limits.depth;
  boost::json::parser parser(boost::json::storage_ptr(), options);
  boost::json::error_code error;
  const std::size_t consumed = parser.write_some(text.data(), text.size(), error);
  if (error == boost::json::error::too_deep)
    return fail(ErrorCode::exhausted,
                fmt::format("the JSON text is nested deeper than {} levels", limits.depth));
  if (!error && consumed < text.size()) error = boost::json::error::extra_data;
  if (error)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the text is not JSON: {} at offset {}", error.message(), consumed));
  Value value = parser.release();
  if (holds_infinity(value))
    return fail(ErrorCode::invalid_argument, "the JSON text holds a number that is too large");
  return value;
}

std::string serialize(const Value& value) {
  return boost::json::serialize(value);
}

std::string serialize_pretty(const Value& value) {
  std::string text;
  write_pretty(value, text, 0);
  text += '\n';
  return text;
}

Result<Reader> Reader::object(const Value& value, std::string name) {
  if (!value.is_object())
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: wanted an object, there is {}", name, kind_of(value)));
  return Reader(value, std::move(name));
}

bool Reader::has(std::string_view field) const {
  const Value* found = value_->get_object().if_contains(field);
  return found != nullptr && !found->is_null();
}

tl::unexpected<Error> Reader::problem(std::string_view field, std::string_view message) const {
  return fail(ErrorCode::invalid_argument, fmt::format("{}.{}: {}", path_, field, message));
}

Result<const Value*> Reader::wanted(std::string_view field, std::string_view kind) {
  asked_.emplace(field);
  const Value* found = value_->get_object().if_contains(field);
  if (found == nullptr || found->is_null())
    return problem(field, fmt::format("wanted {}, the field is missing", kind));
  return found;
}

Result<const Value*> Reader::value(std::string_view field) {
  return wanted(field, "a value");
}

Result<std::string> Reader::string(std::string_view field) {
  BOOTSEAL_TRY(const Value* found, wanted(field, "a string"));
  if (!found->is_string())
    return problem(field, fmt::format("wanted a string, there is {}", kind_of(*found)));
  const auto& text = found->get_string();
  return std::string(text.data(), text.size());
}

Result<std::uint64_t> Reader::unsigned_integer(std::string_view field) {
  BOOTSEAL_TRY(const Value* found, wanted(field, "a whole number"));
  if (found->is_uint64()) return found->get_uint64();
  if (found->is_int64() && found->get_int64() >= 0) return static_cast<std::uint64_t>(found->get_int64());
  return problem(field, fmt::format("wanted a whole number of at least 0, there is {}",
                                    found->is_int64() ? "a negative number" : kind_of(*found)));
}

Result<std::int64_t> Reader::integer(std::string_view field) {
  BOOTSEAL_TRY(const Value* found, wanted(field, "a whole number"));
  if (found->is_int64()) return found->get_int64();
  return problem(field, fmt::format("wanted a whole number, there is {}", kind_of(*found)));
}

Result<bool> Reader::boolean(std::string_view field) {
  BOOTSEAL_TRY(const Value* found, wanted(field, "true or false"));
  if (!found->is_bool())
    return problem(field, fmt::format("wanted true or false, there is {}", kind_of(*found)));
  return found->get_bool();
}

Result<Reader> Reader::object(std::string_view field) {
  BOOTSEAL_TRY(const Value* found, wanted(field, "an object"));
  return object(*found, fmt::format("{}.{}", path_, field));
}

Result<std::vector<Reader>> Reader::objects(std::string_view field) {
  BOOTSEAL_TRY(const Value* found, wanted(field, "an array"));
  if (!found->is_array()) return problem(field, fmt::format("wanted an array, there is {}", kind_of(*found)));
  std::vector<Reader> readers;
  for (const Value& element : found->get_array()) {
    BOOTSEAL_TRY(Reader reader, object(element, fmt::format("{}.{}[{}]", path_, field, readers.size())));
    readers.push_back(std::move(reader));
  }
  return readers;
}

Result<std::vector<std::string>> Reader::strings(std::string_view field) {
  BOOTSEAL_TRY(const Value* found, wanted(field, "an array"));
  if (!found->is_array()) return problem(field, fmt::format("wanted an array, there is {}", kind_of(*found)));
  std::vector<std::string> texts;
  for (const Value& element : found->get_array()) {
    if (!element.is_string())
      return problem(field,
                     fmt::format("element {}: wanted a string, there is {}", texts.size(), kind_of(element)));
    texts.emplace_back(element.get_string());
  }
  return texts;
}

Result<Bytes> Reader::base64(std::string_view field) {
  BOOTSEAL_TRY(const std::string text, string(field));
  Result<Bytes> bytes = from_base64(text);
  if (!bytes) return problem(field, bytes.error().message);
  return bytes;
}

Result<std::string> Reader::string_or(std::string_view field, std::string fallback) {
  asked_.emplace(field);
  if (!has(field)) return fallback;
  return string(field);
}

Result<std::uint64_t> Reader::unsigned_integer_or(std::string_view field, std::uint64_t fallback) {
  asked_.emplace(field);
  if (!has(field)) return fallback;
  return unsigned_integer(field);
}

Result<bool> Reader::boolean_or(std::string_view field, bool fallback) {
  asked_.emplace(field);
  if (!has(field)) return fallback;
  return boolean(field);
}

Result<std::optional<Reader>> Reader::optional_object(std::string_view field) {
  asked_.emplace(field);
  if (!has(field)) return std::nullopt;
  BOOTSEAL_TRY(Reader reader, object(field));
  return std::optional<Reader>(std::move(reader));
}

Result<std::optional<std::string>> Reader::optional_string(std::string_view field) {
  asked_.emplace(field);
  if (!has(field)) return std::nullopt;
  BOOTSEAL_TRY(std::string text, string(field));
  return std::optional<std::string>(std::move(text));
}

Status Reader::no_other_fields() const {
  for (const auto& [name, member] : value_->get_object()) {
    if (!asked_.contains(std::string_view(name.data(), name.size())))
      return problem(std::string_view(name.data(), name.size()), "this field is not known here");
  }
  return {};
}

}  // namespace bootseal::json

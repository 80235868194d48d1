#include "functions.h"

#include <cmath>

namespace bootseal::templates {

std::string_view kind_name(const json::Value& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return "null";
    case boost::json::kind::bool_:
      return "a boolean";
    case boost::json::kind::int64:
    case boost::json::kind::uint64:
      return "an integer";
    case boost::json::kind::double_:
      return "a number with a fraction";
    case boost::json::kind::string:
      return "a string";
    case boost::json::kind::array:
      return "an array";
    case boost::json::kind::object:
      break;
  }
  return "an object";
}

std::string to_text(const json::Value& value) {
  if (value.is_string()) return std::string(text_of(value));
  if (value.is_bool()) return value.get_bool() ? "True" : "False";
  if (value.is_null()) return {};
  return json::serialize(value);
}

std::u16string to_utf16(std::string_view text) {
  std::u16string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    std::uint32_t code = length == 1 ? lead : lead & (0xffU >> (length + 1));
    for (std::size_t k = 1; k < length && i + k < text.size(); ++k)
      code = (code << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3fU);
    i += length;
    if (code < 0x10000) {
      result += static_cast<char16_t>(code);
    } else {
      result += static_cast<char16_t>(0xd800 + ((code - 0x10000) >> 10));
      result += static_cast<char16_t>(0xdc00 + ((code - 0x10000) & 0x3ff));
    }
  }
  return result;
}

std::string to_utf8(std::u16string_view text) {
  constexpr std::uint32_t kReplacement = 0xfffd;
  std::string result;
  result.reserve(text.size());
  const auto put = [&](std::uint32_t bits) { result += static_cast<char>(static_cast<unsigned char>(bits)); };
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::uint32_t code = text[i];
    if (code >= 0xd800 && code < 0xe000) {
      const bool pair = code < 0xdc00 && i + 1 < text.size() && text[i + 1] >= 0xdc00 && text[i + 1] < 0xe000;
      code = pair ? 0x10000 + ((code - 0xd800) << 10) + (text[i + 1] - 0xdc00U) : kReplacement;
      if (pair) ++i;
    }
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xc0 | (code >> 6));
      put(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      put(0xe0 | (code >> 12));
      put(0x80 | ((code >> 6) & 0x3f));
      put(0x80 | (code & 0x3f));
    } else {
      put(0xf0 | (code >> 18));
      put(0x80 | ((code >> 12) & 0x3f));
      put(0x80 | ((code >> 6) & 0x3f));
      put(0x80 | (code & 0x3f));
    }
  }
  return result;
}

model::ArmResult<std::int64_t> Call::integer(std::size_t index) const {
  const json::Value& value = arguments[index];
  if (value.is_int64()) return value.get_int64();
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value.is_double() && std::trunc(value.get_double()) == value.get_double() &&
      std::abs(value.get_double()) <= kExact)
    return static_cast<std::int64_t>(value.get_double());
  return wrong(index, "an integer");
}

model::ArmStatus Call::allow_text(std::uint64_t bytes) const {
  const std::size_t limit = evaluator.budget().limits().text;
  if (bytes <= limit) return {};
  return refuse(fmt::format("the result would be longer than {} bytes, which is the limit.", limit));
}

const FunctionTable& functions() {
  static const FunctionTable table = [] {
    FunctionTable made;
    add_text_functions(made);
    add_encoding_functions(made);
    add_number_functions(made);
    add_logic_functions(made);
    add_collection_functions(made);
    add_object_functions(made);
    add_lambda_functions(made);
    add_date_functions(made);
    add_network_functions(made);
    add_resource_functions(made);
    add_deployment_functions(made);
    return made;
  }();
  return table;
}

std::vector<std::string> function_names() {
  std::vector<std::string> names;
  for (const auto& [name, function] : functions()) names.push_back(name);
  return names;
}

}  // namespace bootseal::templates

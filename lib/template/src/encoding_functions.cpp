// base64, URIs and JSON text.
#include "bootseal/base/bytes.h"
#include "functions.h"

namespace bootseal::templates {
namespace {

constexpr std::size_t kJsonDepth = 64;

Outcome utf8_value(const Call& call, std::string_view bytes) {
  // The strict reader is the judge of UTF-8.
  std::string quoted = "\"";
  for (const char c : bytes) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || c == '"' || c == '\\')
      quoted += fmt::format("\\u{:04x}", code);
    else
      quoted += c;
  }
  const Result<json::Value> decoded = json::parse(quoted + "\"", {.bytes = quoted.size() + 1, .depth = 1});
  if (!decoded) return call.refuse("the bytes are no UTF-8 text.");
  return *decoded;
}

model::ArmResult<std::string> decoded(const Call& call, std::string_view text) {
  const Result<Bytes> bytes = from_base64(text);
  if (!bytes) return call.refuse("the string is not base64.");
  return std::string(as_text(*bytes));
}

Outcome parsed(const Call& call, std::string_view text) {
  const Result<json::Value> value =
      json::parse(text, {.bytes = call.evaluator.budget().limits().text, .depth = kJsonDepth});
  if (!value) return call.refuse(value.error().message + ".");
  return *value;
}

Outcome base64(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  BOOTSEAL_ARM_TRY_STATUS(call.allow_text(text.size() / 3 * 4));
  return to_value(to_base64(as_bytes(text)));
}
Outcome base64_to_string(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  BOOTSEAL_ARM_TRY(const std::string bytes, decoded(call, text));
  return utf8_value(call, bytes);
}
Outcome base64_to_json(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  BOOTSEAL_ARM_TRY(const std::string bytes, decoded(call, text));
  return parsed(call, bytes);
}
Outcome to_json(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  return parsed(call, text);
}

// Everything up to the last '/' of the path of `base`, then `relative`.
Outcome uri(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view base, call.text(0));
  BOOTSEAL_ARM_TRY(const std::string_view relative, call.text(1));
  const std::size_t authority = base.find("://");
  if (authority == std::string_view::npos) return call.refuse("the base must be an absolute URI.");
  BOOTSEAL_ARM_TRY_STATUS(call.allow_text(base.size() + relative.size() + 1));
  const std::size_t path = base.find('/', authority + 3);
  const std::string root(base.substr(0, path));
  if (relative.starts_with('/')) return to_value(root + std::string(relative));
  if (path == std::string_view::npos) return to_value(root + "/" + std::string(relative));
  const std::string_view whole = base.substr(0, base.find_first_of("?#"));
  return to_value(std::string(whole.substr(0, whole.rfind('/') + 1)) + std::string(relative));
}

Outcome uri_component(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  BOOTSEAL_ARM_TRY_STATUS(call.allow_text(text.size() * 3));
  std::string result;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain)
      result += c;
    else
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return to_value(result);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Outcome uri_component_to_string(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped =
        text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    if (!escaped) {
      bytes += text[i];
      continue;
    }
    bytes += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
    i += 2;
  }
  return utf8_value(call, bytes);
}

Outcome data_uri(Call& call) {
  const std::string text = to_text(call.arguments[0]);
  BOOTSEAL_ARM_TRY_STATUS(call.allow_text(text.size() / 3 * 4));
  return to_value("data:text/plain;charset=utf8;base64," + to_base64(as_bytes(text)));
}
Outcome data_uri_to_string(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  const std::size_t comma = text.find(',');
  if (!text.starts_with("data:") || comma == std::string_view::npos)
    return call.refuse("the string is no data URI.");
  if (!text.substr(0, comma).ends_with(";base64")) return utf8_value(call, text.substr(comma + 1));
  BOOTSEAL_ARM_TRY(const std::string bytes, decoded(call, text.substr(comma + 1)));
  return utf8_value(call, bytes);
}

}  // namespace

void add_encoding_functions(FunctionTable& table) {
  table["base64"] = {1, 1, base64};
  table["base64tostring"] = {1, 1, base64_to_string};
  table["base64tojson"] = {1, 1, base64_to_json};
  table["json"] = {1, 1, to_json};
  table["uri"] = {2, 2, uri};
  table["uricomponent"] = {1, 1, uri_component};
  table["uricomponenttostring"] = {1, 1, uri_component_to_string};
  table["datauri"] = {1, 1, data_uri};
  table["datauritostring"] = {1, 1, data_uri_to_string};
}

}  // namespace bootseal::templates

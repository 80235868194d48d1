#include "bootseal/identity/form.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/base/bytes.h"

namespace bootseal::identity {
namespace {

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> decode_component(std::string_view text) {
  std::string decoded;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '+') {
      decoded += ' ';
    } else if (text[at] != '%') {
      decoded += text[at];
    } else {
      const int high = at + 2 < text.size() ? digit_of(text[at + 1]) : -1;
      const int low = high >= 0 ? digit_of(text[at + 2]) : -1;
      if (low < 0) return fail(ErrorCode::invalid_argument, "the form has a '%' without two hex digits");
      decoded += static_cast<char>(high * 16 + low);
      at += 2;
    }
  }
  if (decoded.find('\0') != std::string::npos || !is_utf8(decoded))
    return fail(ErrorCode::invalid_argument, "the form has a value that is no UTF-8 text");
  return decoded;
}

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

}  // namespace

std::string encode_component(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    if (is_unreserved(c)) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

Result<Form> Form::parse(std::string_view body) {
  if (body.size() > kMaximumFormBytes)
    return fail(ErrorCode::invalid_argument, fmt::format("a form has at most {} bytes", kMaximumFormBytes));
  Form form;
  for (std::size_t count = 0; !body.empty(); ++count) {
    if (count == kMaximumFormFields)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("a form has at most {} fields", kMaximumFormFields));
    const std::size_t end = std::min(body.find('&'), body.size());
    const std::string_view pair = body.substr(0, end);
    body.remove_prefix(std::min(end + 1, body.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    BOOTSEAL_TRY(std::string name, decode_component(pair.substr(0, equals)));
    BOOTSEAL_TRY(std::string value, decode_component(pair.substr(std::min(equals + 1, pair.size()))));
    if (!form.fields_.emplace(name, std::move(value)).second)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the form has '{}' more than once", name.substr(0, 64)));
  }
  return form;
}

std::optional<std::string> Form::get(std::string_view name) const {
  const auto found = fields_.find(name);
  if (found == fields_.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

std::string Form::get_or(std::string_view name, std::string fallback) const {
  return get(name).value_or(std::move(fallback));
}

std::string Form::encode() const {
  std::string body;
  for (const auto& [name, value] : fields_) {
    if (!body.empty()) body += '&';
    body += encode_component(name) + "=" + encode_component(value);
  }
  return body;
}

}  // namespace bootseal::identity

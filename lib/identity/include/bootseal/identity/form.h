// Bodies of type application/x-www-form-urlencoded, as OAuth 2.0 clients send them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "bootseal/base/result.h"

namespace bootseal::identity {

inline constexpr std::size_t kMaximumFormBytes = 65536;
inline constexpr std::size_t kMaximumFormFields = 64;

class Form {
 public:
  // invalid_argument for a body past the limits, a broken escape, a NUL, text that is not UTF-8, and for a
  // name that comes twice (RFC 6749 3.1 forbids it).
  static Result<Form> parse(std::string_view body);

  // nullopt when it is absent or empty (RFC 6749 3.1: an empty parameter counts as left out).
  [[nodiscard]] std::optional<std::string> get(std::string_view name) const;
  [[nodiscard]] std::string get_or(std::string_view name, std::string fallback) const;
  [[nodiscard]] const std::map<std::string, std::string, std::less<>>& fields() const { return fields_; }
  // The same fields as a body.
  [[nodiscard]] std::string encode() const;

 private:
  std::map<std::string, std::string, std::less<>> fields_;
};

// Percent-encoding of everything but RFC 3986's unreserved characters.
std::string encode_component(std::string_view text);

}  // namespace bootseal::identity

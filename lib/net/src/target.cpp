#include "target.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "bootseal/base/bytes.h"

namespace bootseal::net {
namespace {

std::optional<unsigned> hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
  if (digit >= 'a' && digit <= 'f') return static_cast<unsigned>(digit - 'a') + 10;
  if (digit >= 'A' && digit <= 'F') return static_cast<unsigned>(digit - 'A') + 10;
  return std::nullopt;
}

char to_lower(char character) {
  return character >= 'A' && character <= 'Z' ? static_cast<char>(character - 'A' + 'a') : character;
}

bool is_plain_text(std::string_view text) {
  return is_utf8(text) && std::none_of(text.begin(), text.end(), [](char character) {
           const auto byte = static_cast<unsigned char>(character);
           return byte < 0x20 || byte == 0x7f;
         });
}

Result<std::string> decode(std::string_view text, bool plus_is_blank) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t index = 0; index < text.size(); ++index) {
    if (text[index] == '+' && plus_is_blank) {
      decoded += ' ';
      continue;
    }
    if (text[index] != '%') {
      decoded += text[index];
      continue;
    }
    const auto high = index + 1 < text.size() ? hex_digit(text[index + 1]) : std::nullopt;
    const auto low = index + 2 < text.size() ? hex_digit(text[index + 2]) : std::nullopt;
    if (!high || !low) {
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("the request target has a '%' without two hex digits at byte {} of a part", index));
    }
    decoded += static_cast<char>(*high << 4U | *low);
    index += 2;
  }
  if (!is_plain_text(decoded)) {
    return fail(ErrorCode::invalid_argument,
                "the request target has control characters or is not UTF-8 after decoding");
  }
  return decoded;
}

Result<std::string> parse_path(std::string_view raw) {
  BOOTSEAL_TRY(const std::string decoded, decode(raw, false));
  std::string path;
  for (const std::string_view segment : split_path(decoded)) {
    if (segment == "." || segment == "..") {
      return fail(ErrorCode::invalid_argument,
                  "the request path has a '.' or '..' segment; send the path itself");
    }
    path += '/';
    path += segment;
  }
  return path.empty() ? "/" : path;
}

}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char left, char right) { return to_lower(left) == to_lower(right); });
}

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    if (end > 0) segments.push_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return segments;
}

Result<Target> parse_target(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equal_ignoring_case(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    const std::size_t authority_end = std::min(target.find_first_of("/?"), target.size());
    if (authority_end == 0) return fail(ErrorCode::invalid_argument, "the request target names no host");
    target.remove_prefix(authority_end);
    if (target.empty()) target = "/";
    break;
  }
  if (target.empty() || (target.front() != '/' && target.front() != '?')) {
    return fail(ErrorCode::invalid_argument, "the request target must begin with '/'");
  }
  target = target.substr(0, target.find('#'));
  const std::size_t mark = std::min(target.find('?'), target.size());
  Target parsed;
  BOOTSEAL_TRY(parsed.path, parse_path(target.substr(0, mark)));
  target.remove_prefix(std::min(mark + 1, target.size()));
  while (!target.empty()) {
    const std::size_t end = std::min(target.find('&'), target.size());
    const std::string_view pair = target.substr(0, end);
    target.remove_prefix(std::min(end + 1, target.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    BOOTSEAL_TRY(std::string name, decode(pair.substr(0, equals), true));
    BOOTSEAL_TRY(std::string value, decode(pair.substr(std::min(equals + 1, pair.size())), true));
    parsed.query.emplace(std::move(name), std::move(value));
  }
  return parsed;
}

}  // namespace bootseal::net

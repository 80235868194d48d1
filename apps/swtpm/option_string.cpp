#include "option_string.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>

namespace bootseal::swtpm {
namespace {

constexpr mode_t kHighestMode = 0777;

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message));
}

// By number, or by a name of the machine.
Result<unsigned> user_or_group(std::string_view text, bool user) {
  if (const auto number = parse_number(text, 10, UINT_MAX - 1)) return static_cast<unsigned>(*number);
  const std::string name(text);
  std::array<char, 16384> buffer{};
  if (user) {
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
      return found->pw_uid;
    return bad(fmt::format("User '{}' does not exist.", name));
  }
  group entry{};
  group* found = nullptr;
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    return found->gr_gid;
  return bad(fmt::format("Group '{}' does not exist.", name));
}

}  // namespace

std::optional<unsigned long> parse_number(std::string_view text, int base, unsigned long maximum) {
  unsigned long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value > maximum)
    return std::nullopt;
  return value;
}

Result<OptionString> OptionString::parse(std::string_view text, std::span<const OptionRule> rules) {
  OptionString result;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (part.empty()) continue;
    const std::size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    const auto rule = std::find_if(rules.begin(), rules.end(),
                                   [&](const OptionRule& candidate) { return candidate.name == name; });
    const bool alone = equals == std::string_view::npos;
    const std::string_view value = alone ? std::string_view("true") : part.substr(equals + 1);
    if (rule == rules.end() || value.empty()) return bad(fmt::format("Unknown option '{}'", part));
    switch (rule->kind) {
      case OptionKind::text:
        result.values_.emplace_back(name, std::string(value));
        break;
      case OptionKind::number: {
        const auto number = parse_number(value, 10, INT_MAX);
        if (!number) return bad(fmt::format("invalid number '{}'", value));
        result.values_.emplace_back(name, static_cast<int>(*number));
        break;
      }
      case OptionKind::truth: {
        const std::string word(value);
        result.values_.emplace_back(name, ::strcasecmp(word.c_str(), "true") == 0 || word == "1");
        break;
      }
      case OptionKind::mode: {
        const auto mode = parse_number(value, 8, kHighestMode);
        if (!mode) return bad(fmt::format("mode {} is invalid", value));
        result.values_.emplace_back(name, static_cast<mode_t>(*mode));
        break;
      }
      case OptionKind::user:
      case OptionKind::group: {
        BOOTSEAL_TRY(const unsigned id, user_or_group(value, rule->kind == OptionKind::user));
        result.values_.emplace_back(name, static_cast<mode_t>(id));
        break;
      }
    }
  }
  return result;
}

const OptionString::Value* OptionString::find(std::string_view name) const {
  const auto found =
      std::find_if(values_.begin(), values_.end(), [&](const auto& entry) { return entry.first == name; });
  return found == values_.end() ? nullptr : &found->second;
}

std::optional<std::string> OptionString::text(std::string_view name) const {
  const Value* value = find(name);
  if (value == nullptr) return std::nullopt;
  return std::get<std::string>(*value);
}

std::optional<int> OptionString::number(std::string_view name) const {
  const Value* value = find(name);
  if (value == nullptr) return std::nullopt;
  return std::get<int>(*value);
}

bool OptionString::truth(std::string_view name) const {
  const Value* value = find(name);
  return value != nullptr && std::get<bool>(*value);
}

std::optional<mode_t> OptionString::mode(std::string_view name) const {
  const Value* value = find(name);
  if (value == nullptr) return std::nullopt;
  return std::get<mode_t>(*value);
}

uid_t OptionString::user(std::string_view name) const {
  return mode(name).value_or(static_cast<uid_t>(-1));
}

gid_t OptionString::group(std::string_view name) const {
  return mode(name).value_or(static_cast<gid_t>(-1));
}

}  // namespace bootseal::swtpm

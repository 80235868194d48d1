// format(): .NET's composite format with the invariant culture. Numbers take D, X, N, F0 to F9 and P-less
// custom patterns of '0'; everything else is refused rather than guessed.
#include <charconv>

#include "functions.h"

namespace bootseal::templates {
namespace {

struct Item {
  std::size_t argument = 0;
  std::int64_t alignment = 0;
  std::string_view specifier;
};

constexpr std::int64_t kMaxAlignment = 4096;
constexpr std::size_t kMaxDigits = 64;

model::ArmResult<std::int64_t> whole(const Call& call, std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || value > kMaxAlignment ||
      value < -kMaxAlignment)
    return call.refuse(fmt::format("'{}' in the format string is no number that fits there.", text));
  return value;
}

model::ArmResult<Item> item_of(const Call& call, std::string_view inside) {
  Item item;
  if (const std::size_t colon = inside.find(':'); colon != std::string_view::npos) {
    item.specifier = inside.substr(colon + 1);
    inside = inside.substr(0, colon);
  }
  if (const std::size_t comma = inside.find(','); comma != std::string_view::npos) {
    BOOTSEAL_ARM_TRY(item.alignment, whole(call, inside.substr(comma + 1)));
    inside = inside.substr(0, comma);
  }
  BOOTSEAL_ARM_TRY(const std::int64_t index, whole(call, inside));
  if (index < 0 || static_cast<std::size_t>(index) + 1 >= call.count()) {
    return call.refuse(
        fmt::format("the format string names argument {{{}}}, {} are given.", index, call.count() - 1));
  }
  item.argument = static_cast<std::size_t>(index) + 1;
  return item;
}

std::string grouped(std::string digits) {
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string padded(std::string digits, std::size_t width) {
  return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
}

Outcome number(const Call& call, std::int64_t value, std::string_view specifier) {
  const bool negative = value < 0;
  const std::uint64_t magnitude =
      negative ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  const auto with_sign = [negative](const std::string& digits) {
    return to_value((negative ? "-" : "") + digits);
  };
  const char letter = specifier.front();
  if (specifier.find_first_not_of('0') == std::string_view::npos && specifier.size() <= kMaxDigits)
    return with_sign(padded(std::to_string(magnitude), specifier.size()));
  std::size_t precision = 0;
  const std::string_view digits = specifier.substr(1);
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), precision);
  const bool given = !digits.empty();
  if (given && (error != std::errc() || stop != digits.data() + digits.size() || precision > kMaxDigits))
    return call.refuse(fmt::format("the number format '{}' is not known.", specifier));
  const auto fraction = [&](std::size_t standard) {
    const std::size_t count = given ? precision : standard;
    return count == 0 ? std::string() : "." + std::string(count, '0');
  };
  switch (letter) {
    case 'D':
    case 'd':
      return with_sign(padded(std::to_string(magnitude), precision));
    case 'X':
      return to_value(padded(fmt::format("{:X}", static_cast<std::uint64_t>(value)), precision));
    case 'x':
      return to_value(padded(fmt::format("{:x}", static_cast<std::uint64_t>(value)), precision));
    case 'N':
    case 'n':
      return with_sign(grouped(std::to_string(magnitude)) + fraction(2));
    case 'F':
    case 'f':
      return with_sign(std::to_string(magnitude) + fraction(2));
    case 'G':
    case 'g':
      if (!given) return with_sign(std::to_string(magnitude));
      break;
    default:
      break;
  }
  return call.refuse(fmt::format(
      "the number format '{}' is not known. D, X, N, F (each with a count of digits), G and zeros are.",
      specifier));
}

Outcome formatted(const Call& call, const Item& item) {
  const json::Value& value = call.arguments[item.argument];
  std::string text;
  if (!item.specifier.empty() && value.is_int64()) {
    BOOTSEAL_ARM_TRY(const json::Value shown, number(call, value.get_int64(), item.specifier));
    text = text_of(shown);
  } else {
    text = to_text(value);
  }
  const std::size_t width = static_cast<std::size_t>(item.alignment < 0 ? -item.alignment : item.alignment);
  const std::size_t length = to_utf16(text).size();
  if (length < width) {
    const std::string blanks(width - length, ' ');
    text = item.alignment > 0 ? blanks + text : text + blanks;
  }
  return to_value(text);
}

}  // namespace

Outcome format_text(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view pattern, call.text(0));
  std::string result;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c != '{' && c != '}') {
      result += c;
      continue;
    }
    if (at + 1 < pattern.size() && pattern[at + 1] == c) {
      result += c;
      ++at;
      continue;
    }
    const std::size_t end = pattern.find('}', at);
    if (c == '}' || end == std::string_view::npos)
      return call.refuse(
          fmt::format("the format string has a lone '{}' at position {}; write it twice.", c, at + 1));
    BOOTSEAL_ARM_TRY(const Item item, item_of(call, pattern.substr(at + 1, end - at - 1)));
    BOOTSEAL_ARM_TRY(const json::Value shown, formatted(call, item));
    result += text_of(shown);
    BOOTSEAL_ARM_TRY_STATUS(call.allow_text(result.size()));
    at = end;
  }
  return to_value(result);
}

}  // namespace bootseal::templates

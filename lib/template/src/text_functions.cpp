// String functions (learn.microsoft.com, "String functions for ARM templates"). Positions and lengths count
// UTF-16 code units, comparison of prefixes and searches ignores the case of ASCII letters, as there.
#include <algorithm>

#include "bootseal/base/ids.h"
#include "bootseal/template/unique.h"
#include "functions.h"

namespace bootseal::templates {
namespace {

std::string in_case(std::string_view text, bool upper) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [upper](char c) {
    if (upper) return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return result;
}

Outcome concat(Call& call) {
  if (call.arguments.front().is_array()) {
    json::Array result;
    for (std::size_t i = 0; i < call.count(); ++i) {
      BOOTSEAL_ARM_TRY(const json::Array* part, call.array(i));
      result.insert(result.end(), part->begin(), part->end());
    }
    return json::Value(std::move(result));
  }
  std::string result;
  for (std::size_t i = 0; i < call.count(); ++i) {
    if (call.arguments[i].is_structured())
      return call.wrong(i, "a string, a number or a boolean, as the first one is");
    result += to_text(call.arguments[i]);
    BOOTSEAL_ARM_TRY_STATUS(call.allow_text(result.size()));
  }
  return to_value(result);
}

Outcome to_lower(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  return to_value(in_case(text, false));
}
Outcome to_upper(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  return to_value(in_case(text, true));
}

Outcome trim(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  constexpr std::string_view kBlanks = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return to_value("");
  return to_value(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
}

Outcome substring(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  BOOTSEAL_ARM_TRY(const std::int64_t start, call.integer(1));
  const std::u16string units = to_utf16(text);
  const auto size = static_cast<std::int64_t>(units.size());
  if (start < 0 || start > size)
    return call.refuse(
        fmt::format("the start index {} lies outside of the string, which has {} characters.", start, size));
  std::int64_t length = size - start;
  if (call.count() == 3) {
    BOOTSEAL_ARM_TRY(length, call.integer(2));
    if (length < 0 || length > size - start) {
      return call.refuse(
          fmt::format("index and length must refer to a location within the string. Index {}, length {}, the "
                      "string has {} characters.",
                      start, length, size));
    }
  }
  return to_value(to_utf8(
      std::u16string_view(units).substr(static_cast<std::size_t>(start), static_cast<std::size_t>(length))));
}

Outcome replace(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  BOOTSEAL_ARM_TRY(const std::string_view old_text, call.text(1));
  BOOTSEAL_ARM_TRY(const std::string_view new_text, call.text(2));
  if (old_text.empty()) return call.refuse("the string to replace is empty.");
  std::string result;
  std::size_t at = 0;
  for (std::size_t hit = text.find(old_text); hit != std::string_view::npos; hit = text.find(old_text, at)) {
    result.append(text.substr(at, hit - at)).append(new_text);
    BOOTSEAL_ARM_TRY_STATUS(call.allow_text(result.size()));
    at = hit + old_text.size();
  }
  return to_value(result.append(text.substr(at)));
}

Outcome split(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  std::vector<std::string_view> delimiters;
  if (call.arguments[1].is_string()) {
    delimiters.push_back(text_of(call.arguments[1]));
  } else {
    BOOTSEAL_ARM_TRY(const json::Array* given, call.array(1));
    for (const json::Value& delimiter : *given) {
      if (!delimiter.is_string()) return call.refuse("every delimiter must be a string.");
      delimiters.push_back(text_of(delimiter));
    }
  }
  std::erase(delimiters, std::string_view());
  BOOTSEAL_ARM_TRY_STATUS(call.evaluator.budget().charge(text.size() * (delimiters.size() + 1)));
  json::Array result;
  std::size_t start = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto hit =
        std::ranges::find_if(delimiters, [&](std::string_view d) { return text.substr(at).starts_with(d); });
    if (hit == delimiters.end()) {
      ++at;
      continue;
    }
    result.push_back(to_value(text.substr(start, at - start)));
    at += hit->size();
    start = at;
  }
  result.push_back(to_value(text.substr(start)));
  return json::Value(std::move(result));
}

Outcome join(Call& call) {
  BOOTSEAL_ARM_TRY(const json::Array* parts, call.array(0));
  BOOTSEAL_ARM_TRY(const std::string_view delimiter, call.text(1));
  std::string result;
  for (const json::Value& part : *parts) {
    if (part.is_structured()) return call.refuse("the array holds an element that is no string.");
    if (&part != parts->begin()) result += delimiter;
    result += to_text(part);
    BOOTSEAL_ARM_TRY_STATUS(call.allow_text(result.size()));
  }
  return to_value(result);
}

struct Search {
  std::string text;
  std::string wanted;
};
model::ArmResult<Search> search_of(const Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  BOOTSEAL_ARM_TRY(const std::string_view wanted, call.text(1));
  return Search{in_case(text, false), in_case(wanted, false)};
}
json::Value index_in(const std::string& text, std::size_t found) {
  if (found == std::string::npos) return json::Value(std::int64_t{-1});
  return json::Value(static_cast<std::int64_t>(to_utf16(std::string_view(text).substr(0, found)).size()));
}

Outcome index_of(Call& call) {
  if (call.arguments[0].is_array()) {
    const json::Array& array = call.arguments[0].get_array();
    const auto* const found = std::find(array.begin(), array.end(), call.arguments[1]);
    return json::Value(found == array.end() ? std::int64_t{-1}
                                            : static_cast<std::int64_t>(found - array.begin()));
  }
  BOOTSEAL_ARM_TRY(const Search search, search_of(call));
  return index_in(search.text, search.text.find(search.wanted));
}
Outcome last_index_of(Call& call) {
  if (call.arguments[0].is_array()) {
    const json::Array& array = call.arguments[0].get_array();
    std::int64_t last = -1;
    for (std::size_t i = 0; i < array.size(); ++i)
      if (array[i] == call.arguments[1]) last = static_cast<std::int64_t>(i);
    return json::Value(last);
  }
  BOOTSEAL_ARM_TRY(const Search search, search_of(call));
  return index_in(search.text, search.text.rfind(search.wanted));
}
Outcome starts_with(Call& call) {
  BOOTSEAL_ARM_TRY(const Search search, search_of(call));
  return json::Value(search.text.starts_with(search.wanted));
}
Outcome ends_with(Call& call) {
  BOOTSEAL_ARM_TRY(const Search search, search_of(call));
  return json::Value(search.text.ends_with(search.wanted));
}

Outcome pad_left(Call& call) {
  if (call.arguments[0].is_structured() || call.arguments[0].is_null())
    return call.wrong(0, "a string or an integer");
  BOOTSEAL_ARM_TRY(const std::int64_t width, call.integer(1));
  char16_t fill = u' ';
  if (call.count() == 3) {
    BOOTSEAL_ARM_TRY(const std::string_view given, call.text(2));
    const std::u16string units = to_utf16(given);
    if (units.size() != 1) return call.refuse("the padding must be one character.");
    fill = units.front();
  }
  if (width < 0) return call.refuse("the total length must not be negative.");
  BOOTSEAL_ARM_TRY_STATUS(call.allow_text(static_cast<std::uint64_t>(width)));
  const std::u16string units = to_utf16(to_text(call.arguments[0]));
  if (units.size() >= static_cast<std::size_t>(width)) return to_value(to_utf8(units));
  return to_value(to_utf8(std::u16string(static_cast<std::size_t>(width) - units.size(), fill) + units));
}

Outcome to_string(Call& call) {
  BOOTSEAL_ARM_TRY_STATUS(call.allow_text(0));
  return to_value(to_text(call.arguments[0]));
}

model::ArmResult<std::string> joined(const Call& call) {
  std::string text;
  for (std::size_t i = 0; i < call.count(); ++i) {
    BOOTSEAL_ARM_TRY(const std::string_view part, call.text(i));
    if (i != 0) text += '-';
    text += part;
  }
  return text;
}
Outcome unique(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string text, joined(call));
  return to_value(unique_string(text));
}
Outcome guid(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string text, joined(call));
  return to_value(name_guid(text));
}
Outcome new_guid(Call& call) {
  if (!call.evaluator.volatile_functions) {
    return call.refuse(
        "it is only expected in the default value of a parameter, as its answer is another one each time.");
  }
  return to_value(Guid::random().to_string());
}

}  // namespace

void add_text_functions(FunctionTable& table) {
  table["concat"] = {1, kAnyCount, concat};
  table["format"] = {1, kAnyCount, format_text};
  table["tolower"] = {1, 1, to_lower};
  table["toupper"] = {1, 1, to_upper};
  table["trim"] = {1, 1, trim};
  table["substring"] = {2, 3, substring};
  table["replace"] = {3, 3, replace};
  table["split"] = {2, 2, split};
  table["join"] = {2, 2, join};
  table["indexof"] = {2, 2, index_of};
  table["lastindexof"] = {2, 2, last_index_of};
  table["startswith"] = {2, 2, starts_with};
  table["endswith"] = {2, 2, ends_with};
  table["padleft"] = {2, 3, pad_left};
  table["string"] = {1, 1, to_string};
  table["uniquestring"] = {1, kAnyCount, unique};
  table["guid"] = {1, kAnyCount, guid};
  table["newguid"] = {0, 0, new_guid};
}

}  // namespace bootseal::templates

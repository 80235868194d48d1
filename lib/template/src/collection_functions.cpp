// Arrays, and what works on texts and objects as well (learn.microsoft.com, "Array functions for ARM
// templates").
#include <algorithm>

#include "functions.h"

namespace bootseal::templates {
namespace {

constexpr std::int64_t kMaxRange = 10'000;  // Azure's limit

Outcome array(Call& call) {
  if (call.arguments[0].is_array()) return call.arguments[0];
  return json::Value(json::Array{call.arguments[0]});
}
Outcome create_array(Call& call) {
  return json::Value(json::Array(call.arguments.begin(), call.arguments.end()));
}

Outcome range(Call& call) {
  BOOTSEAL_ARM_TRY(const std::int64_t start, call.integer(0));
  BOOTSEAL_ARM_TRY(const std::int64_t count, call.integer(1));
  if (count < 0 || count > kMaxRange)
    return call.refuse(fmt::format("the count must be 0 to {}, it is {}.", kMaxRange, count));
  constexpr std::int64_t kLargest = 2'147'483'647;
  if (start > kLargest - count || start < -kLargest) return call.refuse("the numbers must fit into 32 bits.");
  json::Array result;
  for (std::int64_t i = 0; i < count; ++i) result.emplace_back(start + i);
  return json::Value(std::move(result));
}

Outcome length(Call& call) {
  const json::Value& value = call.arguments[0];
  if (value.is_string()) return json::Value(static_cast<std::int64_t>(to_utf16(text_of(value)).size()));
  if (value.is_array()) return json::Value(static_cast<std::int64_t>(value.get_array().size()));
  if (value.is_object()) return json::Value(static_cast<std::int64_t>(value.get_object().size()));
  return call.wrong(0, "a string, an array or an object");
}

Outcome empty(Call& call) {
  const json::Value& value = call.arguments[0];
  if (value.is_null()) return json::Value(true);
  if (value.is_string()) return json::Value(value.get_string().empty());
  if (value.is_array()) return json::Value(value.get_array().empty());
  if (value.is_object()) return json::Value(value.get_object().empty());
  return call.wrong(0, "a string, an array, an object or null");
}

// The last one when `backward`; "" of an empty text, null of an empty array.
Outcome end_of(Call& call, bool backward) {
  const json::Value& value = call.arguments[0];
  if (value.is_array()) {
    const json::Array& elements = value.get_array();
    if (elements.empty()) return json::Value(nullptr);
    return backward ? elements.back() : elements.front();
  }
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  const std::u16string units = to_utf16(text);
  if (units.empty()) return to_value("");
  return to_value(to_utf8(std::u16string(1, backward ? units.back() : units.front())));
}
Outcome first(Call& call) {
  return end_of(call, false);
}
Outcome last(Call& call) {
  return end_of(call, true);
}

// From `skipped` on when `rest`, else the first `skipped`.
Outcome part(Call& call, bool rest) {
  BOOTSEAL_ARM_TRY(const std::int64_t given, call.integer(1));
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(given, 0));
  if (call.arguments[0].is_array()) {
    const json::Array& elements = call.arguments[0].get_array();
    const auto* const middle =
        elements.begin() + static_cast<std::ptrdiff_t>(std::min(count, elements.size()));
    return json::Value(rest ? json::Array(middle, elements.end()) : json::Array(elements.begin(), middle));
  }
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  const std::u16string units = to_utf16(text);
  const std::size_t middle = std::min(count, units.size());
  return to_value(to_utf8(rest ? std::u16string_view(units).substr(middle)
                               : std::u16string_view(units).substr(0, middle)));
}
Outcome skip(Call& call) {
  return part(call, true);
}
Outcome take(Call& call) {
  return part(call, false);
}

Outcome contains(Call& call) {
  const json::Value& container = call.arguments[0];
  if (const json::Array* elements = container.if_array())
    return json::Value(std::find(elements->begin(), elements->end(), call.arguments[1]) != elements->end());
  if (const json::Object* members = container.if_object()) {
    BOOTSEAL_ARM_TRY(const std::string_view name, call.text(1));
    return json::Value(find_member(*members, name) != nullptr);
  }
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  if (call.arguments[1].is_structured()) return call.wrong(1, "a string or an integer");
  return json::Value(text.find(to_text(call.arguments[1])) != std::string_view::npos);
}

// Members of `from` over those of `into`; objects inside objects are merged when `deep`.
void merge(json::Object& into, const json::Object& from, bool deep) {
  for (const auto& member : from) {
    auto* const present = const_cast<json::Value*>(find_member(into, member.key()));
    if (present == nullptr) {
      into[member.key()] = member.value();
    } else if (deep && present->is_object() && member.value().is_object()) {
      merge(present->get_object(), member.value().get_object(), deep);
    } else {
      *present = member.value();
    }
  }
}

model::ArmStatus charge_search(const Call& call) {
  std::uint64_t pairs = 0;
  for (const json::Value& value : call.arguments)
    if (value.is_array()) pairs = std::max<std::uint64_t>(pairs, value.get_array().size());
  return call.evaluator.budget().charge(pairs * pairs);
}

Outcome set_union(Call& call) {
  BOOTSEAL_ARM_TRY_STATUS(charge_search(call));
  if (call.arguments[0].is_object()) {
    json::Object result;
    for (std::size_t i = 0; i < call.count(); ++i) {
      BOOTSEAL_ARM_TRY(const json::Object* members, call.object(i));
      merge(result, *members, true);
    }
    return json::Value(std::move(result));
  }
  json::Array result;
  for (std::size_t i = 0; i < call.count(); ++i) {
    BOOTSEAL_ARM_TRY(const json::Array* elements, call.array(i));
    BOOTSEAL_ARM_TRY_STATUS(call.evaluator.budget().charge(elements->size() * result.size()));
    for (const json::Value& element : *elements)
      if (std::find(result.begin(), result.end(), element) == result.end()) result.push_back(element);
  }
  return json::Value(std::move(result));
}

Outcome intersection(Call& call) {
  BOOTSEAL_ARM_TRY_STATUS(charge_search(call));
  if (call.arguments[0].is_object()) {
    json::Object result = call.arguments[0].get_object();
    for (std::size_t i = 1; i < call.count(); ++i) {
      BOOTSEAL_ARM_TRY(const json::Object* others, call.object(i));
      json::Object kept;
      for (const auto& member : result) {
        const json::Value* other = find_member(*others, member.key());
        if (other != nullptr && *other == member.value()) kept[member.key()] = member.value();
      }
      result = std::move(kept);
    }
    return json::Value(std::move(result));
  }
  json::Array result;
  BOOTSEAL_ARM_TRY(const json::Array* elements, call.array(0));
  for (const json::Value& element : *elements) {
    bool everywhere = std::find(result.begin(), result.end(), element) == result.end();
    for (std::size_t i = 1; i < call.count(); ++i) {
      BOOTSEAL_ARM_TRY(const json::Array* others, call.array(i));
      everywhere = everywhere && std::find(others->begin(), others->end(), element) != others->end();
    }
    if (everywhere) result.push_back(element);
  }
  return json::Value(std::move(result));
}

Outcome flatten(Call& call) {
  BOOTSEAL_ARM_TRY(const json::Array* arrays, call.array(0));
  json::Array result;
  for (const json::Value& inner : *arrays) {
    if (!inner.is_array()) return call.refuse("every element of the array must be an array.");
    result.insert(result.end(), inner.get_array().begin(), inner.get_array().end());
  }
  return json::Value(std::move(result));
}

Outcome shallow_merge(Call& call) {
  BOOTSEAL_ARM_TRY(const json::Array* objects, call.array(0));
  json::Object result;
  for (const json::Value& object : *objects) {
    if (!object.is_object()) return call.refuse("every element of the array must be an object.");
    BOOTSEAL_ARM_TRY_STATUS(call.evaluator.budget().charge(result.size() * object.get_object().size()));
    merge(result, object.get_object(), false);
  }
  return json::Value(std::move(result));
}

}  // namespace

void add_collection_functions(FunctionTable& table) {
  table["array"] = {1, 1, array};
  table["createarray"] = {0, kAnyCount, create_array};
  table["range"] = {2, 2, range};
  table["length"] = {1, 1, length};
  table["empty"] = {1, 1, empty};
  table["first"] = {1, 1, first};
  table["last"] = {1, 1, last};
  table["skip"] = {2, 2, skip};
  table["take"] = {2, 2, take};
  table["contains"] = {2, 2, contains};
  table["union"] = {1, kAnyCount, set_union};
  table["intersection"] = {1, kAnyCount, intersection};
  table["flatten"] = {1, 1, flatten};
  table["shallowmerge"] = {1, 1, shallow_merge};
}

}  // namespace bootseal::templates

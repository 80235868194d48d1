// Objects (learn.microsoft.com, "Object functions for ARM templates").
#include <algorithm>

#include "functions.h"

namespace bootseal::templates {
namespace {

Outcome create_object(Call& call) {
  if (call.count() % 2 != 0) return call.refuse("it wants names and values in pairs.");
  json::Object result;
  for (std::size_t i = 0; i < call.count(); i += 2) {
    BOOTSEAL_ARM_TRY(const std::string_view name, call.text(i));
    result[name] = call.arguments[i + 1];
  }
  return json::Value(std::move(result));
}

Outcome object_keys(Call& call) {
  BOOTSEAL_ARM_TRY(const json::Object* members, call.object(0));
  std::vector<std::string> names;
  for (const auto& member : *members) names.emplace_back(member.key());
  std::sort(names.begin(), names.end());
  json::Array result;
  for (const std::string& name : names) result.push_back(to_value(name));
  return json::Value(std::move(result));
}

// [{"key","value"}], sorted by key.
Outcome items(Call& call) {
  BOOTSEAL_ARM_TRY(const json::Object* members, call.object(0));
  std::map<std::string, const json::Value*> sorted;
  for (const auto& member : *members) sorted.emplace(member.key(), &member.value());
  json::Array result;
  for (const auto& [name, value] : sorted) result.push_back(json::Object{{"key", name}, {"value", *value}});
  return json::Value(std::move(result));
}

// tryGet(container, key or index…): null where the way ends.
Outcome try_get(Call& call) {
  json::Value at = call.arguments[0];
  for (std::size_t i = 1; i < call.count(); ++i) {
    const json::Value& step = call.arguments[i];
    const json::Value* next = nullptr;
    if (step.is_string() && at.is_object()) {
      next = find_member(at.get_object(), text_of(step));
    } else if (step.is_int64() && at.is_array()) {
      const std::int64_t index = step.get_int64();
      const bool inside = index >= 0 && static_cast<std::uint64_t>(index) < at.get_array().size();
      if (inside) next = &at.get_array()[static_cast<std::size_t>(index)];
    } else if (!step.is_string() && !step.is_int64()) {
      return call.wrong(i, "a name or an index");
    }
    if (next == nullptr) return json::Value(nullptr);
    json::Value inner = *next;
    at = std::move(inner);
  }
  return at;
}

}  // namespace

void add_object_functions(FunctionTable& table) {
  table["createobject"] = {0, kAnyCount, create_object};
  table["objectkeys"] = {1, 1, object_keys};
  table["items"] = {1, 1, items};
  table["tryget"] = {2, kAnyCount, try_get};
}

}  // namespace bootseal::templates

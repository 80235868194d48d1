#include "bootseal/template/what_if.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "functions.h"

namespace bootseal::templates {
namespace {

json::Object change(std::string_view path, std::string_view type, const json::Value* before,
                    const json::Value* after, json::Array children = {}) {
  json::Object result{{"path", path}, {"propertyChangeType", type}};
  if (before != nullptr) result["before"] = *before;
  if (after != nullptr) result["after"] = *after;
  if (!children.empty()) result["children"] = std::move(children);
  return result;
}

bool same_text(std::string_view name, std::string_view before, std::string_view after) {
  if (before == after) return true;
  const bool without_case =
      after.starts_with("/subscriptions/") || model::equal_ignoring_case(name, "location");
  return without_case && model::equal_ignoring_case(before, after);
}

void compare_objects(const std::string& path, const json::Object& before, const json::Object& after,
                     bool whole, json::Array& changes);

json::Array compare_arrays(const json::Array& before, const json::Array& after) {
  json::Array children;
  for (std::size_t i = 0; i < std::max(before.size(), after.size()); ++i) {
    const std::string index = std::to_string(i);
    if (i >= before.size()) {
      children.push_back(change(index, "Create", nullptr, &after[i]));
    } else if (i >= after.size()) {
      children.push_back(change(index, "Delete", &before[i], nullptr));
    } else if (before[i].is_object() && after[i].is_object()) {
      json::Array inner;
      compare_objects({}, before[i].get_object(), after[i].get_object(), false, inner);
      if (!inner.empty()) children.push_back(change(index, "Modify", nullptr, nullptr, std::move(inner)));
    } else if (before[i].is_array() && after[i].is_array()) {
      json::Array inner = compare_arrays(before[i].get_array(), after[i].get_array());
      if (!inner.empty()) children.push_back(change(index, "Array", nullptr, nullptr, std::move(inner)));
    } else if (!(before[i] == after[i])) {
      children.push_back(change(index, "Modify", &before[i], &after[i]));
    }
  }
  return children;
}

void compare_members(const std::string& path, std::string_view name, const json::Value& before,
                     const json::Value& after, json::Array& changes) {
  if (before.is_object() && after.is_object()) {
    const bool tags = path == "tags";
    return compare_objects(path, before.get_object(), after.get_object(), tags, changes);
  }
  if (before.is_array() && after.is_array()) {
    json::Array children = compare_arrays(before.get_array(), after.get_array());
    if (!children.empty()) changes.push_back(change(path, "Array", nullptr, nullptr, std::move(children)));
    return;
  }
  const bool same = before.is_string() && after.is_string() ? same_text(name, text_of(before), text_of(after))
                                                            : before == after;
  if (!same) changes.push_back(change(path, "Modify", &before, &after));
}

void compare_objects(const std::string& path, const json::Object& before, const json::Object& after,
                     bool whole, json::Array& changes) {
  const auto below = [&](std::string_view name) {
    return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
  };
  for (const auto& member : after) {
    if (member.value().is_null()) continue;
    const json::Value* stored = find_member(before, member.key());
    if (stored == nullptr || stored->is_null())
      changes.push_back(change(below(member.key()), "Create", nullptr, &member.value()));
    else
      compare_members(below(member.key()), member.key(), *stored, member.value(), changes);
  }
  if (!whole) return;
  for (const auto& member : before)
    if (find_member(after, member.key()) == nullptr)
      changes.push_back(change(below(member.key()), "Delete", &member.value(), nullptr));
}

}  // namespace

json::Array property_changes(const json::Object& before, const json::Object& after) {
  json::Array changes;
  compare_objects({}, before, after, false, changes);
  return changes;
}

}  // namespace bootseal::templates

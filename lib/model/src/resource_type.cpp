#include "bootseal/model/resource_type.h"

#include <fmt/format.h>

#include <algorithm>

#include "resource_types.h"

namespace bootseal::model {
namespace {

constexpr std::size_t kMaximumTags = 50;
constexpr std::size_t kMaximumTagName = 512;
constexpr std::size_t kMaximumTagValue = 256;

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

ArmStatus check_tag_name(std::string_view name) {
  if (name.empty() || name.size() > kMaximumTagName) {
    return refuse(
        400, "InvalidTagNameLength",
        fmt::format("Tag name too large. Following tag name '{}' exceeded the maximum length. Maximum "
                    "allowed length for tag name - '{}' characters; an empty one is not allowed.",
                    name.substr(0, 64), kMaximumTagName),
        "tags");
  }
  if (name.find_first_of("<>%&\\?/") != std::string_view::npos) {
    return refuse(
        400, "InvalidTagNameCharacters",
        fmt::format("The tag names '{}' have reserved characters '<,>,%,&,\\,?,/' or control characters.",
                    name.substr(0, 64)),
        "tags");
  }
  for (const std::string_view reserved : {"microsoft", "azure", "windows"}) {
    if (!equal_ignoring_case(name.substr(0, reserved.size()), reserved)) continue;
    return refuse(
        400, "ReservedTagName",
        fmt::format("The tag name '{}' is reserved: it begins with '{}'.", name.substr(0, 64), reserved),
        "tags");
  }
  return {};
}

}  // namespace

const std::vector<ResourceType>& resource_types() {
  static const std::vector<ResourceType> all = [] {
    std::vector<ResourceType> list;
    for (std::vector<ResourceType> part : {listed_types(), network_types(), authorization_types()}) {
      list.insert(list.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
    }
    return list;
  }();
  return all;
}

const ResourceType* find_resource_type(std::string_view provider, std::string_view type) {
  for (const ResourceType& one : resource_types()) {
    if (equal_ignoring_case(one.provider, provider) && equal_ignoring_case(one.type, type)) return &one;
  }
  return nullptr;
}

std::vector<const ResourceType*> embedded_types_of(const ResourceType& parent) {
  std::vector<const ResourceType*> children;
  for (const ResourceType& one : resource_types()) {
    if (one.service == ResourceType::Service::embedded && one.provider == parent.provider &&
        one.type.starts_with(parent.type + "/")) {
      children.push_back(&one);
    }
  }
  return children;
}

ArmStatus check_resource_name(const ResourceType& type, std::string_view name) {
  const bool fits = name.size() >= type.minimum_name && name.size() <= type.maximum_name &&
                    is_alphanumeric(name.front()) && (is_alphanumeric(name.back()) || name.back() == '_') &&
                    std::ranges::all_of(
                        name, [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
  if (fits) return {};
  return refuse(
      400, "InvalidResourceName",
      fmt::format("Resource name {} is invalid. The name can be up to {} characters long. It must begin "
                  "with a word character, and it must end with a word character or with '_'. The name may "
                  "contain word characters or '.', '-', '_'.",
                  name.substr(0, 128), type.maximum_name),
      "name");
}

ArmStatus check_tags(const json::Object& tags) {
  if (tags.size() > kMaximumTags) {
    return refuse(400, "InvalidTags",
                  fmt::format("The number of tags '{}' exceeds the maximum of '{}' tags of one resource.",
                              tags.size(), kMaximumTags),
                  "tags");
  }
  for (auto tag = tags.begin(); tag != tags.end(); ++tag) {
    const std::string_view name(tag->key().data(), tag->key().size());
    BOOTSEAL_ARM_TRY_STATUS(check_tag_name(name));
    if (!tag->value().is_string() || tag->value().get_string().size() > kMaximumTagValue) {
      return refuse(
          400, "InvalidTagValueLength",
          fmt::format("Tag value too large. Following tag value of '{}' exceeded the maximum length. "
                      "Maximum allowed length for tag value - '{}' characters.",
                      name.substr(0, 64), kMaximumTagValue),
          "tags");
    }
    const bool twice = std::any_of(tags.begin(), tag, [&](const auto& other) {
      return equal_ignoring_case(std::string_view(other.key().data(), other.key().size()), name);
    });
    if (twice) {
      return refuse(400, "InvalidTags",
                    fmt::format("The tag name '{}' is given twice; tag names differ in more than case.",
                                name.substr(0, 64)),
                    "tags");
    }
  }
  return {};
}

SchemaRef resource_schema(const ResourceType& type) {
  std::vector<Field> fields = {{"id", string_schema(), false, true},
                               {"name", string_schema(128)},
                               {"type", string_schema(), false, true},
                               {"etag", string_schema(), false, true}};
  if (type.tracked) {
    fields.push_back({"location", string_schema(64)});
    fields.push_back({"tags", map_schema(string_schema())});
  }
  if (type.schema != nullptr)
    fields.insert(fields.end(), type.schema->fields.begin(), type.schema->fields.end());
  return object_schema(type.schema != nullptr ? type.schema->name : type.singular, std::move(fields));
}

SchemaRef reference_schema() {
  static const SchemaRef schema =
      object_schema("SubResource", {{"id", string_schema(1024)},
                                    {"properties", any_schema(), false, true, "Not looked at"},
                                    {"name", string_schema(), false, true},
                                    {"type", string_schema(), false, true},
                                    {"etag", string_schema(), false, true},
                                    {"location", string_schema(), false, true},
                                    {"tags", any_schema(), false, true},
                                    {"sku", any_schema(), false, true},
                                    {"zones", any_schema(), false, true},
                                    {"resourceGroup", string_schema(), false, true}});
  return schema;
}

}  // namespace bootseal::model

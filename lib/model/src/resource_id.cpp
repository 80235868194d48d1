#include "bootseal/model/resource_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "bootseal/base/ids.h"

namespace bootseal::model {
namespace {

constexpr std::size_t kMaximumLength = 2048;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::vector<std::string_view> segments_of(std::string_view text) {
  std::vector<std::string_view> segments;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('/'), text.size());
    if (end > 0) segments.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return segments;
}

// The canonical spelling of what we know; anything else stays as it came.
std::string canonical(std::string_view text) {
  for (const std::string_view known :
       {"Microsoft.Compute", "Microsoft.Network", "Microsoft.Resources", "Bootseal.Gallery",
        "virtualMachines", "disks", "images", "galleries", "networkInterfaces"}) {
    if (equal_ignoring_case(text, known)) return std::string(known);
  }
  return std::string(text);
}

}  // namespace

std::string to_lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

ResourceId ResourceId::of_group(std::string subscription, std::string group) {
  return {std::move(subscription), std::move(group), {}, {}, {}};
}

ResourceId ResourceId::of_virtual_machine(std::string subscription, std::string group, std::string name) {
  return {std::move(subscription), std::move(group), "Microsoft.Compute", "virtualMachines", std::move(name)};
}

Result<ResourceId> ResourceId::parse(std::string_view text) {
  const auto malformed = [&](std::string_view why) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a resource id: {}; wanted "
                            "/subscriptions/ID/resourceGroups/GROUP/providers/NAMESPACE/TYPE/NAME",
                            text.substr(0, 256), why));
  };
  if (text.size() > kMaximumLength) return malformed("it is longer than 2048 bytes");
  if (!text.starts_with('/')) return malformed("it does not begin with '/'");
  const std::vector<std::string_view> segments = segments_of(text);
  if (segments.size() != 4 && segments.size() != 8) return malformed("it has the wrong number of parts");
  if (!equal_ignoring_case(segments[0], "subscriptions"))
    return malformed("it does not begin with /subscriptions");
  if (!equal_ignoring_case(segments[2], "resourceGroups"))
    return malformed("its third part is not resourceGroups");
  if (segments.size() == 8 && !equal_ignoring_case(segments[4], "providers"))
    return malformed("its fifth part is not providers");
  for (std::size_t i = 1; i < segments.size(); i += i == 5 ? 1 : 2) {
    if (!is_valid_resource_name(segments[i]))
      return malformed(fmt::format("'{}' is not a valid name", segments[i].substr(0, 80)));
  }
  ResourceId id;
  id.subscription = segments[1];
  id.group = segments[3];
  if (segments.size() == 8) {
    if (!is_valid_resource_name(segments[7])) return malformed("the last part is not a valid name");
    id.provider = canonical(segments[5]);
    id.type = canonical(segments[6]);
    id.name = segments[7];
  }
  return id;
}

std::string ResourceId::to_string() const {
  std::string text = fmt::format("/subscriptions/{}/resourceGroups/{}", subscription, group);
  if (!type.empty()) text += fmt::format("/providers/{}/{}/{}", provider, type, name);
  return text;
}

}  // namespace bootseal::model

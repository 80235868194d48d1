#include "bootseal/model/resource_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

namespace bootseal::model {
namespace {

constexpr std::size_t kMaximumLength = 960;  // with its prefix it is a key of the store
constexpr std::size_t kMaximumName = 128;
constexpr std::size_t kMaximumDepth = 6;  // names of one resource
constexpr std::size_t kMaximumExtensions = 3;

using Segments = std::span<const std::string_view>;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// The canonical spelling of what we know; anything else stays as it came.
std::string canonical(std::string_view text) {
  constexpr std::array kKnown = std::to_array<std::string_view>({"Microsoft.Compute",
                                                                 "Microsoft.Network",
                                                                 "Microsoft.Resources",
                                                                 "Microsoft.Authorization",
                                                                 "Microsoft.PolicyInsights",
                                                                 "Microsoft.Insights",
                                                                 "Microsoft.Features",
                                                                 "Microsoft.KeyVault",
                                                                 "Microsoft.Attestation",
                                                                 "Microsoft.ManagedIdentity",
                                                                 "Microsoft.Storage",
                                                                 "Bootseal.Gallery",
                                                                 "virtualMachines",
                                                                 "extensions",
                                                                 "disks",
                                                                 "snapshots",
                                                                 "images",
                                                                 "galleries",
                                                                 "versions",
                                                                 "networkInterfaces",
                                                                 "virtualNetworks",
                                                                 "subnets",
                                                                 "networkSecurityGroups",
                                                                 "securityRules",
                                                                 "defaultSecurityRules",
                                                                 "publicIPAddresses",
                                                                 "ipConfigurations",
                                                                 "deployments",
                                                                 "operations",
                                                                 "tags",
                                                                 "locks",
                                                                 "policyDefinitions",
                                                                 "policySetDefinitions",
                                                                 "policyAssignments",
                                                                 "roleAssignments",
                                                                 "roleDefinitions",
                                                                 "locations",
                                                                 "vmSizes",
                                                                 "usages",
                                                                 "eventtypes",
                                                                 "resources",
                                                                 "resourceGroups",
                                                                 "subscriptions"});
  for (const std::string_view known : kKnown) {
    if (equal_ignoring_case(text, known)) return std::string(known);
  }
  return std::string(text);
}

// Azure's rule for the names of all types: no control characters and none of <>%&\?/ (and we need no other
// special ones); a name of dots only would be a step in a path.
bool is_name(std::string_view text) {
  constexpr std::string_view kForbidden = "<>%&\\?/#:\"' ";
  if (text.empty() || text.size() > kMaximumName) return false;
  if (text.find_first_not_of('.') == std::string_view::npos) return false;
  const char first = lower(text.front());
  const bool begins_well = (first >= 'a' && first <= 'z') || (first >= '0' && first <= '9') || first == '_' ||
                           first == '(' || first == '$';
  return begins_well && std::ranges::all_of(text, [&](char c) {
           return c > 0x20 && c < 0x7f && kForbidden.find(c) == std::string_view::npos;
         });
}

tl::unexpected<Error> malformed(std::string_view why) {
  return fail(ErrorCode::invalid_argument, std::string(why));
}

// /subscriptions/S[/resourceGroups/G]; what is left is returned.
Result<Segments> take_scope(Segments segments, ResourceId& id) {
  if (segments.empty() || !equal_ignoring_case(segments[0], "subscriptions")) return segments;
  if (segments.size() < 2 || !is_name(segments[1]))
    return malformed("the subscription's id is missing or invalid");
  id.subscription = segments[1];
  segments = segments.subspan(2);
  if (segments.empty() || !equal_ignoring_case(segments[0], "resourceGroups")) return segments;
  if (segments.size() < 2 || !is_name(segments[1]))
    return malformed("the group's name is missing or invalid");
  id.group = segments[1];
  return segments.subspan(2);
}

// providers/NAMESPACE/TYPE/NAME[/TYPE/NAME…] up to the next `providers`.
Result<Segments> take_resource(Segments segments, ResourceId& id) {
  if (!equal_ignoring_case(segments[0], "providers")) return malformed("'providers' is not where it belongs");
  if (segments.size() < 4) return malformed("the type or the name is missing");
  if (!is_name(segments[1])) return malformed("the namespace is not valid");
  id.provider = canonical(segments[1]);
  id.type.clear();
  id.name.clear();
  id.parents.clear();
  segments = segments.subspan(2);
  while (!segments.empty() && !equal_ignoring_case(segments[0], "providers")) {
    if (segments.size() < 2) return malformed("a type has no name");
    if (!is_name(segments[0]) || !is_name(segments[1]))
      return malformed(fmt::format("'{}/{}' is not a valid type and name", segments[0].substr(0, 80),
                                   segments[1].substr(0, 80)));
    if (!id.type.empty()) {
      id.parents.push_back(std::move(id.name));
      id.type += '/';
    }
    id.type += canonical(segments[0]);
    id.name = segments[1];
    if (id.parents.size() >= kMaximumDepth) return malformed("it is nested too deeply");
    segments = segments.subspan(2);
  }
  if (id.type.empty()) return malformed("a type is missing");
  return segments;
}

Result<ResourceId> parse_segments(Segments segments) {
  ResourceId id;
  BOOTSEAL_TRY(segments, take_scope(segments, id));
  if (segments.empty() && id.subscription.empty()) return malformed("it names nothing");
  for (std::size_t extensions = 0; !segments.empty(); ++extensions) {
    if (extensions > kMaximumExtensions) return malformed("it extends too many resources");
    if (id.is_resource()) id.extended = id.to_string();
    BOOTSEAL_TRY(segments, take_resource(segments, id));
  }
  return id;
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

std::vector<std::string_view> path_segments(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    if (end > 0) segments.push_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return segments;
}

ResourceId ResourceId::of_subscription(std::string subscription) {
  ResourceId id;
  id.subscription = std::move(subscription);
  return id;
}

ResourceId ResourceId::of_group(std::string subscription, std::string group) {
  ResourceId id = of_subscription(std::move(subscription));
  id.group = std::move(group);
  return id;
}

ResourceId ResourceId::of_virtual_machine(std::string subscription, std::string group, std::string name) {
  ResourceId id = of_group(std::move(subscription), std::move(group));
  id.provider = "Microsoft.Compute";
  id.type = "virtualMachines";
  id.name = std::move(name);
  return id;
}

Result<ResourceId> ResourceId::parse(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a resource id: {}; wanted "
                            "/subscriptions/ID/resourceGroups/GROUP/providers/NAMESPACE/TYPE/NAME",
                            text.substr(0, 256), why));
  };
  if (text.size() > kMaximumLength) return refuse(fmt::format("it is longer than {} bytes", kMaximumLength));
  if (!text.starts_with('/')) return refuse("it does not begin with '/'");
  const std::vector<std::string_view> segments = path_segments(text);
  auto id = parse_segments(segments);
  if (!id) return refuse(id.error().message);
  return id;
}

std::string ResourceId::full_type() const {
  if (is_resource()) return provider + "/" + type;
  return group.empty() ? std::string() : "Microsoft.Resources/resourceGroups";
}

std::string ResourceId::scope() const {
  if (!extended.empty()) return extended;
  if (subscription.empty()) return {};
  std::string text = "/subscriptions/" + subscription;
  if (!group.empty() && is_resource()) text += "/resourceGroups/" + group;
  return text;
}

std::string ResourceId::parent() const {
  if (parents.empty()) return scope();
  const std::string text = to_string();
  const std::size_t name_slash = text.rfind('/');
  return text.substr(0, text.rfind('/', name_slash - 1));
}

ResourceId ResourceId::child(std::string_view child_type, std::string_view child_name) const {
  ResourceId id = *this;
  id.parents.push_back(id.name);
  id.type.append("/").append(child_type);
  id.name = child_name;
  return id;
}

std::string ResourceId::to_string() const {
  std::string text = extended;
  if (extended.empty()) {
    if (!subscription.empty()) text += "/subscriptions/" + subscription;
    if (!group.empty()) text += "/resourceGroups/" + group;
  }
  if (!is_resource()) return text;
  text += "/providers/" + provider;
  std::size_t index = 0;
  std::string_view types = type;
  while (!types.empty()) {
    const std::size_t end = std::min(types.find('/'), types.size());
    text.append("/").append(types.substr(0, end)).append("/");
    text += index < parents.size() ? parents[index] : name;
    ++index;
    types.remove_prefix(std::min(end + 1, types.size()));
  }
  return text;
}

bool is_within(std::string_view id, std::string_view scope) {
  while (scope.ends_with('/')) scope.remove_suffix(1);
  if (id.size() < scope.size() || !equal_ignoring_case(id.substr(0, scope.size()), scope)) return false;
  return id.size() == scope.size() || id[scope.size()] == '/' || scope.empty();
}

std::string scope_of_path(std::string_view path) {
  const std::vector<std::string_view> segments = path_segments(path);
  std::string scope;
  if (segments.empty() || (!equal_ignoring_case(segments[0], "subscriptions") &&
                           !equal_ignoring_case(segments[0], "providers"))) {
    return "/";
  }
  std::size_t at = 0;
  while (at < segments.size()) {
    std::string part;
    if (equal_ignoring_case(segments[at], "providers")) {
      if (at + 3 >= segments.size()) break;
      part = "/providers/" + canonical(segments[at + 1]);
      at += 2;
    }
    if (at + 1 >= segments.size()) break;
    scope += part + "/" + canonical(segments[at]) + "/" + std::string(segments[at + 1]);
    at += 2;
  }
  return scope.empty() ? "/" : scope;
}

}  // namespace bootseal::model

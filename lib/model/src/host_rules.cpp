// Security groups as a host is told them: the groups on the way are joined into one list of addresses and
// ports.
#include <algorithm>

#include "bootseal/model/resource_id.h"
#include "bootseal/model/security_rules.h"

namespace bootseal::model {
namespace {

const Ipv4Prefix kEverything{{0}, 0};

// A rule of one group, in numbers.
struct Plain {
  std::string name;
  bool allow = false;
  std::string protocol;
  std::vector<Ipv4Prefix> addresses;
  std::vector<PortRange> ports;
};

// The addresses outside of these: what a prefix tree leaves over.
void add_outside(const Ipv4Prefix& within, const std::vector<Ipv4Prefix>& inside,
                 std::vector<Ipv4Prefix>& outside) {
  const bool covered =
      std::ranges::any_of(inside, [&](const Ipv4Prefix& prefix) { return prefix.contains(within); });
  if (covered) return;
  const bool touched =
      std::ranges::any_of(inside, [&](const Ipv4Prefix& prefix) { return within.contains(prefix); });
  if (!touched) {
    outside.push_back(within);
    return;
  }
  const unsigned length = within.length + 1;
  add_outside({within.address, length}, inside, outside);
  add_outside({{within.address.value | std::uint32_t{1} << (32 - length)}, length}, inside, outside);
}

// A tag that stands for a service of Azure is no address of this site.
std::vector<Ipv4Prefix> prefixes_of(const std::vector<std::string>& texts, const AddressContext& context) {
  std::vector<Ipv4Prefix> prefixes;
  for (const std::string& text : texts) {
    if (text == "*" || equal_ignoring_case(text, "Any")) {
      prefixes.push_back(kEverything);
    } else if (equal_ignoring_case(text, "VirtualNetwork")) {
      prefixes.insert(prefixes.end(), context.virtual_network.begin(), context.virtual_network.end());
    } else if (equal_ignoring_case(text, "Internet")) {
      add_outside(kEverything, context.virtual_network, prefixes);
    } else if (const auto prefix = Ipv4Prefix::parse(text)) {
      prefixes.push_back(*prefix);
    }
  }
  return prefixes;
}

std::vector<Ipv4Prefix> common(const std::vector<Ipv4Prefix>& a, const std::vector<Ipv4Prefix>& b) {
  std::vector<Ipv4Prefix> both;
  for (const Ipv4Prefix& one : a) {
    for (const Ipv4Prefix& other : b) {
      if (!one.overlaps(other)) continue;
      const Ipv4Prefix& narrow = one.contains(other) ? other : one;
      if (std::ranges::find(both, narrow) == both.end()) both.push_back(narrow);
    }
  }
  return both;
}

std::vector<PortRange> common(const std::vector<PortRange>& a, const std::vector<PortRange>& b) {
  std::vector<PortRange> both;
  for (const PortRange& one : a) {
    for (const PortRange& other : b) {
      const PortRange range{std::max(one.first, other.first), std::min(one.last, other.last)};
      if (range.first <= range.last && std::ranges::find(both, range) == both.end()) both.push_back(range);
    }
  }
  return both;
}

// The rules of one group that concern this direction and this address, the default ones last. A rule for some
// source ports only cannot be told: an allowance is left out, which is safe, a denial holds for all of them.
std::vector<Plain> plain_rules(const std::vector<SecurityRule>& rules, Direction direction, Ipv4Address own,
                               const AddressContext& context) {
  std::vector<Plain> plain;
  for (const std::vector<SecurityRule>* list : {&rules, &default_security_rules()}) {
    for (const SecurityRule& rule : *list) {
      if (rule.direction != direction) continue;
      const bool inbound = direction == Direction::inbound;
      const auto own_side = prefixes_of(inbound ? rule.destinations : rule.sources, context);
      const bool mine =
          std::ranges::any_of(own_side, [&](const Ipv4Prefix& prefix) { return prefix.contains(own); });
      const bool some_source_ports =
          std::ranges::none_of(rule.source_ports, [](const PortRange& range) { return range.is_all(); });
      auto addresses = prefixes_of(inbound ? rule.sources : rule.destinations, context);
      if (!mine || addresses.empty() || (some_source_ports && rule.allow)) continue;
      plain.push_back({rule.name, rule.allow, rule.protocol, std::move(addresses), rule.destination_ports});
    }
  }
  return plain;
}

// First match in both lists = first match in the pairs, taken in the order of the first list, then of the
// second.
std::vector<Plain> joined(const std::vector<Plain>& a, const std::vector<Plain>& b) {
  std::vector<Plain> pairs;
  for (const Plain& one : a) {
    for (const Plain& other : b) {
      const bool any = one.protocol == "*" || other.protocol == "*";
      if (!any && one.protocol != other.protocol) continue;
      Plain pair{one.allow ? other.name : one.name, one.allow && other.allow,
                 one.protocol == "*" ? other.protocol : one.protocol, common(one.addresses, other.addresses),
                 common(one.ports, other.ports)};
      if (!pair.addresses.empty() && !pair.ports.empty()) pairs.push_back(std::move(pair));
    }
  }
  return pairs;
}

HostRule to_host_rule(const Plain& plain, unsigned priority) {
  HostRule rule{plain.name, priority, plain.allow, plain.protocol, {}, plain.ports};
  for (const Ipv4Prefix& prefix : plain.addresses)
    rule.addresses.push_back(prefix.length == 0 ? "*" : prefix.to_string());
  return rule;
}

}  // namespace

std::vector<HostRule> host_rules(const std::vector<std::vector<SecurityRule>>& groups, Direction direction,
                                 Ipv4Address own, const AddressContext& context) {
  std::vector<Plain> plain = {{"AllowAll", true, "*", {kEverything}, {PortRange{}}}};
  for (const std::vector<SecurityRule>& group : groups)
    plain = joined(plain, plain_rules(group, direction, own, context));
  std::vector<HostRule> rules;
  for (const Plain& one : plain) rules.push_back(to_host_rule(one, static_cast<unsigned>(rules.size() + 1)));
  return rules;
}

std::vector<PortRange> allowed_inbound_ports(const std::vector<HostRule>& rules, std::string_view protocol) {
  std::vector<bool> open(65536, false);
  // From the last rule to the first, so that the first has the last word. A denial counts when it is for
  // everybody.
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    if (rule->protocol != "*" && !equal_ignoring_case(rule->protocol, protocol)) continue;
    const bool everybody = std::ranges::find(rule->addresses, "*") != rule->addresses.end();
    if (!rule->allow && !everybody) continue;
    for (const PortRange& range : rule->ports)
      std::fill(open.begin() + range.first, open.begin() + range.last + 1, rule->allow);
  }
  std::vector<PortRange> ranges;
  for (std::size_t port = 0; port < open.size(); ++port) {
    if (!open[port]) continue;
    const bool follows = port > 0 && open[port - 1];
    if (!follows) ranges.push_back({static_cast<std::uint16_t>(port), static_cast<std::uint16_t>(port)});
    ranges.back().last = static_cast<std::uint16_t>(port);
  }
  return ranges;
}

}  // namespace bootseal::model

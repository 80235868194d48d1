// Security rules of Microsoft.Network: checking them, evaluating them, and what a host is told of them
// (pure).
//
// The rules of a group are looked at in the order of their priorities, and the first one that matches
// decides; the default rules come last. Where a subnet and a network interface have a group each, both must
// allow. Source: Microsoft, "How network security groups filter network traffic".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/json/json.h"
#include "bootseal/model/address.h"
#include "bootseal/model/arm_error.h"

namespace bootseal::model {

struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 65535;

  // "22", "80-90", "*". invalid_argument otherwise.
  static Result<PortRange> parse(std::string_view text);
  [[nodiscard]] bool contains(std::uint16_t port) const { return first <= port && port <= last; }
  [[nodiscard]] bool is_all() const { return first == 0 && last == 65535; }
  [[nodiscard]] std::string to_string() const;  // "22", "80-90", "*"
  auto operator<=>(const PortRange&) const = default;
};

enum class Direction : std::uint8_t { inbound, outbound };

struct SecurityRule {
  std::string name;
  unsigned priority = 0;
  bool allow = false;
  Direction direction = Direction::inbound;
  std::string protocol;              // "Tcp", "Udp", "Icmp", "Esp", "Ah", "*"
  std::vector<std::string> sources;  // "*", prefixes, service tags
  std::vector<std::string> destinations;
  std::vector<PortRange> source_ports;
  std::vector<PortRange> destination_ports;
};

// A rule as it is stored, {name, properties}, conformed to its schema. 400 SecurityRuleInvalidPriority,
// SecurityRuleInvalidPortRange, SecurityRuleInvalidAddressPrefix, SecurityRuleParameterMissing,
// SecurityRuleUnsupported.
ArmResult<SecurityRule> parse_security_rule(const json::Object& rule);
// The rules of a group's `securityRules`, by direction and priority. 400 SecurityRuleConflict for two rules
// of one direction with the same priority, and as above.
ArmResult<std::vector<SecurityRule>> parse_security_rules(const json::Array& rules);
// The six that every group ends with.
const std::vector<SecurityRule>& default_security_rules();
// As it stands in `defaultSecurityRules`.
json::Object to_json(const SecurityRule& rule);

// What tags such as VirtualNetwork stand for.
struct AddressContext {
  std::vector<Ipv4Prefix> virtual_network;
};

struct Flow {
  Direction direction = Direction::inbound;
  std::string_view protocol = "Tcp";
  Ipv4Address source;
  Ipv4Address destination;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
};
// Whether a group with these rules (the default ones are added) lets the flow through. Tags that stand for
// services of Azure match nothing.
bool allows(const std::vector<SecurityRule>& rules, const Flow& flow, const AddressContext& context);

// One rule as a host is told it (docs/architecture.md, Assignment): addresses and ports only.
struct HostRule {
  std::string name;
  unsigned priority = 0;
  bool allow = false;
  std::string protocol;  // "Tcp", "Udp", "Icmp", "*"
  std::vector<std::string>
      addresses;                 // sources of an inbound rule, destinations of an outbound one: CIDR or "*"
  std::vector<PortRange> ports;  // of the destination

  // {name, priority, access, protocol, sources | destinations, ports}
  [[nodiscard]] json::Object to_json(Direction direction) const;
};
// The rules of one direction for a network interface whose traffic passes these groups (each without its
// default rules; none = no group at all, then everything is allowed), in order, with priorities 1, 2, 3… The
// first that matches decides, and one matches everything that is left. `own` is the interface's address:
// rules for other addresses are left out.
std::vector<HostRule> host_rules(const std::vector<std::vector<SecurityRule>>& groups, Direction direction,
                                 Ipv4Address own, const AddressContext& context);
// The ranges of ports on which anything of this protocol ("Tcp" or "Udp") may come in from any address.
std::vector<PortRange> allowed_inbound_ports(const std::vector<HostRule>& rules, std::string_view protocol);

}  // namespace bootseal::model

// A network interface of a VM as the control plane describes it, and what its security rules say of a packet
// (docs/architecture.md, hostd: Interface). Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/json/json.h"
#include "bootseal/netd/address.h"

namespace bootseal::netd {

enum class Protocol : std::uint8_t { tcp, udp, icmp, other };
std::string_view protocol_name(Protocol protocol);  // "Tcp", "Udp", "Icmp", "*"

struct PortRange {
  std::uint16_t first = 0, last = 65535;  // both included

  [[nodiscard]] bool contains(std::uint16_t port) const { return first <= port && port <= last; }
  [[nodiscard]] std::string to_string() const;  // "22", "80-90", "*"
  auto operator<=>(const PortRange&) const = default;
};

struct Rule {
  std::string name;
  std::uint64_t priority = 0;
  bool allow = false;
  std::optional<Protocol> protocol;  // nullopt = each
  // Sources of an inbound rule, destinations of an outbound one. IPv6 networks are left out: these interfaces
  // have IPv4 only.
  std::vector<Ipv4Network> peers;
  std::vector<PortRange> ports;  // of the destination
};

struct Interface {
  std::string nic_id;
  MacAddress mac;
  std::string network_id;
  Ipv4Network subnet;
  Ipv4Address address, gateway;
  std::vector<Ipv4Address> dns;  // empty = the host's resolver, through the gateway
  std::optional<Ipv4Address> public_address;
  bool primary = false;
  std::vector<Rule> inbound, outbound;  // by priority, smallest number first

  // What only another start of the VM can change: everything but rules and the public address.
  [[nodiscard]] bool same_hardware(const Interface& other) const;
};

// Errors: invalid_argument with the path of the field. Unknown fields are refused.
Result<Interface> parse_interface(json::Reader& reader);
json::Value to_json(const Interface& interface);

inline constexpr std::size_t kMaximumRules = 4096;

// What the rules say of a packet: the first one that fits, by priority. `port` is that of the destination, of
// Tcp and Udp only. Where none fits, inbound is denied and outbound allowed.
bool inbound_allowed(const Interface& interface, Protocol protocol, Ipv4Address source, std::uint16_t port);
bool outbound_allowed(const Interface& interface, Protocol protocol, Ipv4Address destination,
                      std::uint16_t port);

// A port that must be opened on the public address, since the rules allow somebody to reach it.
struct Opening {
  Protocol protocol = Protocol::tcp;  // tcp or udp
  std::uint16_t port = 0;
  auto operator<=>(const Opening&) const = default;
};

struct OpeningPlan {
  std::vector<Opening> openings;      // each once, in order
  std::vector<std::string> problems;  // what the rules allow and nothing was planned for, and what to do
};

inline constexpr unsigned kLargestRange = 64;  // ports of one range
inline constexpr std::size_t kMostOpenings = 256;

// The ports that inbound rules open for at least one source. Pure; nothing without a public address.
OpeningPlan plan_openings(const Interface& interface);

}  // namespace bootseal::netd

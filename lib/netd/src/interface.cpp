#include "bootseal/netd/interface.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace bootseal::netd {
namespace {

constexpr std::size_t kMaximumPeers = 4096;
constexpr std::size_t kMaximumName = 256;
constexpr std::array<std::string_view, 4> kProtocols = {"Tcp", "Udp", "Icmp", "*"};

bool is_ipv6_network(std::string_view text) {
  in6_addr address{};
  const std::string host(text.substr(0, text.find('/')));
  return ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

Result<PortRange> parse_port_range(std::string_view text) {
  if (text == "*") return PortRange{};
  PortRange range;
  const auto read = [](std::string_view digits, std::uint16_t& value) {
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return !digits.empty() && problem == std::errc() && end == digits.data() + digits.size();
  };
  const std::size_t dash = text.find('-');
  if (!read(text.substr(0, dash), range.first) ||
      !read(dash == std::string_view::npos ? text : text.substr(dash + 1), range.last) ||
      range.first > range.last)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("'{}' is no port, no range of ports such as 80-90, and not *", text.substr(0, 40)));
  return range;
}

Result<std::optional<Protocol>> parse_protocol(json::Reader& reader) {
  BOOTSEAL_TRY(const std::string name, reader.string("protocol"));
  const auto found = std::ranges::find(kProtocols, name);
  if (found == kProtocols.end())
    return reader.problem("protocol",
                          fmt::format("'{}' is not one of Tcp, Udp, Icmp, *", name.substr(0, 40)));
  const auto protocol = static_cast<Protocol>(found - kProtocols.begin());
  return protocol == Protocol::other ? std::nullopt : std::optional(protocol);
}

Status parse_peers(json::Reader& reader, std::string_view field, Rule& rule) {
  BOOTSEAL_TRY(const std::vector<std::string> texts, reader.strings(field));
  if (texts.size() > kMaximumPeers)
    return reader.problem(field, fmt::format("more than {} networks", kMaximumPeers));
  for (const std::string& text : texts) {
    if (text == "*") {
      rule.peers.push_back({});
      continue;
    }
    if (is_ipv6_network(text)) continue;
    const Result<Ipv4Network> network = Ipv4Network::parse(text);
    if (!network) return reader.problem(field, network.error().message);
    rule.peers.push_back(*network);
  }
  return {};
}

Result<Rule> parse_rule(json::Reader& reader, std::string_view peers) {
  Rule rule;
  BOOTSEAL_TRY(rule.name, reader.string("name"));
  if (rule.name.size() > kMaximumName)
    return reader.problem("name", fmt::format("more than {} characters", kMaximumName));
  BOOTSEAL_TRY(rule.priority, reader.unsigned_integer("priority"));
  BOOTSEAL_TRY(const std::string access, reader.string("access"));
  if (access != "Allow" && access != "Deny")
    return reader.problem("access", fmt::format("'{}' is neither Allow nor Deny", access.substr(0, 40)));
  rule.allow = access == "Allow";
  BOOTSEAL_TRY(rule.protocol, parse_protocol(reader));
  BOOTSEAL_TRY_STATUS(parse_peers(reader, peers, rule));
  BOOTSEAL_TRY(const std::vector<std::string> ports, reader.strings("ports"));
  if (ports.size() > kMaximumPeers)
    return reader.problem("ports", fmt::format("more than {} ranges", kMaximumPeers));
  for (const std::string& text : ports) {
    const Result<PortRange> range = parse_port_range(text);
    if (!range) return reader.problem("ports", range.error().message);
    rule.ports.push_back(*range);
  }
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return rule;
}

Result<std::vector<Rule>> parse_rules(json::Reader& reader, std::string_view field, std::string_view peers) {
  std::vector<Rule> rules;
  if (!reader.has(field)) return rules;
  BOOTSEAL_TRY(std::vector<json::Reader> elements, reader.objects(field));
  if (elements.size() > kMaximumRules)
    return reader.problem(field, fmt::format("more than {} rules", kMaximumRules));
  for (json::Reader& element : elements) {
    BOOTSEAL_TRY(Rule rule, parse_rule(element, peers));
    rules.push_back(std::move(rule));
  }
  std::ranges::stable_sort(rules, {}, &Rule::priority);
  return rules;
}

json::Value rules_json(const std::vector<Rule>& rules, std::string_view peers) {
  json::Array array;
  for (const Rule& rule : rules) {
    json::Array networks, ports;
    for (const Ipv4Network& network : rule.peers)
      networks.emplace_back(network.prefix == 0 ? "*" : network.to_string());
    for (const PortRange& range : rule.ports) ports.emplace_back(range.to_string());
    array.push_back(json::Object{
        {"name", rule.name},
        {"priority", rule.priority},
        {"access", rule.allow ? "Allow" : "Deny"},
        {"protocol", protocol_name(rule.protocol.value_or(Protocol::other))},
        {peers, std::move(networks)},
        {"ports", std::move(ports)},
    });
  }
  return array;
}

Result<Ipv4Address> read_address(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  const Result<Ipv4Address> address = Ipv4Address::parse(text);
  if (!address) return reader.problem(field, address.error().message);
  return *address;
}

// The addresses of the subnet itself, as far as a guest can have one of them.
Status check_addresses(json::Reader& reader, const Interface& interface) {
  const auto inside = [&](Ipv4Address address) {
    return interface.subnet.contains(address) && address != interface.subnet.address &&
           address.value != (interface.subnet.address.value | ~interface.subnet.mask());
  };
  if (interface.subnet.prefix < 8 || interface.subnet.prefix > 30)
    return reader.problem("subnet", "a prefix from 8 to 30 was expected");
  for (const auto& [field, address] :
       {std::pair{"address", interface.address}, std::pair{"gateway", interface.gateway}}) {
    if (!inside(address))
      return reader.problem(field, fmt::format("{} is no address of a machine in {}", address.to_string(),
                                               interface.subnet.to_string()));
  }
  if (interface.address == interface.gateway)
    return reader.problem("address", fmt::format("{} is the gateway's", interface.address.to_string()));
  return {};
}

const Rule* deciding_rule(const std::vector<Rule>& rules, Protocol protocol, Ipv4Address peer,
                          std::uint16_t port) {
  const bool has_ports = protocol == Protocol::tcp || protocol == Protocol::udp;
  const auto fits = [&](const Rule& rule) {
    if (rule.protocol && *rule.protocol != protocol) return false;
    if (has_ports &&
        std::ranges::none_of(rule.ports, [&](const PortRange& range) { return range.contains(port); }))
      return false;
    return std::ranges::any_of(rule.peers,
                               [&](const Ipv4Network& network) { return network.contains(peer); });
  };
  const auto found = std::ranges::find_if(rules, fits);
  return found == rules.end() ? nullptr : &*found;
}

// True when a rule before `rule` denies this port to everybody: then `rule` opens it for nobody.
bool is_closed_before(const std::vector<Rule>& rules, const Rule& rule, Opening opening) {
  for (const Rule& before : rules) {
    if (&before == &rule) return false;
    const bool covers =
        !before.allow && (!before.protocol || *before.protocol == opening.protocol) &&
        std::ranges::any_of(before.peers, [](const Ipv4Network& network) { return network.prefix == 0; }) &&
        std::ranges::any_of(before.ports,
                            [&](const PortRange& range) { return range.contains(opening.port); });
    if (covers) return true;
  }
  return false;
}

}  // namespace

std::string_view protocol_name(Protocol protocol) {
  return kProtocols[static_cast<std::size_t>(protocol)];
}

std::string PortRange::to_string() const {
  if (first == 0 && last == 65535) return "*";
  return first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
}

bool Interface::same_hardware(const Interface& other) const {
  return nic_id == other.nic_id && mac == other.mac && network_id == other.network_id &&
         subnet == other.subnet && address == other.address && gateway == other.gateway && dns == other.dns;
}

Result<Interface> parse_interface(json::Reader& reader) {
  Interface interface;
  BOOTSEAL_TRY(interface.nic_id, reader.string("nicId"));
  BOOTSEAL_TRY(interface.network_id, reader.string("networkId"));
  for (const auto& [field, text] :
       {std::pair{"nicId", &interface.nic_id}, std::pair{"networkId", &interface.network_id}}) {
    if (text->empty() || text->size() > 2048)
      return reader.problem(field, "between 1 and 2048 characters were expected");
  }
  BOOTSEAL_TRY(const std::string mac, reader.string("mac"));
  const Result<MacAddress> parsed = MacAddress::parse(mac);
  if (!parsed) return reader.problem("mac", parsed.error().message);
  interface.mac = *parsed;
  BOOTSEAL_TRY(const std::string subnet, reader.string("subnet"));
  const Result<Ipv4Network> network = Ipv4Network::parse(subnet);
  if (!network) return reader.problem("subnet", network.error().message);
  interface.subnet = *network;
  BOOTSEAL_TRY(interface.address, read_address(reader, "address"));
  BOOTSEAL_TRY(interface.gateway, read_address(reader, "gateway"));
  BOOTSEAL_TRY_STATUS(check_addresses(reader, interface));
  if (reader.has("dns")) {
    BOOTSEAL_TRY(const std::vector<std::string> servers, reader.strings("dns"));
    if (servers.size() > 16) return reader.problem("dns", "more than 16 servers");
    for (const std::string& text : servers) {
      const Result<Ipv4Address> server = Ipv4Address::parse(text);
      if (!server) return reader.problem("dns", server.error().message);
      interface.dns.push_back(*server);
    }
  }
  if (reader.has("publicAddress")) {
    BOOTSEAL_TRY(interface.public_address, read_address(reader, "publicAddress"));
  }
  BOOTSEAL_TRY(interface.primary, reader.boolean_or("primary", false));
  BOOTSEAL_TRY(interface.inbound, parse_rules(reader, "inbound", "sources"));
  BOOTSEAL_TRY(interface.outbound, parse_rules(reader, "outbound", "destinations"));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return interface;
}

json::Value to_json(const Interface& interface) {
  json::Array dns;
  for (const Ipv4Address& server : interface.dns) dns.emplace_back(server.to_string());
  json::Object object{
      {"nicId", interface.nic_id},
      {"mac", interface.mac.to_string()},
      {"networkId", interface.network_id},
      {"subnet", interface.subnet.to_string()},
      {"address", interface.address.to_string()},
      {"gateway", interface.gateway.to_string()},
      {"dns", std::move(dns)},
      {"primary", interface.primary},
      {"inbound", rules_json(interface.inbound, "sources")},
      {"outbound", rules_json(interface.outbound, "destinations")},
  };
  if (interface.public_address) object["publicAddress"] = interface.public_address->to_string();
  return object;
}

bool inbound_allowed(const Interface& interface, Protocol protocol, Ipv4Address source, std::uint16_t port) {
  const Rule* rule = deciding_rule(interface.inbound, protocol, source, port);
  return rule != nullptr && rule->allow;
}

bool outbound_allowed(const Interface& interface, Protocol protocol, Ipv4Address destination,
                      std::uint16_t port) {
  const Rule* rule = deciding_rule(interface.outbound, protocol, destination, port);
  return rule == nullptr || rule->allow;
}

namespace {

// False for a rule about the virtual network alone, as Azure's default rules are: nobody comes from there.
bool is_about_outside(const Interface& interface, const Rule& rule) {
  constexpr Ipv4Network kLoadBalancer{{0xa83f8110}, 32};  // 168.63.129.16, Azure's probes
  return std::ranges::any_of(rule.peers, [&](const Ipv4Network& network) {
    return network.prefix == 0 || (!network.contains(interface.address) && network != kLoadBalancer);
  });
}

}  // namespace

OpeningPlan plan_openings(const Interface& interface) {
  OpeningPlan plan;
  if (!interface.public_address) return plan;
  const auto add = [&](const Rule& rule, Opening opening) {
    if (!is_closed_before(interface.inbound, rule, opening)) plan.openings.push_back(opening);
  };
  for (const Rule& rule : interface.inbound) {
    if (!rule.allow || rule.peers.empty()) continue;
    const bool outside = is_about_outside(interface, rule);
    if (rule.protocol == Protocol::icmp) {
      if (!outside) continue;
      plan.problems.push_back(fmt::format(
          "rule '{}' allows ICMP: a network without privileges forwards none from outside to the virtual "
          "machine; test with a TCP port",
          rule.name));
      continue;
    }
    for (const PortRange& range : rule.ports) {
      if (range.last - range.first >= static_cast<int>(kLargestRange)) {
        if (!outside) continue;
        plan.problems.push_back(fmt::format(
            "rule '{}' allows the ports {}: in a network without privileges each port is opened by itself, "
            "at most {} of one range; name the ports that the virtual machine serves",
            rule.name, range.to_string(), kLargestRange));
        continue;
      }
      for (unsigned port = std::max<unsigned>(range.first, 1); port <= range.last; ++port) {
        for (const Protocol protocol : {Protocol::tcp, Protocol::udp}) {
          if (!rule.protocol || *rule.protocol == protocol)
            add(rule, {protocol, static_cast<std::uint16_t>(port)});
        }
      }
    }
  }
  std::ranges::sort(plan.openings);
  plan.openings.erase(std::unique(plan.openings.begin(), plan.openings.end()), plan.openings.end());
  if (plan.openings.size() > kMostOpenings) {
    plan.problems.push_back(fmt::format("the inbound rules open {} ports; only the first {} are open",
                                        plan.openings.size(), kMostOpenings));
    plan.openings.resize(kMostOpenings);
  }
  return plan;
}

}  // namespace bootseal::netd

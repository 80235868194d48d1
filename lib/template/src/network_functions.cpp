// parseCidr, cidrSubnet, cidrHost (learn.microsoft.com, "CIDR functions for ARM templates"), IPv4 and IPv6.
#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <optional>

#include "functions.h"

namespace bootseal::templates {
namespace {

__extension__ using Address = unsigned __int128;  // an IPv4 address in its low 32 bits

struct Network {
  bool v6 = false;
  int prefix = 0;
  Address first = 0;

  [[nodiscard]] int bits() const { return v6 ? 128 : 32; }
  // How many addresses less one.
  [[nodiscard]] Address span() const {
    const int free = bits() - prefix;
    return free == 128 ? ~Address{0} : (Address{1} << free) - 1;
  }
  [[nodiscard]] Address last() const { return first + span(); }
};

std::string show(bool v6, Address address) {
  std::array<unsigned char, 16> bytes{};
  const std::size_t size = v6 ? 16 : 4;
  for (std::size_t i = 0; i < size; ++i) bytes[size - 1 - i] = static_cast<unsigned char>(address >> (8 * i));
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), text.data(), text.size());
  return text.data();
}

std::optional<Network> parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos || text.size() > 64) return std::nullopt;
  Network network;
  network.v6 = text.find(':') != std::string_view::npos;
  std::array<unsigned char, 16> bytes{};
  if (inet_pton(network.v6 ? AF_INET6 : AF_INET, std::string(text.substr(0, slash)).c_str(), bytes.data()) !=
      1)
    return std::nullopt;
  const std::string_view digits = text.substr(slash + 1);
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), network.prefix);
  if (error != std::errc() || stop != digits.data() + digits.size() || digits.empty() || network.prefix < 0 ||
      network.prefix > network.bits())
    return std::nullopt;
  for (std::size_t i = 0; i < (network.v6 ? 16U : 4U); ++i) network.first = (network.first << 8) | bytes[i];
  network.first &= ~network.span();
  return network;
}

model::ArmResult<Network> network_of(const Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  const std::optional<Network> network = parse(text);
  if (!network)
    return call.refuse(fmt::format("'{}' is no network in CIDR notation, write 10.0.0.0/16.", text));
  return *network;
}

Outcome parse_cidr(Call& call) {
  BOOTSEAL_ARM_TRY(const Network network, network_of(call));
  const bool has_broadcast = !network.v6 && network.prefix < 31;
  const Address mask = ~network.span();
  json::Object result;
  result["network"] = show(network.v6, network.first);
  result["netmask"] = show(network.v6, mask);
  if (!network.v6) result["broadcast"] = show(false, network.last());
  result["firstUsable"] = show(network.v6, network.first + (has_broadcast ? 1 : 0));
  result["lastUsable"] = show(network.v6, network.last() - (has_broadcast ? 1 : 0));
  result["cidr"] = network.prefix;
  return json::Value(std::move(result));
}

Outcome cidr_subnet(Call& call) {
  BOOTSEAL_ARM_TRY(const Network network, network_of(call));
  BOOTSEAL_ARM_TRY(const std::int64_t prefix, call.integer(1));
  BOOTSEAL_ARM_TRY(const std::int64_t index, call.integer(2));
  if (prefix < network.prefix || prefix > network.bits())
    return call.refuse(
        fmt::format("the new prefix must be {} to {}, it is {}.", network.prefix, network.bits(), prefix));
  const int added = static_cast<int>(prefix) - network.prefix;
  const bool inside = index >= 0 && (added >= 63 || index < (std::int64_t{1} << added));
  if (!inside) return call.refuse(fmt::format("the network has no subnet {} of that size.", index));
  Network subnet = network;
  subnet.prefix = static_cast<int>(prefix);
  if (added > 0) subnet.first += static_cast<Address>(index) << (network.bits() - static_cast<int>(prefix));
  return to_value(fmt::format("{}/{}", show(subnet.v6, subnet.first), subnet.prefix));
}

Outcome cidr_host(Call& call) {
  BOOTSEAL_ARM_TRY(const Network network, network_of(call));
  BOOTSEAL_ARM_TRY(const std::int64_t index, call.integer(1));
  // Host 0 is the first after the network's own address; the IPv4 broadcast address is none.
  const Address hosts = network.span() - (network.v6 || network.span() == 0 ? 0 : 1);
  if (index < 0 || static_cast<Address>(index) >= hosts)
    return call.refuse(fmt::format("the network has no host {}.", index));
  return to_value(show(network.v6, network.first + 1 + static_cast<Address>(index)));
}

}  // namespace

void add_network_functions(FunctionTable& table) {
  table["parsecidr"] = {1, 1, parse_cidr};
  table["cidrsubnet"] = {3, 3, cidr_subnet};
  table["cidrhost"] = {2, 2, cidr_host};
}

}  // namespace bootseal::templates

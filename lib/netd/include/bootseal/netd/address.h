// IPv4 addresses, networks and MAC addresses, as text and as numbers. Pure.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "bootseal/base/result.h"

namespace bootseal::netd {

struct Ipv4Address {
  std::uint32_t value = 0;  // 10.0.0.4 = 0x0a000004

  // Four decimal numbers without leading zeros; invalid_argument otherwise.
  static Result<Ipv4Address> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const Ipv4Address&) const = default;
};

struct Ipv4Network {
  Ipv4Address address;  // without host bits
  unsigned prefix = 0;  // 0 … 32

  // "10.0.0.0/24"; an address alone is a network of one. invalid_argument otherwise, also for host bits that
  // are set.
  static Result<Ipv4Network> parse(std::string_view text);
  [[nodiscard]] std::uint32_t mask() const { return prefix == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix); }
  [[nodiscard]] bool contains(Ipv4Address other) const { return (other.value & mask()) == address.value; }
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const Ipv4Network&) const = default;
};

struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};

  // "00:0d:3a:01:02:03" or with hyphens, any case; invalid_argument otherwise and for a group address.
  static Result<MacAddress> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;  // lower case, with colons
  auto operator<=>(const MacAddress&) const = default;
};

}  // namespace bootseal::netd

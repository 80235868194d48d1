// IPv4 addresses and prefixes, for the rules of virtual networks.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "bootseal/base/result.h"

namespace bootseal::model {

struct Ipv4Address {
  std::uint32_t value = 0;  // 10.0.0.1 = 0x0a000001

  // Four decimal numbers without leading zeros; invalid_argument otherwise.
  static Result<Ipv4Address> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const Ipv4Address&) const = default;
};

struct Ipv4Prefix {
  Ipv4Address address;  // the first one
  unsigned length = 32;

  // "10.0.0.0/24", or an address alone (/32). Bits behind the prefix are dropped: compare to_string() where
  // they must be zero.
  static Result<Ipv4Prefix> parse(std::string_view text);
  [[nodiscard]] Ipv4Address first() const { return address; }
  [[nodiscard]] Ipv4Address last() const;
  [[nodiscard]] bool contains(Ipv4Address one) const { return first() <= one && one <= last(); }
  [[nodiscard]] bool contains(const Ipv4Prefix& other) const;
  [[nodiscard]] bool overlaps(const Ipv4Prefix& other) const;
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const Ipv4Prefix&) const = default;
};

// Whether Azure keeps this address of a subnet for itself: the first four (network, gateway, DNS) and the
// last. Source: Microsoft, "Virtual network FAQ", reserved addresses.
bool is_reserved_in_subnet(const Ipv4Prefix& subnet, Ipv4Address address);

}  // namespace bootseal::model

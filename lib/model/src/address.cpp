#include "bootseal/model/address.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace bootseal::model {
namespace {

constexpr unsigned kBits = 32;
constexpr std::uint32_t kReservedFirst = 4;

std::uint32_t mask_of(unsigned length) {
  return length == 0 ? 0 : ~std::uint32_t{0} << (kBits - length);
}

// A decimal number up to `maximum`, without sign, blanks and leading zeros.
std::optional<std::uint32_t> number(std::string_view text, std::uint32_t maximum) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > maximum) return std::nullopt;
  return value;
}

}  // namespace

Result<Ipv4Address> Ipv4Address::parse(std::string_view text) {
  const auto malformed =
      fail(ErrorCode::invalid_argument,
           fmt::format("'{}' is not an IPv4 address such as 10.0.0.4", text.substr(0, 64)));
  Ipv4Address address;
  std::string_view rest = text;
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = part < 3 ? rest.find('.') : rest.size();
    if (dot == std::string_view::npos) return malformed;
    const auto value = number(rest.substr(0, dot), 255);
    if (!value) return malformed;
    address.value = address.value << 8U | *value;
    rest.remove_prefix(part < 3 ? dot + 1 : dot);
  }
  return address;
}

std::string Ipv4Address::to_string() const {
  return fmt::format("{}.{}.{}.{}", value >> 24U, value >> 16U & 0xffU, value >> 8U & 0xffU, value & 0xffU);
}

Result<Ipv4Prefix> Ipv4Prefix::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  BOOTSEAL_TRY(const Ipv4Address address, Ipv4Address::parse(text.substr(0, slash)));
  if (slash == std::string_view::npos) return Ipv4Prefix{address, kBits};
  const auto length = number(text.substr(slash + 1), kBits);
  if (!length) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not an address prefix such as 10.0.0.0/24", text.substr(0, 64)));
  }
  return Ipv4Prefix{{address.value & mask_of(*length)}, *length};
}

Ipv4Address Ipv4Prefix::last() const {
  return {address.value | ~mask_of(length)};
}

bool Ipv4Prefix::contains(const Ipv4Prefix& other) const {
  return length <= other.length && contains(other.address);
}

bool Ipv4Prefix::overlaps(const Ipv4Prefix& other) const {
  return contains(other) || other.contains(*this);
}

std::string Ipv4Prefix::to_string() const {
  return fmt::format("{}/{}", address.to_string(), length);
}

bool is_reserved_in_subnet(const Ipv4Prefix& subnet, Ipv4Address address) {
  return address.value - subnet.first().value < kReservedFirst || address == subnet.last();
}

}  // namespace bootseal::model

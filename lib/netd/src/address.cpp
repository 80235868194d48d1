#include "bootseal/netd/address.h"

#include <fmt/format.h>

#include <charconv>

namespace bootseal::netd {
namespace {

constexpr std::size_t kShown = 64;  // characters of a wrong text in a message

template <typename T>
bool read_number(std::string_view text, T& value, int base = 10) {
  if (text.empty()) return false;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return problem == std::errc() && end == text.data() + text.size();
}

}  // namespace

Result<Ipv4Address> Ipv4Address::parse(std::string_view text) {
  const auto wrong = [text]() {
    return fail(ErrorCode::invalid_argument, fmt::format("'{}' is no IPv4 address", text.substr(0, kShown)));
  };
  std::string_view rest = text;
  Ipv4Address address;
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = part < 3 ? rest.find('.') : rest.size();
    if (dot == std::string_view::npos) return wrong();
    const std::string_view digits = rest.substr(0, dot);
    unsigned number = 0;
    if (digits.size() > 3 || (digits.size() > 1 && digits[0] == '0') || !read_number(digits, number) ||
        number > 255)
      return wrong();
    address.value = address.value << 8 | number;
    if (part < 3) rest.remove_prefix(dot + 1);
  }
  return address;
}

std::string Ipv4Address::to_string() const {
  return fmt::format("{}.{}.{}.{}", value >> 24, value >> 16 & 0xff, value >> 8 & 0xff, value & 0xff);
}

Result<Ipv4Network> Ipv4Network::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  BOOTSEAL_TRY(const Ipv4Address address, Ipv4Address::parse(text.substr(0, slash)));
  Ipv4Network network{address, 32};
  if (slash != std::string_view::npos &&
      (text.size() - slash > 3 || !read_number(text.substr(slash + 1), network.prefix) ||
       network.prefix > 32))
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is no IPv4 network such as 10.0.0.0/24", text.substr(0, kShown)));
  if (!network.contains(address)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' has bits behind its prefix; the network is {}", text.substr(0, kShown),
                            Ipv4Network{{address.value & network.mask()}, network.prefix}.to_string()));
  }
  return network;
}

std::string Ipv4Network::to_string() const {
  return fmt::format("{}/{}", address.to_string(), prefix);
}

Result<MacAddress> MacAddress::parse(std::string_view text) {
  MacAddress mac;
  bool good = text.size() == 17;
  for (std::size_t i = 0; good && i < mac.bytes.size(); ++i) {
    good = read_number(text.substr(3 * i, 2), mac.bytes[i], 16) &&
           (i == 5 || text[3 * i + 2] == ':' || text[3 * i + 2] == '-');
  }
  if (!good || (mac.bytes[0] & 1) != 0)
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is no MAC address of a network interface", text.substr(0, kShown)));
  return mac;
}

std::string MacAddress::to_string() const {
  return fmt::format("{:02x}", fmt::join(bytes, ":"));
}

}  // namespace bootseal::netd

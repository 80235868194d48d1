#include "bootseal/netd/frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace bootseal::netd {
namespace {

constexpr std::size_t kLargestLength = (64 + 4) * 1024;  // QEMU's NET_BUFSIZE
constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kEthernetHeader = 14, kArpPacket = 28, kIpv4Header = 20, kUdpHeader = 8,
                      kTcpHeader = 20;
constexpr std::uint16_t kTypeIpv4 = 0x0800, kTypeArp = 0x0806;
constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17;
constexpr std::uint16_t kDns = 53, kDhcpServer = 67, kDhcpClient = 68;
constexpr Ipv4Address kBroadcast{0xffffffff};
constexpr Ipv4Network kAzureResolver{{0xa83f8110}, 32};  // 168.63.129.16

constexpr std::array kForbidden = {
    Ipv4Network{{0x00000000}, 8},   // this network
    Ipv4Network{{0x7f000000}, 8},   // loopback
    Ipv4Network{{0xa9fe0000}, 16},  // link-local, instance metadata of other clouds
    kAzureResolver,
    Ipv4Network{{0xe0000000}, 3},  // multicast, reserved, broadcast
};

std::uint8_t byte_at(ByteSpan data, std::size_t at) {
  return std::to_integer<std::uint8_t>(data[at]);
}
bool is_mac(ByteSpan data, std::size_t at, const MacAddress& mac) {
  return std::ranges::equal(data.subspan(at, mac.bytes.size()), std::as_bytes(std::span(mac.bytes)));
}

void put_word(Bytes& out, std::uint32_t value) {
  out.push_back(static_cast<std::byte>(value >> 8 & 0xff));
  out.push_back(static_cast<std::byte>(value & 0xff));
}
void put_double(Bytes& out, std::uint32_t value) {
  put_word(out, value >> 16);
  put_word(out, value & 0xffff);
}
void set_word(Bytes& out, std::size_t at, std::uint16_t value) {
  out[at] = static_cast<std::byte>(value >> 8);
  out[at + 1] = static_cast<std::byte>(value & 0xff);
}

// RFC 1071.
std::uint16_t checksum(ByteSpan data, std::uint32_t sum) {
  for (std::size_t i = 0; i + 1 < data.size(); i += 2) sum += load_be16(data, i);
  if (data.size() % 2 != 0) sum += static_cast<std::uint32_t>(byte_at(data, data.size() - 1)) << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum & 0xffff);
}

// An ARP packet that says nothing wrong about its sender.
bool is_honest_arp(const Interface& interface, ByteSpan frame) {
  if (frame.size() < kEthernetHeader + kArpPacket) return false;
  const ByteSpan arp = frame.subspan(kEthernetHeader);
  const bool ethernet_and_ipv4 = load_be16(arp, 0) == 1 && load_be16(arp, 2) == kTypeIpv4 &&
                                 byte_at(arp, 4) == 6 && byte_at(arp, 5) == 4;
  const Ipv4Address sender{load_be32(arp, 14)};
  return ethernet_and_ipv4 && is_mac(arp, 8, interface.mac) &&
         (sender == interface.address || sender.value == 0);
}

bool is_dhcp(const Interface& interface, const Packet& packet) {
  return packet.protocol == Protocol::udp && !packet.later_fragment && packet.source_port == kDhcpClient &&
         packet.destination_port == kDhcpServer &&
         (packet.destination == kBroadcast || packet.destination == interface.gateway) &&
         (packet.source.value == 0 || packet.source == interface.address);
}

// To the gateway or another address of the subnet, where libslirp itself answers.
bool is_service(const Interface& interface, const Packet& packet) {
  const bool has_header = !packet.later_fragment;
  const bool has_ports = packet.protocol == Protocol::udp || packet.protocol == Protocol::tcp;
  if (packet.destination == resolver_address(interface) && has_ports &&
      (!has_header || packet.destination_port == kDns))
    return true;
  if (packet.destination != interface.gateway) return false;
  // What came in comes from the gateway: only answers go back there.
  return packet.protocol == Protocol::icmp ||
         (packet.protocol == Protocol::tcp && has_header && !packet.opens);
}

bool is_forbidden(Ipv4Address destination) {
  return std::ranges::any_of(kForbidden, [&](const auto& network) { return network.contains(destination); });
}

}  // namespace

Status FrameSplitter::feed(ByteSpan data, const std::function<void(ByteSpan frame)>& on_frame) {
  partial_.insert(partial_.end(), data.begin(), data.end());
  ByteSpan rest = partial_;
  Status result;
  while (rest.size() >= kLengthBytes) {
    const std::uint32_t length = load_be32(rest, 0);
    if (length == 0 || length > kLargestLength) {
      result = fail(ErrorCode::corrupt, fmt::format("QEMU announced a frame of {} bytes", length));
      break;
    }
    if (rest.size() - kLengthBytes < length) break;
    if (length <= kLargestFrame) on_frame(rest.subspan(kLengthBytes, length));
    rest = rest.subspan(kLengthBytes + length);
  }
  partial_.erase(partial_.begin(), partial_.end() - static_cast<std::ptrdiff_t>(rest.size()));
  return result;
}

std::array<std::byte, 4> frame_length(std::size_t size) {
  const auto byte = [size](unsigned shift) { return static_cast<std::byte>(size >> shift & 0xff); };
  return {byte(24), byte(16), byte(8), byte(0)};
}

std::optional<Packet> parse_packet(ByteSpan frame) {
  if (frame.size() < kEthernetHeader + kIpv4Header || load_be16(frame, 12) != kTypeIpv4) return std::nullopt;
  ByteSpan ip = frame.subspan(kEthernetHeader);
  const std::size_t header = std::size_t{4} * (byte_at(ip, 0) & 0x0f);
  const std::size_t total = load_be16(ip, 2);
  if (byte_at(ip, 0) >> 4 != 4 || header < kIpv4Header || total < header || total > ip.size())
    return std::nullopt;
  Packet packet;
  packet.source.value = load_be32(ip, 12);
  packet.destination.value = load_be32(ip, 16);
  packet.later_fragment = (load_be16(ip, 6) & 0x1fff) != 0;
  const std::uint8_t protocol = byte_at(ip, 9);
  packet.protocol = protocol == kTcp    ? Protocol::tcp
                    : protocol == kUdp  ? Protocol::udp
                    : protocol == kIcmp ? Protocol::icmp
                                        : Protocol::other;
  const ByteSpan inner = ip.subspan(header, total - header);
  if (packet.later_fragment || packet.protocol == Protocol::other || packet.protocol == Protocol::icmp)
    return packet;
  if (inner.size() < (packet.protocol == Protocol::tcp ? kTcpHeader : kUdpHeader)) return std::nullopt;
  packet.source_port = load_be16(inner, 0);
  packet.destination_port = load_be16(inner, 2);
  if (packet.protocol == Protocol::tcp) {
    packet.opens = (byte_at(inner, 13) & 0x12) == 0x02;
  } else {
    const std::size_t size = load_be16(inner, 4);
    if (size >= kUdpHeader && size <= inner.size())
      packet.payload = inner.subspan(kUdpHeader, size - kUdpHeader);
  }
  return packet;
}

Ipv4Address resolver_address(const Interface& interface) {
  for (const std::uint32_t offset : {3U, 2U, 1U}) {
    const Ipv4Address candidate{interface.subnet.address.value + offset};
    const bool last = candidate.value == (interface.subnet.address.value | ~interface.subnet.mask());
    if (!last && candidate != interface.address && candidate != interface.gateway) return candidate;
  }
  return interface.gateway;  // a subnet has at least two addresses, and then the gateway answers
}

Ipv4Address dns_server(const Interface& interface) {
  if (interface.dns.empty() || kAzureResolver.contains(interface.dns[0]) ||
      interface.subnet.contains(interface.dns[0]))
    return resolver_address(interface);
  return interface.dns[0];
}

Verdict judge(const Interface& interface, ByteSpan frame, const std::function<bool(Ipv4Address)>& is_host) {
  if (frame.size() < kEthernetHeader || frame.size() > kLargestFrame || !is_mac(frame, 6, interface.mac))
    return Verdict::drop;
  if (load_be16(frame, 12) == kTypeArp)
    return is_honest_arp(interface, frame) ? Verdict::pass : Verdict::drop;
  const std::optional<Packet> packet = parse_packet(frame);
  if (!packet) return Verdict::drop;
  if (is_dhcp(interface, *packet)) return Verdict::pass;
  if (packet->source != interface.address) return Verdict::drop;
  if (interface.subnet.contains(packet->destination))
    return is_service(interface, *packet) ? Verdict::pass : Verdict::drop;
  if (packet->protocol == Protocol::other || is_forbidden(packet->destination) ||
      is_host(packet->destination))
    return Verdict::drop;
  // Of a packet in pieces, the first decides: without it libslirp puts nothing together.
  if (packet->later_fragment) return Verdict::pass;
  return outbound_allowed(interface, packet->protocol, packet->destination, packet->destination_port)
             ? Verdict::pass
             : Verdict::drop;
}

Bytes make_datagram(const Interface& interface, std::uint16_t source_port, std::uint16_t destination_port,
                    ByteSpan payload) {
  BOOTSEAL_CHECK(payload.size() <= kLargestPayload);
  const auto udp_size = static_cast<std::uint32_t>(kUdpHeader + payload.size());
  Bytes frame;
  frame.reserve(kEthernetHeader + kIpv4Header + udp_size);
  for (const std::uint8_t byte : interface.mac.bytes) frame.push_back(static_cast<std::byte>(byte));
  put_word(frame, 0x5255);  // libslirp's own MAC: 52:55 and its address
  put_double(frame, interface.gateway.value);
  put_word(frame, kTypeIpv4);
  put_double(frame, 0x45000000 | static_cast<std::uint32_t>(kIpv4Header + udp_size));
  put_double(frame, 0x00004000);  // never in pieces
  put_double(frame, std::uint32_t{64} << 24 | std::uint32_t{kUdp} << 16);
  put_double(frame, interface.gateway.value);
  put_double(frame, interface.address.value);
  set_word(frame, kEthernetHeader + 10, checksum(ByteSpan(frame).subspan(kEthernetHeader, kIpv4Header), 0));
  put_word(frame, source_port);
  put_word(frame, destination_port);
  put_word(frame, udp_size);
  put_word(frame, 0);
  frame.insert(frame.end(), payload.begin(), payload.end());
  const std::uint32_t pseudo = (interface.gateway.value >> 16) + (interface.gateway.value & 0xffff) +
                               (interface.address.value >> 16) + (interface.address.value & 0xffff) + kUdp +
                               udp_size;
  const std::uint16_t sum = checksum(ByteSpan(frame).subspan(kEthernetHeader + kIpv4Header), pseudo);
  set_word(frame, kEthernetHeader + kIpv4Header + 6, sum == 0 ? std::uint16_t{0xffff} : sum);
  return frame;
}

}  // namespace bootseal::netd

// Frames of a guest: cut from QEMU's stream, looked at before libslirp sees them, and made for it. Every byte
// is the guest's. Pure.
#pragma once

#include <functional>
#include <optional>

#include "bootseal/base/bytes.h"
#include "bootseal/netd/interface.h"

namespace bootseal::netd {

// Ethernet with a VLAN tag; larger ones never come from a guest with the MTU that it was given.
inline constexpr std::size_t kLargestFrame = 1518;

// QEMU's stream: each frame after its length, four bytes in network order (qemu/net/stream.c).
class FrameSplitter {
 public:
  // Calls `on_frame` for each frame that `data` completes; the span holds during the call. A frame of more
  // than kLargestFrame bytes is left out. corrupt when a length is 0 or more than 64 KiB + 4 KiB: the stream
  // cannot be used further.
  Status feed(ByteSpan data, const std::function<void(ByteSpan frame)>& on_frame);

 private:
  Bytes partial_;
};

// The length that goes before a frame.
std::array<std::byte, 4> frame_length(std::size_t size);

// What there is to know of an IPv4 packet.
struct Packet {
  Protocol protocol = Protocol::other;
  Ipv4Address source, destination;
  bool later_fragment = false;                          // without the header of its protocol
  std::uint16_t source_port = 0, destination_port = 0;  // Tcp and Udp
  bool opens = false;                                   // Tcp: SYN without ACK
  ByteSpan payload;                                     // Udp, without its header
};

// nullopt when the frame is no IPv4 packet whose headers are whole.
std::optional<Packet> parse_packet(ByteSpan frame);

// The address at which a guest finds the host's resolver: the fourth of the subnet (x.x.x.3), or one beside
// it where the guest or the gateway has that.
Ipv4Address resolver_address(const Interface& interface);
// The server that DHCP names: the first of the interface's, or resolver_address() when there is none or the
// first is 168.63.129.16 (Azure's own resolver) or an address of the subnet.
Ipv4Address dns_server(const Interface& interface);

enum class Verdict : std::uint8_t {
  drop,
  pass,
};

// Whether a frame of the guest may reach libslirp: from its own MAC and address only; ARP, DHCP, DNS, answers
// to what came in, and what the outbound rules allow; never to the host itself (`is_host` answers for an
// address that no fixed rule forbids), loopback, link-local, multicast, or another machine of the subnet.
Verdict judge(const Interface& interface, ByteSpan frame, const std::function<bool(Ipv4Address)>& is_host);

// An Ethernet frame with a UDP datagram from the gateway to the guest. `payload` at most kLargestPayload.
inline constexpr std::size_t kLargestPayload = 1472;
Bytes make_datagram(const Interface& interface, std::uint16_t source_port, std::uint16_t destination_port,
                    ByteSpan payload);

}  // namespace bootseal::netd

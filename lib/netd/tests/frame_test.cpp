#include "bootseal/netd/frame.h"

#include <gtest/gtest.h>

#include "interface_fixture.h"

namespace bootseal::netd::test {
namespace {

Bytes from_hex(std::string_view text) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size();) {
    if (text[i] == ' ') {
      ++i;
      continue;
    }
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
    i += 2;
  }
  return bytes;
}

// A frame of the guest: TCP to `destination` (hex), flags as given.
Bytes tcp(std::string_view destination, std::string_view port = "01bb", std::string_view flags = "02",
          std::string_view source = "0a000004", std::string_view fragment = "4000") {
  return from_hex("52550a000001 000d3a010203 0800 45000028 0001" + std::string(fragment) + " 4006 0000 " +
                  std::string(source) + std::string(destination) + " c000" + std::string(port) +
                  " 00000001 00000000 50" + std::string(flags) + " ffff 0000 0000");
}

Bytes udp(std::string_view source, std::string_view destination, std::string_view ports) {
  return from_hex("ffffffffffff 000d3a010203 0800 4500001e 0001 0000 4011 0000 " + std::string(source) +
                  std::string(destination) + std::string(ports) + " 000a 0000 6869");
}

bool passes(const Bytes& frame, const Interface& interface = test_interface()) {
  return judge(interface, frame, [](Ipv4Address to) { return to == Ipv4Address{0xc0a80102}; }) ==
         Verdict::pass;
}

constexpr std::string_view kWorld = "c6336401";  // 198.51.100.1

TEST(Frames, GoOutWhereTheRulesAllowIt) {
  EXPECT_TRUE(passes(tcp(kWorld)));
  EXPECT_FALSE(passes(tcp(kWorld, "0019")));
  EXPECT_FALSE(passes(tcp("c0000201")));
  EXPECT_TRUE(passes(udp("0a000004", kWorld, "c0000035")));
}

TEST(Frames, NeverReachTheHostOrWhatIsBesideIt) {
  for (const char* forbidden : {"7f000001", "7f400005", "a9fea9fe", "a83f8110", "c0a80102", "e0000001",
                                "ffffffff", "00000000", "0a000009", "0a0000ff"})
    EXPECT_FALSE(passes(tcp(forbidden))) << forbidden;
  // The gateway is libslirp's name for the host.
  EXPECT_FALSE(passes(tcp("0a000001", "0016")));
  EXPECT_FALSE(passes(udp("0a000004", "0a000001", "c0000045")));
}

TEST(Frames, AnswerWhatCameInThroughTheGateway) {
  EXPECT_TRUE(passes(tcp("0a000001", "c123", "12")));
  EXPECT_TRUE(passes(tcp("0a000001", "c123", "10")));
}

TEST(Frames, HaveTheAddressesOfTheirInterface) {
  EXPECT_FALSE(passes(tcp(kWorld, "01bb", "02", "0a000005")));
  Bytes other_mac = tcp(kWorld);
  other_mac[11] = std::byte{4};
  EXPECT_FALSE(passes(other_mac));
  const std::string arp = "ffffffffffff 000d3a010203 0806 0001 0800 0604 0001 ";
  EXPECT_TRUE(passes(from_hex(arp + "000d3a010203 0a000004 000000000000 0a000001")));
  EXPECT_TRUE(passes(from_hex(arp + "000d3a010203 00000000 000000000000 0a000004")));
  EXPECT_FALSE(passes(from_hex(arp + "000d3a010203 0a000005 000000000000 0a000001")));
  EXPECT_FALSE(passes(from_hex(arp + "000d3a010204 0a000004 000000000000 0a000001")));
  EXPECT_FALSE(passes(from_hex(arp + "000d3a010203 0a000004 000000000000 0a0000")));
}

TEST(Frames, MayAskForAnAddressAndForNames) {
  EXPECT_TRUE(passes(udp("00000000", "ffffffff", "00440043")));
  EXPECT_TRUE(passes(udp("0a000004", "0a000001", "00440043")));
  EXPECT_FALSE(passes(udp("0a000005", "ffffffff", "00440043")));
  EXPECT_FALSE(passes(udp("00000000", "ffffffff", "00440045")));
  EXPECT_TRUE(passes(udp("0a000004", "0a000003", "c0000035")));
  EXPECT_FALSE(passes(udp("0a000004", "0a000003", "c0000036")));
}

TEST(Frames, ThatAreNotWholeAreDropped) {
  const Bytes whole = tcp(kWorld);
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(passes(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)))) << size;
  Bytes long_header = whole;
  long_header[14] = std::byte{0x4f};
  EXPECT_FALSE(passes(long_header));
  EXPECT_FALSE(passes(from_hex("333300000001 000d3a010203 86dd 600000000000")));
  // The second piece of a packet has no ports; its first piece was judged.
  EXPECT_TRUE(passes(tcp(kWorld, "0019", "02", "0a000004", "0001")));
  EXPECT_FALSE(passes(tcp("7f000001", "0019", "02", "0a000004", "0001")));
}

TEST(Frames, TheResolverIsAzuresUnlessAnotherIsNamed) {
  Interface interface = test_interface();
  EXPECT_EQ(dns_server(interface).to_string(), "10.0.0.3");
  interface.address = Ipv4Address::parse("10.0.0.3").value();
  EXPECT_EQ(dns_server(interface).to_string(), "10.0.0.2");
  interface.dns = {Ipv4Address::parse("9.9.9.9").value()};
  EXPECT_EQ(dns_server(interface).to_string(), "9.9.9.9");
}

// The sum of 16-bit words that RFC 1071 wants to be all ones.
std::uint32_t folded(ByteSpan data, std::uint32_t sum) {
  for (std::size_t i = 0; i < data.size(); ++i)
    sum += std::to_integer<std::uint32_t>(data[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

TEST(Datagrams, HaveTheChecksumsThatAGuestExpects) {
  for (const char* payload : {"", "x", "some bytes"}) {
    const Bytes frame = make_datagram(test_interface(), 40000, 53, as_bytes(payload));
    const ByteSpan ip = ByteSpan(frame).subspan(14, 20), udp_part = ByteSpan(frame).subspan(34);
    EXPECT_EQ(folded(ip, 0), 0xffffU);
    EXPECT_EQ(folded(udp_part,
                     0x0a00 + 0x0001 + 0x0a00 + 0x0004 + 17 + static_cast<std::uint32_t>(udp_part.size())),
              0xffffU);
    const Packet packet = parse_packet(frame).value();
    EXPECT_EQ(packet.source.to_string(), "10.0.0.1");
    EXPECT_EQ(packet.destination.to_string(), "10.0.0.4");
    EXPECT_EQ(packet.source_port, 40000);
    EXPECT_EQ(packet.destination_port, 53);
    EXPECT_EQ(as_text(packet.payload), payload);
  }
}

TEST(Stream, IsCutIntoFramesHoweverItComes) {
  const Bytes stream = from_hex("00000003 616263 00000001 64 000005ef");
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    FrameSplitter splitter;
    std::vector<std::string> frames;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      const ByteSpan piece = ByteSpan(stream).subspan(at, std::min(step, stream.size() - at));
      ASSERT_TRUE(splitter.feed(piece, [&](ByteSpan frame) { frames.emplace_back(as_text(frame)); }));
    }
    EXPECT_EQ(frames, (std::vector<std::string>{"abc", "d"})) << step;
  }
}

TEST(Stream, LeavesOutWhatIsTooLargeAndRefusesWhatCannotBe) {
  FrameSplitter splitter;
  int frames = 0;
  Bytes large = from_hex("000005ef");
  large.resize(4 + 0x5ef);
  append(large, from_hex("0000000161"));
  ASSERT_TRUE(splitter.feed(large, [&](ByteSpan frame) {
    ++frames;
    EXPECT_EQ(frame.size(), 1U);
  }));
  EXPECT_EQ(frames, 1);
  EXPECT_FALSE(FrameSplitter().feed(from_hex("00000000"), [](ByteSpan) {}));
  EXPECT_FALSE(FrameSplitter().feed(from_hex("00011001"), [](ByteSpan) {}));
}

}  // namespace
}  // namespace bootseal::netd::test

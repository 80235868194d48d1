#include "service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

namespace bootseal::netd {
namespace {

constexpr std::string_view kInterfaces = R"({"interfaces":[{
  "nicId": "/n", "mac": "00:0d:3a:01:02:03", "networkId": "/v", "subnet": "10.0.0.0/24", "address": "10.0.0.4",
  "gateway": "10.0.0.1", "dns": [], "publicAddress": "127.0.0.1", "primary": true,
  "inbound": [{"name": "all", "priority": 100, "access": "ACCESS", "protocol": "*", "sources": ["*"], "ports": ["*"]}],
  "outbound": []}]})";

std::string interfaces(std::string access) {
  std::string text(kInterfaces);
  std::erase(text, '\n');  // one line
  return text.replace(text.find("ACCESS"), 6, access);
}

Bytes hex(std::string_view text) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    while (text[i] == ' ') ++i;
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

// netd in a thread; the test is hostd, the guest behind QEMU, and the world.
class ServiceTest : public testing::Test {
 protected:
  ServiceTest() {
    std::string pattern = "/tmp/bootseal-netd-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    std::filesystem::current_path(folder_);
    UniqueFd listener = listen_unix(folder_ / "control.sock").value();
    thread_ = std::thread([fd = listener.release()]() { static_cast<void>(Service(UniqueFd(fd)).run()); });
    control_ = connect_unix(folder_ / "control.sock").value();
  }
  // The loop has no end of its own; its listener's is one.
  ~ServiceTest() override {
    thread_.detach();
    std::filesystem::current_path("/");
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  json::Value call(const std::string& method, const std::string& parameters,
                   const UniqueFd* socket = nullptr) {
    const std::string line = R"({"id":7,"method":")" + method + R"(","params":)" + parameters + "}\n";
    EXPECT_TRUE(socket != nullptr ? send_with_fd(control_.get(), as_bytes(line), socket->get())
                                  : write_all(control_.get(), as_bytes(line)));
    std::string text;
    while (!text.ends_with('\n')) {
      EXPECT_TRUE(wait_readable(control_.get(), std::chrono::seconds(10)).value_or(false));
      char letter = 0;
      if (::recv(control_.get(), &letter, 1, 0) != 1) break;
      text += letter;
    }
    return json::parse(text).value();
  }
  void configure(const std::string& access) {
    EXPECT_TRUE(call("configure", interfaces(access)).as_object().contains("result"));
  }
  void link() {
    SocketPair pair = make_socket_pair().value();
    EXPECT_TRUE(call("link", R"({"interface":0})", &pair.second).as_object().contains("result"));
    guest_ = std::move(pair.first);
  }
  // A bound socket of this machine and its port.
  static std::pair<UniqueFd, std::uint16_t> bound(int type) {
    UniqueFd fd(::socket(AF_INET, type, 0));
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(::listen(fd.get(), 8), 0);
    }
    socklen_t size = sizeof(name);
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size);
    return {std::move(fd), ntohs(name.sin_port)};
  }
  static UniqueFd connected(int type, std::uint16_t port) {
    UniqueFd fd(::socket(AF_INET, type, 0));
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    name.sin_port = htons(port);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    return fd;
  }
  void send_frame(const Bytes& frame) {
    Bytes bytes;
    append(bytes, frame_length(frame.size()));
    append(bytes, frame);
    EXPECT_TRUE(write_all(guest_.get(), bytes));
  }
  // The next frame for the guest that `wanted` takes.
  Bytes receive(const std::function<bool(ByteSpan)>& wanted) {
    Bytes found;
    while (found.empty()) {
      if (!wait_readable(guest_.get(), std::chrono::seconds(10)).value_or(false)) {
        ADD_FAILURE() << "no such frame came";
        return {};
      }
      std::array<std::byte, 4096> buffer;
      const ssize_t got = ::recv(guest_.get(), buffer.data(), buffer.size(), 0);
      if (got <= 0) break;
      EXPECT_TRUE(splitter_.feed(ByteSpan(buffer).first(static_cast<std::size_t>(got)), [&](ByteSpan frame) {
        if (found.empty() && wanted(frame)) found = to_bytes(frame);
      }));
    }
    return found;
  }

  std::filesystem::path folder_;
  UniqueFd control_, guest_;
  FrameSplitter splitter_;
  std::thread thread_;
};

// DHCPDISCOVER as RFC 2131 has it.
Bytes discover() {
  Bytes bootp = hex("01010600 12345678 00000000 00000000 00000000 00000000 00000000 00000000 000d3a010203");
  bootp.resize(236);
  append(bootp, hex("63825363 350101 ff"));
  bootp.resize(300);
  Bytes frame =
      hex("ffffffffffff 000d3a010203 0800 45000148 00000000 4011 79a6 00000000 ffffffff 0044 0043 0134 0000");
  append(frame, bootp);
  return frame;
}

TEST_F(ServiceTest, TheGuestIsGivenTheAddressOfItsInterface) {
  configure("Deny");
  link();
  send_frame(discover());
  const Bytes offer = receive([](ByteSpan frame) {
    const auto packet = parse_packet(frame);
    return packet && packet->protocol == Protocol::udp && packet->destination_port == 68;
  });
  ASSERT_GE(offer.size(), 42U + 240U);
  const ByteSpan bootp = ByteSpan(offer).subspan(42);
  EXPECT_EQ(load_be32(bootp, 16), 0x0a000004U);  // yiaddr
  const std::string options = to_hex(bootp.subspan(240));
  EXPECT_THAT(options, testing::HasSubstr("350102"));        // an offer
  EXPECT_THAT(options, testing::HasSubstr("0104ffffff00"));  // the mask
  EXPECT_THAT(options, testing::HasSubstr("03040a000001"));  // the gateway
  EXPECT_THAT(options, testing::HasSubstr("06040a000003"));  // the resolver
}

TEST_F(ServiceTest, DatagramsComeInAndTheirAnswersGoBack) {
  configure("Allow");
  link();
  const auto [socket, port] = bound(SOCK_DGRAM);
  call("open", R"({"interface":0,"protocol":"Udp","port":)" + std::to_string(port) + "}", &socket);
  const UniqueFd client = connected(SOCK_DGRAM, port);
  ASSERT_TRUE(write_all(client.get(), as_bytes("ping")));
  const Bytes frame = receive([](ByteSpan bytes) { return parse_packet(bytes).has_value(); });
  const Packet packet = parse_packet(frame).value();
  EXPECT_EQ(packet.destination.to_string(), "10.0.0.4");
  EXPECT_EQ(packet.source.to_string(), "10.0.0.1");
  EXPECT_EQ(packet.destination_port, port);
  EXPECT_EQ(as_text(packet.payload), "ping");
  // The answer: the same with everything turned around.
  Bytes answer = hex("52550a000001 000d3a010203 0800 4500001f 0001 4000 4011 0000 0a000004 0a000001");
  append(answer, ByteSpan(frame).subspan(36, 2));
  append(answer, ByteSpan(frame).subspan(34, 2));
  append(answer, hex("000b 0000 706f6e"));
  send_frame(answer);
  ASSERT_TRUE(wait_readable(client.get(), std::chrono::seconds(10)).value_or(false));
  std::array<char, 16> text{};
  EXPECT_EQ(::recv(client.get(), text.data(), text.size(), 0), 3);
  EXPECT_STREQ(text.data(), "pon");
}

TEST_F(ServiceTest, ConnectionsComeInFromTheGateway) {
  configure("Allow");
  link();
  const auto [socket, port] = bound(SOCK_STREAM);
  call("open", R"({"interface":0,"protocol":"Tcp","port":)" + std::to_string(port) + "}", &socket);
  const UniqueFd client = connected(SOCK_STREAM, port);
  // libslirp asks who has the address first.
  const Bytes question = receive([](ByteSpan frame) { return load_be16(frame, 12) == 0x0806; });
  ASSERT_EQ(to_hex(ByteSpan(question).subspan(38, 4)), "0a000004");
  send_frame(
      hex("52550a000001 000d3a010203 0806 0001 0800 0604 0002 000d3a010203 0a000004 52550a000001 0a000001"));
  const Bytes frame = receive([](ByteSpan bytes) {
    const auto packet = parse_packet(bytes);
    return packet && packet->protocol == Protocol::tcp;
  });
  const Packet packet = parse_packet(frame).value();
  EXPECT_TRUE(packet.opens);
  EXPECT_EQ(packet.source.to_string(), "10.0.0.1");
  EXPECT_EQ(packet.destination_port, port);
}

TEST_F(ServiceTest, ASourceThatTheRulesDenyIsTurnedAway) {
  configure("Allow");
  link();
  const auto [socket, port] = bound(SOCK_STREAM);
  call("open", R"({"interface":0,"protocol":"Tcp","port":)" + std::to_string(port) + "}", &socket);
  configure("Deny");
  const UniqueFd client = connected(SOCK_STREAM, port);
  ASSERT_TRUE(wait_readable(client.get(), std::chrono::seconds(10)).value_or(false));
  char letter = 0;
  EXPECT_LE(::recv(client.get(), &letter, 1, 0), 0);
  const json::Value status = call("status", "{}");
  EXPECT_EQ(status.at_pointer("/result/interfaces/0/connections").to_number<std::int64_t>(), 0);
  EXPECT_EQ(status.at_pointer("/result/interfaces/0/openings/0/port").to_number<std::int64_t>(), port);
  call("close", R"({"interface":0,"protocol":"Tcp","port":)" + std::to_string(port) + "}");
  EXPECT_TRUE(call("status", "{}").at_pointer("/result/interfaces/0/openings").as_array().empty());
}

TEST_F(ServiceTest, RequestsThatCannotBeMeantAreRefused) {
  EXPECT_EQ(call("link", R"({"interface":0})").at_pointer("/error/code").as_string(), "InvalidArgument");
  configure("Deny");
  for (const auto& [method, parameters] :
       {std::pair{"link", R"({"interface":1})"},
        std::pair{"open", R"({"interface":0,"protocol":"Tcp","port":1})"},
        std::pair{"close", R"({"interface":0,"protocol":"Icmp","port":1})"},
        std::pair{"configure", R"({"interfaces":[]})"}})
    EXPECT_EQ(call(method, parameters).at_pointer("/error/code").as_string(), "InvalidArgument") << method;
  EXPECT_EQ(call("explode", "{}").at_pointer("/error/code").as_string(), "Unsupported");
  std::string moved = interfaces("Deny");
  moved.replace(moved.find("10.0.0.4"), 8, "10.0.0.5");
  EXPECT_EQ(call("configure", moved).at_pointer("/error/code").as_string(), "Conflict");
}

TEST_F(ServiceTest, QemuMayComeBack) {
  configure("Deny");
  link();
  guest_.reset();
  while (call("status", "{}").at_pointer("/result/interfaces/0/linked").as_bool()) std::this_thread::yield();
  link();
  EXPECT_TRUE(call("status", "{}").at_pointer("/result/interfaces/0/linked").as_bool());
}

}  // namespace
}  // namespace bootseal::netd

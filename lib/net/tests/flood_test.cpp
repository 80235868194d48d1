// Peers that take places and say nothing.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "bootseal/base/fds.h"
#include "fixture.h"

namespace bootseal::net::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::StartsWith;

constexpr std::size_t kFlood = 1100;
constexpr std::string_view kRequest = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

class FloodTest : public ServedTest {
 protected:
  void SetUp() override {
    // Both ends of every connection are in this process.
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 3 * kFlood;
    ASSERT_LE(limit.rlim_cur, limit.rlim_max);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  }

  // A connection to the TCP port that has sent the bytes.
  UniqueFd say_on_tcp(std::string_view text) {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_->tcp_port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_TRUE(text.empty() || write_all(socket.get(), as_bytes(text)));
    return socket;
  }
  static bool answered(const UniqueFd& socket) {
    std::array<char, 4096> answer{};
    return *wait_readable(socket.get(), seconds{10}) &&
           ::recv(socket.get(), answer.data(), answer.size(), 0) > 0;
  }
  // Of connections to a server that closes what it evicts.
  static std::size_t open_ones(const std::vector<UniqueFd>& sockets) {
    return static_cast<std::size_t>(std::count_if(sockets.begin(), sockets.end(), [](const UniqueFd& one) {
      return !*wait_readable(one.get(), milliseconds{0});
    }));
  }
};

TEST_F(FloodTest, ACallerIsAnsweredAtOnceAmongConnectionsOfOneUserThatSaidOneByte) {
  serve(hello_router(), {.header_limit = seconds{600}, .read_limit = seconds{600}});
  std::vector<UniqueFd> silent;
  for (std::size_t i = 0; i < kFlood; ++i) silent.push_back(say("G"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(say_and_hear("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 200"));
  const auto over_tls = connect(tls_options())->send({.target = "/hello"});
  EXPECT_TRUE(over_tls) << "TCP has places of its own";
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds{10}) << "no limit of time had to help";
}

TEST_F(FloodTest, ACallerIsAnsweredAtOnceAmongHandshakesThatDoNotBegin) {
  serve(hello_router(), {.handshake_limit = seconds{600}});
  std::vector<UniqueFd> silent;
  for (std::size_t i = 0; i < kFlood; ++i) silent.push_back(say_on_tcp(i % 2 == 0 ? "" : "\x16"));
  const auto begin = std::chrono::steady_clock::now();
  const auto over_tls = connect(tls_options())->send({.target = "/hello"});
  EXPECT_TRUE(over_tls) << over_tls.error().describe();
  EXPECT_TRUE(connect(unix_options())->send({.target = "/hello"}));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds{10}) << "no limit of time had to help";
}

TEST_F(FloodTest, OneUserHasItsOwnPlacesOnlyAndLosesItsOldestSilentOnes) {
  // Nobody is exempt, so that this user is one like any other (uid 0 always is: then this holds for TCP).
  serve(hello_router(), {.header_limit = seconds{600},
                         .read_limit = seconds{600},
                         .connections_per_uid = 8,
                         .connections_per_address = 8,
                         .unlimited_uids = {}});
  const bool root = ::geteuid() == 0;
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(root ? say_on_tcp("") : say("G"));
  ASSERT_TRUE(answered(root ? say("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n") : say(kRequest)));
  if (root) {
    ASSERT_TRUE(connect(tls_options())->send({.target = "/hello"}));
  }
  EXPECT_TRUE(*wait_readable(silent[11].get(), seconds{10})) << "the twelfth made room";
  EXPECT_EQ(open_ones(silent), 7U) << "the newest of them, beside the caller";
}

TEST_F(FloodTest, WhoeverHasBeenAnsweredKeepsItsPlaceBeforeThoseWhoSaidNothing) {
  serve(hello_router(), {.connections = 4});
  const UniqueFd proven = say(kRequest);
  ASSERT_TRUE(answered(proven));
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 50; ++i) silent.push_back(say("G"));
  ASSERT_TRUE(*wait_readable(silent[40].get(), seconds{10}));
  ASSERT_TRUE(write_all(proven.get(), as_bytes(kRequest)));
  EXPECT_TRUE(answered(proven));
}

TEST_F(FloodTest, ARefusalForWantOfACredentialProvesNothing) {
  Router router = hello_router();
  router.on("GET", "/secret", [](const Request&) {
    return Response::from_error({ErrorCode::permission_denied, "no", nullptr});
  });
  serve(std::move(router), {.connections = 2});
  const UniqueFd known = say(kRequest);
  ASSERT_TRUE(answered(known));
  const UniqueFd stranger = say("GET /secret HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(answered(stranger));
  ASSERT_TRUE(answered(say(kRequest)));
  EXPECT_EQ(hear(stranger), "") << "idle for less long than the one that was answered";
  ASSERT_TRUE(write_all(known.get(), as_bytes(kRequest)));
  EXPECT_TRUE(answered(known));
}

TEST_F(FloodTest, TheFirstHeaderHasItsTimeFromTheHandshakeOnHoweverItTrickles) {
  serve(hello_router(), {.header_limit = seconds{1}});
  EXPECT_EQ(say_and_hear(""), "");
  const UniqueFd socket = say("G");
  EXPECT_THAT(hear(socket), StartsWith("HTTP/1.1 408 "));
}

TEST_F(FloodTest, ABodyHasItsOwnTimeBesideTheHeaders) {
  serve(hello_router(), {.header_limit = seconds{1}, .read_limit = seconds{600}});
  const UniqueFd socket =
      say("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nab");
  EXPECT_FALSE(*wait_readable(socket.get(), milliseconds{1500})) << "the header's limit is over";
  ASSERT_TRUE(write_all(socket.get(), as_bytes("c")));
  EXPECT_THAT(hear(socket), StartsWith("HTTP/1.1 200"));
}

TEST_F(FloodTest, AHandshakeThatDoesNotEndIsCutOff) {
  serve(hello_router(), {.handshake_limit = seconds{1}, .read_limit = seconds{600}});
  EXPECT_EQ(hear(say_on_tcp("")), "");
}

}  // namespace
}  // namespace bootseal::net::testing

#include <fmt/format.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <latch>
#include <thread>

#include "bootseal/base/fds.h"
#include "fixture.h"

namespace bootseal::net::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr seconds kLongWait{20};

class WebSocketTest : public ServedTest {
 protected:
  // Sends back every message; "bye" ends it.
  static Router echo_router() {
    Router router;
    router.on_websocket("/echo/{name}", nullptr,
                        [](const Request& request, std::unique_ptr<WebSocket> socket) {
                          if (!socket->send("hello " + request.parameter("name"))) return;
                          for (;;) {
                            const auto message = socket->receive(std::nullopt);
                            if (!message || *message == "bye" || !socket->send(*message)) return;
                          }
                        });
    return router;
  }
  static std::unique_ptr<WebSocket> open(Client& client, const std::string& target) {
    auto socket = client.open_websocket(target);
    if (!socket) ADD_FAILURE() << socket.error().describe();
    return socket ? *std::move(socket) : nullptr;
  }
  static std::string handshake(const std::string& path, const std::string& more = "") {
    // The key and its answer are those of RFC 6455 section 1.3.
    return "GET " + path +
           " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
           "13\r\n" +
           more + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  }
};

TEST_F(WebSocketTest, CarriesMessagesBothWaysOverBothTransports) {
  serve(echo_router());
  for (const ClientOptions& options : {unix_options(), tls_options()}) {
    const auto client = connect(options);
    const auto socket = open(*client, "/echo/you?x=1");
    ASSERT_NE(socket, nullptr);
    EXPECT_EQ(*socket->receive(kLongWait), "hello you");
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{125}, std::size_t{126},
                                   std::size_t{65536}, std::size_t{1} << 20}) {
      const std::string message(size, 'm');
      ASSERT_TRUE(socket->send(message));
      const auto echoed = socket->receive(kLongWait);
      ASSERT_TRUE(echoed) << echoed.error().describe();
      EXPECT_EQ(*echoed, message);
    }
  }
}

TEST_F(WebSocketTest, ReceiveEndsWhenThePeerCloses) {
  serve(echo_router());
  const auto client = connect(tls_options());
  const auto socket = open(*client, "/echo/you");
  ASSERT_TRUE(socket->receive(kLongWait));
  ASSERT_TRUE(socket->send("bye"));
  const auto ended = socket->receive(kLongWait);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, ErrorCode::unavailable);
  EXPECT_THAT(ended.error().message, HasSubstr("closed"));
  EXPECT_FALSE(socket->send("late"));
}

TEST_F(WebSocketTest, ReceiveEndsAtItsTimeLimitAndGoesOnAfterIt) {
  serve(echo_router());
  const auto client = connect(unix_options());
  const auto socket = open(*client, "/echo/you");
  ASSERT_TRUE(socket->receive(kLongWait));
  EXPECT_EQ(socket->receive(milliseconds{20}).error().code, ErrorCode::timeout);
  ASSERT_TRUE(socket->send("still here"));
  EXPECT_EQ(*socket->receive(kLongWait), "still here");
}

TEST_F(WebSocketTest, CloseWakesABlockedReceive) {
  serve(echo_router());
  const auto client = connect(unix_options());
  const auto socket = open(*client, "/echo/you");
  ASSERT_TRUE(socket->receive(kLongWait));
  auto blocked = std::async(std::launch::async, [&] { return socket->receive(std::nullopt); });
  socket->close();
  EXPECT_EQ(blocked.get().error().code, ErrorCode::unavailable);
}

TEST_F(WebSocketTest, TheServersHandlerIsToldThatItsPeerLeft) {
  std::promise<ErrorCode> told;
  Router router;
  router.on_websocket("/ws", nullptr, [&](const Request&, std::unique_ptr<WebSocket> socket) {
    told.set_value(socket->receive(std::nullopt).error().code);
  });
  serve(std::move(router));
  const auto client = connect(unix_options());
  open(*client, "/ws").reset();
  EXPECT_EQ(told.get_future().get(), ErrorCode::unavailable);
}

TEST_F(WebSocketTest, AReaderThatIsSlowSlowsTheWriterAndLosesNothing) {
  constexpr int kMessages = 200;
  Router router;
  router.on_websocket("/flood", nullptr, [](const Request&, std::unique_ptr<WebSocket> socket) {
    for (int index = 0; index < kMessages; ++index) {
      if (!socket->send(fmt::format("{:08}", index) + std::string(100000, 'x'))) return;
    }
  });
  serve(std::move(router));
  const auto client = connect(tls_options());
  const auto socket = open(*client, "/flood");
  for (int index = 0; index < kMessages; ++index) {
    const auto message = socket->receive(kLongWait);
    ASSERT_TRUE(message) << index << " " << message.error().describe();
    ASSERT_THAT(*message, StartsWith(fmt::format("{:08}", index)));
  }
  EXPECT_FALSE(socket->receive(kLongWait));
}

TEST_F(WebSocketTest, AnUpgradeThatIsNotAllowedGetsTheErrorAsItsAnswer) {
  Router router = echo_router();
  router.on_websocket(
      "/private", [](const Request&) -> Status { return fail(ErrorCode::permission_denied, "not for you"); },
      [](const Request&, const std::unique_ptr<WebSocket>&) { FAIL(); });
  router.before([](Request& request) -> std::optional<Response> {
    if (!request.path.starts_with("/filtered")) return std::nullopt;
    return Response::from_error({ErrorCode::unauthenticated, "say who you are", nullptr});
  });
  serve(std::move(router));
  for (const ClientOptions& options : {unix_options(), tls_options()}) {
    const auto client = connect(options);
    const Error refused = client->open_websocket("/private").error();
    EXPECT_EQ(refused.code, ErrorCode::permission_denied);
    EXPECT_EQ(refused.message, "not for you");
    EXPECT_EQ(client->open_websocket("/filtered").error().code, ErrorCode::unauthenticated);
    EXPECT_EQ(client->open_websocket("/unknown").error().code, ErrorCode::not_found);
  }
}

TEST_F(WebSocketTest, TheTokenGoesWithTheUpgrade) {
  std::promise<std::string> seen;
  Router router;
  router.on_websocket("/ws", nullptr, [&](const Request& request, const std::unique_ptr<WebSocket>&) {
    seen.set_value(request.header("Authorization").value_or("(none)"));
  });
  serve(std::move(router));
  ClientOptions options = tls_options();
  options.bearer_token = "abc";
  const auto client = connect(options);
  const auto socket = open(*client, "/ws");
  EXPECT_EQ(seen.get_future().get(), "Bearer abc");
}

TEST_F(WebSocketTest, TheClientVerifiesTheServer) {
  serve(echo_router());
  ClientOptions options = tls_options();
  options.ca_pem = make_ca("Test site CA").certificate_pem;
  EXPECT_EQ(connect(options)->open_websocket("/echo/you").error().code, ErrorCode::unauthenticated);
  server_.reset();
  const Error gone = connect(unix_options())->open_websocket("/echo/you").error();
  EXPECT_EQ(gone.code, ErrorCode::unavailable);
  EXPECT_THAT(gone.message, HasSubstr(socket_path().string()));
}

TEST_F(WebSocketTest, ShakesHandsAsTheSpecificationHasIt) {
  serve(echo_router());
  const UniqueFd socket = say(handshake("/echo/you", "Sec-WebSocket-Protocol: binary, base64\r\n"));
  std::string answer;
  while (answer.find("hello you") == std::string::npos) {
    std::array<char, 1024> piece{};
    const ssize_t size = ::recv(socket.get(), piece.data(), piece.size(), 0);
    ASSERT_GT(size, 0) << answer;
    answer.append(piece.data(), static_cast<std::size_t>(size));
  }
  EXPECT_THAT(answer, AllOf(StartsWith("HTTP/1.1 101 "),
                            HasSubstr("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
                            HasSubstr("Sec-WebSocket-Protocol: binary\r\n"), HasSubstr("x-ms-request-id: "),
                            // RFC 6455 section 5.2: final binary frame of nine bytes, not masked.
                            ::testing::EndsWith("\r\n\r\n\x82\x09hello you")));
}

TEST_F(WebSocketTest, FramesThatAreNoneEndTheConnection) {
  serve(echo_router());
  // Not masked; reserved bits; a reserved opcode; a control frame that is too long; more than a megabyte.
  for (const std::string& frame :
       {std::string("\x82\x01x", 3), std::string("\xf2\x81\0\0\0\0x", 7), std::string("\x83\x81\0\0\0\0x", 7),
        std::string("\x89\xfe\0\x7e\0\0\0\0", 8), std::string("\x82\xff\0\0\0\0\0\x10\0\x01\0\0\0\0", 14)}) {
    const UniqueFd socket = say(handshake("/echo/you"));
    ASSERT_TRUE(*wait_readable(socket.get(), kLongWait));
    ASSERT_TRUE(write_all(socket.get(), as_bytes(frame)));
    EXPECT_THAT(hear(socket), StartsWith("HTTP/1.1 101 "));
  }
  EXPECT_THAT(hear(say(handshake("/echo/you") + "early")), StartsWith("HTTP/1.1 400 "));
  const auto client = connect(unix_options());
  EXPECT_EQ(*open(*client, "/echo/me")->receive(kLongWait), "hello me");
}

TEST_F(WebSocketTest, MessagesPastTheLimitAreNotSent) {
  serve(echo_router());
  const auto client = connect(unix_options());
  const auto socket = open(*client, "/echo/you");
  EXPECT_EQ(socket->send(std::string((1 << 20) + 1, 'x')).error().code, ErrorCode::exhausted);
}

TEST_F(WebSocketTest, AHandlerThatThrowsEndsItsConnectionOnly) {
  Router router = echo_router();
  router.on_websocket("/throw", nullptr, [](const Request&, const std::unique_ptr<WebSocket>&) {
    throw std::runtime_error("oops");
  });
  serve(std::move(router));
  const auto client = connect(unix_options());
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(open(*client, "/throw")->receive(kLongWait));
  server_->stop(kLongWait);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("oops"));
}

TEST_F(WebSocketTest, ThereAreOnlySoManyAtOnce) {
  serve(echo_router(), {.websockets = 2});
  const auto client = connect(unix_options());
  auto first = open(*client, "/echo/1");
  const auto second = open(*client, "/echo/2");
  const auto third = client->open_websocket("/echo/3");
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, ErrorCode::unavailable);
  first.reset();
  // Its place is free when the server has seen its end.
  const auto give_up = std::chrono::steady_clock::now() + kLongWait;
  while (!client->open_websocket("/echo/3") && std::chrono::steady_clock::now() < give_up)
    std::this_thread::yield();
  EXPECT_LT(std::chrono::steady_clock::now(), give_up);
}

TEST_F(WebSocketTest, ManyComeAndGoAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 25;
  // Room for all: the server may see the end of one after its client has begun the next.
  serve(echo_router(), {.websockets = kThreads * kRounds});
  std::vector<std::future<std::string>> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.push_back(std::async(std::launch::async, [this] {
      const auto client = connect(unix_options());
      std::string problems;
      for (int round = 0; round < kRounds; ++round) {
        const auto socket = client->open_websocket("/echo/you");
        if (!socket) {
          problems += socket.error().describe() + "\n";
          continue;
        }
        const auto message = (*socket)->receive(kLongWait);
        if (message != "hello you") problems += (message ? *message : message.error().describe()) + "\n";
      }
      return problems;
    }));
  }
  for (auto& thread : threads) EXPECT_EQ(thread.get(), "");
}

TEST_F(WebSocketTest, AnAuthoriserThatThrowsIsAnswered500) {
  Router router;
  router.on_websocket(
      "/ws", [](const Request&) -> Status { throw 7; },
      [](const Request&, const std::unique_ptr<WebSocket>&) { FAIL(); });
  serve(std::move(router));
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(connect(unix_options())->open_websocket("/ws").error().code, ErrorCode::internal);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("http.handler_failed"));
}

TEST_F(WebSocketTest, StopClosesThemAndWaitsForTheirHandlers) {
  std::latch entered(1);
  std::atomic<bool> left = false;
  Router router;
  router.on_websocket("/ws", nullptr, [&](const Request&, std::unique_ptr<WebSocket> socket) {
    entered.count_down();
    EXPECT_FALSE(socket->receive(std::nullopt));
    left = true;
  });
  serve(std::move(router));
  const auto client = connect(tls_options());
  const auto socket = open(*client, "/ws");
  entered.wait();
  server_->stop(kLongWait);
  EXPECT_TRUE(left);
  EXPECT_FALSE(socket->receive(kLongWait));
}

}  // namespace
}  // namespace bootseal::net::testing

// What goes over the wire, said and heard byte by byte.
#include <fmt/format.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <latch>
#include <thread>

#include "fixture.h"

namespace bootseal::net::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ServerTest : public ServedTest {};

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size()))
    ++found;
  return found;
}

TEST_F(ServerTest, KeepsTheConnectionForOneRequestAfterTheOther) {
  serve(hello_router());
  const UniqueFd socket = say("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(*wait_readable(socket.get(), seconds{10}));
  std::array<std::byte, 4096> first{};
  ASSERT_GT(::recv(socket.get(), first.data(), first.size(), 0), 0);
  EXPECT_THAT(as_text(first), HasSubstr("Connection: keep-alive\r\n"));
  ASSERT_TRUE(
      write_all(socket.get(), as_bytes("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")));
  EXPECT_THAT(hear(socket), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("Connection: close\r\n"),
                                  HasSubstr(R"({"greeting":"hello"})")));
}

TEST_F(ServerTest, AnswersPipelinedRequestsInTheirOrder) {
  serve(hello_router());
  std::string requests;
  for (int index = 0; index < 20; ++index) {
    const std::string body = fmt::format("body-{:02}", index);
    requests +=
        fmt::format("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
  }
  requests += "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  const std::string answers = say_and_hear(requests);
  std::size_t at = 0;
  for (int index = 0; index < 20; ++index) {
    at = answers.find(fmt::format("\r\n\r\nbody-{:02}", index), at);
    ASSERT_NE(at, std::string::npos) << index;
  }
  EXPECT_EQ(count(answers, "HTTP/1.1 200 OK\r\n"), 21U);
}

TEST_F(ServerTest, ReadsARequestThatComesByteByByte) {
  serve(hello_router());
  const UniqueFd socket = say("");
  for (const char byte : std::string_view(
           "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")) {
    ASSERT_TRUE(write_all(socket.get(), as_bytes(std::string_view(&byte, 1))));
  }
  EXPECT_THAT(hear(socket), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("\r\n\r\nabc")));
}

TEST_F(ServerTest, ReadsChunkedBodies) {
  serve(hello_router());
  EXPECT_THAT(
      say_and_hear("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "3\r\nabc\r\n5;name=value\r\ndefgh\r\n0\r\nTrailer: x\r\n\r\n"),
      AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("Content-Length: 8\r\n"),
            HasSubstr("\r\n\r\nabcdefgh")));
}

TEST_F(ServerTest, ClosesAfterAnHttp10Request) {
  serve(hello_router());
  EXPECT_THAT(say_and_hear("GET /hello HTTP/1.0\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Connection: close")));
}

TEST_F(ServerTest, HeadHasTheHeadersOfGetAndNoBody) {
  serve(hello_router());
  EXPECT_THAT(
      say_and_hear("HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
      AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Content-Length: 20\r\n"), Not(HasSubstr("greeting"))));
}

TEST_F(ServerTest, InvitesTheBodyOfARequestThatExpectsIt) {
  serve(hello_router());
  const UniqueFd socket =
      say("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: "
          "4\r\n\r\n");
  ASSERT_TRUE(*wait_readable(socket.get(), seconds{10}));
  std::array<char, 64> invitation{};
  ASSERT_GT(::recv(socket.get(), invitation.data(), invitation.size(), 0), 0);
  EXPECT_STREQ(invitation.data(), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(write_all(socket.get(), as_bytes("body")));
  EXPECT_THAT(hear(socket), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\r\n\r\nbody")));
}

TEST_F(ServerTest, DoesNotInviteABodyThatIsTooLong) {
  serve(hello_router(), {.body_bytes = 10});
  const std::string answer =
      say_and_hear("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 413 "));
}

TEST_F(ServerTest, GivesEveryAnswerAnIdAndSendsTheClientsBack) {
  std::string seen;
  Router router;
  router.on("GET", "/id", [&](const Request& request) {
    seen = request.id;
    return Response::empty(200);
  });
  serve(std::move(router));
  const auto reply =
      connect(unix_options())->send({.target = "/id", .headers = {{"x-ms-client-request-id", "abc"}}});
  ASSERT_TRUE(reply);
  EXPECT_TRUE(Guid::parse(seen));
  EXPECT_EQ(reply->header("X-Ms-Request-Id"), seen);
  EXPECT_EQ(reply->header("x-ms-client-request-id"), "abc");
  EXPECT_THAT(say_and_hear("nonsense\r\n\r\n"), ContainsRegex("x-ms-request-id: [0-9a-f-]{36}\r\n"));
}

TEST_F(ServerTest, MalformedRequestsGetOneClearAnswerAndTheEndOfTheConnection) {
  serve(hello_router(), {.header_bytes = 4096, .body_bytes = 1000});
  const std::string head = "POST /echo HTTP/1.1\r\nHost: x\r\n";
  const std::vector<std::pair<std::string, int>> cases = {
      {"nonsense\r\n\r\n", 400},
      {"GET\r\n\r\n", 400},
      {"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost x\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\n\r\n", 400},                        // no Host
      {"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},  // two
      {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},  // TLS where there is none
      {head + "Content-Length: -1\r\n\r\n", 400},
      {head + "Content-Length: 1x\r\n\r\n", 400},
      {head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
      {head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {head + "Transfer-Encoding: gzip\r\n\r\n", 501},
      {head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n", 413},
      {head + "Transfer-Encoding: chunked\r\n\r\n1;" + std::string(30000, 'x'), 400},
      {head + "Expect: miracles\r\nContent-Length: 1\r\n\r\na", 417},
      {head + "Content-Length: 1001\r\n\r\n", 413},
      {head + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + std::string(5000, 'x') + "\r\n\r\n", 431},
      {"GET /" + std::string(100000, 'x'), 431},
      {std::string(100000, 'x'), 431},
  };
  for (const auto& [request, status] : cases) {
    // A request after it must not be read as one.
    const std::string answer =
        say_and_hear(request + (request.size() < 5000 ? "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n" : ""));
    EXPECT_THAT(answer, StartsWith(fmt::format("HTTP/1.1 {} ", status))) << request.substr(0, 100);
    EXPECT_EQ(count(answer, "x-ms-request-id: "), 1U) << request.substr(0, 100) << "\n" << answer;
    EXPECT_THAT(answer, AllOf(HasSubstr("Connection: close\r\n"), HasSubstr(R"({"error":{"code":")")))
        << request.substr(0, 100);
  }
  EXPECT_TRUE(connect(unix_options())->call_json("GET", "/hello"));
}

TEST_F(ServerTest, TheLimitsAreInclusive) {
  serve(hello_router(), {.body_bytes = 1000});
  const std::unique_ptr<Client> client = connect(unix_options());
  EXPECT_EQ(client->send({.method = "POST", .target = "/echo", .body = std::string(1000, 'x')})->status, 200);
  const auto refused = client->send({.method = "POST", .target = "/echo", .body = std::string(1001, 'x')});
  ASSERT_TRUE(refused) << refused.error().describe();
  EXPECT_EQ(refused->status, 413);
  EXPECT_EQ(error_from_response(413, refused->body).code, ErrorCode::exhausted);
}

TEST_F(ServerTest, AClientThatSendsTooMuchStillSeesTheAnswer) {
  serve(hello_router(), {.body_bytes = 1000});
  for (const ClientOptions& options : {unix_options(), tls_options()}) {
    const auto refused =
        connect(options)->send({.method = "POST", .target = "/echo", .body = std::string(3 << 20, 'x')});
    ASSERT_TRUE(refused) << refused.error().describe();
    EXPECT_EQ(refused->status, 413);
  }
}

TEST_F(ServerTest, ARequestThatTricklesInIsCutOffAtItsTimeLimit) {
  serve(hello_router(), {.read_limit = seconds{1}});
  const UniqueFd socket = say("GET /hello HTTP/1.1\r\nHost: x\r\n");
  // A header line each 50 ms: never idle, never complete.
  const auto begin = std::chrono::steady_clock::now();
  while (!*wait_readable(socket.get(), milliseconds{50})) {
    ASSERT_TRUE(write_all(socket.get(), as_bytes("X: y\r\n")));
    ASSERT_LT(std::chrono::steady_clock::now() - begin, seconds{20}) << "the server waits for ever";
  }
  EXPECT_THAT(hear(socket), AllOf(StartsWith("HTTP/1.1 408 "), HasSubstr("not complete after 1000 ms")));
}

TEST_F(ServerTest, AConnectionThatSaysNothingIsClosedWithoutAnAnswer) {
  serve(hello_router(), {.read_limit = seconds{1}});
  EXPECT_EQ(say_and_hear(""), "");
}

TEST_F(ServerTest, AKeptConnectionIsClosedWhenItWasIdleForTooLong) {
  serve(hello_router(), {.idle_limit = seconds{1}});
  EXPECT_THAT(say_and_hear("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("keep-alive")));
}

TEST_F(ServerTest, AHandlerThatThrowsIsAnswered500AndTheDaemonGoesOn) {
  Router router = hello_router();
  router.on("GET", "/throw", [](const Request&) -> Response { throw std::runtime_error("a secret detail"); });
  router.on("GET", "/throw-int", [](const Request&) -> Response { throw 7; });
  router.on("GET", "/header", [](const Request&) {
    return Response{.status = 200, .headers = {{"X", "a\r\nb"}}, .body = {}};
  });
  router.on("GET", "/status",
            [](const Request&) { return Response{.status = 7, .headers = {}, .body = {}}; });
  serve(std::move(router));
  const auto client = connect(unix_options());
  ::testing::internal::CaptureStderr();
  for (const char* target : {"/throw", "/throw-int", "/header", "/status"}) {
    const auto reply = client->send({.target = target});
    ASSERT_TRUE(reply) << reply.error().describe();
    EXPECT_EQ(reply->status, 500) << target;
    EXPECT_EQ(error_from_response(500, reply->body).code, ErrorCode::internal);
    EXPECT_THAT(reply->body, Not(HasSubstr("secret detail")));
  }
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("a secret detail"));
  EXPECT_TRUE(client->call_json("GET", "/hello"));
}

TEST_F(ServerTest, KnowsTheProcessAtTheOtherEndOfAUnixSocket) {
  Peer peer;
  Router router;
  router.on("GET", "/", [&](const Request& request) {
    peer = request.peer;
    return Response::empty(200);
  });
  serve(std::move(router));
  ASSERT_TRUE(connect(unix_options())->send({.target = "/"}));
  EXPECT_EQ(peer.kind, Peer::Kind::unix_process);
  EXPECT_EQ(peer.uid, ::getuid());
  EXPECT_EQ(peer.gid, ::getgid());
  EXPECT_EQ(peer.pid, ::getpid());
  EXPECT_EQ(peer.address, fmt::format("unix:uid={},pid={}", ::getuid(), ::getpid()));
}

TEST_F(ServerTest, ServesManyClientsAtOnce) {
  serve(hello_router(), {.workers = 4});
  std::vector<std::future<int>> clients;
  for (int index = 0; index < 16; ++index) {
    clients.push_back(std::async(std::launch::async, [this, index] {
      const auto client = connect(index % 2 == 0 ? unix_options() : tls_options());
      int right = 0;
      for (int call = 0; call < 20; ++call) {
        const std::string body =
            fmt::format("{} {} {}", index, call, std::string(static_cast<std::size_t>(call) * 1000, 'x'));
        const auto reply = client->send({.method = "POST", .target = "/echo", .body = body});
        right += reply && reply->status == 200 && reply->body == body ? 1 : 0;
      }
      return right;
    }));
  }
  for (auto& client : clients) EXPECT_EQ(client.get(), 20);
}

TEST_F(ServerTest, HandlersThatBlockDoNotBlockTheOthers) {
  std::latch all_in(3);
  Router router;
  router.on("GET", "/meet", [&](const Request&) {
    all_in.arrive_and_wait();
    return Response::empty(200);
  });
  serve(std::move(router), {.workers = 3});
  std::vector<std::future<bool>> calls;
  for (int call = 0; call < 3; ++call) {
    calls.push_back(std::async(std::launch::async, [this] {
      return connect(unix_options())->send({.target = "/meet"}).has_value();
    }));
  }
  for (auto& call : calls) EXPECT_TRUE(call.get());
}

TEST_F(ServerTest, ANewConnectionTakesThePlaceOfTheOneIdleForLongest) {
  serve(hello_router(), {.connections = 2});
  const std::string request = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
  const auto answered = [](const UniqueFd& socket) {
    std::array<char, 4096> answer{};
    return *wait_readable(socket.get(), seconds{10}) &&
           ::recv(socket.get(), answer.data(), answer.size(), 0) > 0;
  };
  const UniqueFd first = say(request);
  ASSERT_TRUE(answered(first));
  const UniqueFd second = say(request);
  ASSERT_TRUE(answered(second));
  const UniqueFd third = say(request);
  EXPECT_TRUE(answered(third));
  EXPECT_EQ(hear(first), "");
  ASSERT_TRUE(write_all(second.get(), as_bytes(request)));
  EXPECT_TRUE(answered(second));
}

TEST_F(ServerTest, AConnectionBeyondTheLimitIsServedWhenAnotherEnds) {
  std::latch entered(1);
  std::latch leave(1);
  Router router = hello_router();
  router.on("GET", "/wait", [&](const Request&) {
    entered.count_down();
    leave.wait();
    return Response::empty(200);
  });
  serve(std::move(router), {.connections = 1});
  auto busy = std::async(std::launch::async,
                         [this] { return connect(unix_options())->send({.target = "/wait"}).has_value(); });
  entered.wait();
  const UniqueFd waiting = say("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_FALSE(*wait_readable(waiting.get(), milliseconds{50}));
  leave.count_down();
  EXPECT_THAT(hear(waiting), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(busy.get());
}

}  // namespace
}  // namespace bootseal::net::testing

#include <fmt/format.h>
#include <sys/socket.h>

#include <future>
#include <latch>
#include <set>
#include <thread>

#include "bootseal/base/fds.h"
#include "fixture.h"

namespace bootseal::net::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Pair;

class ClientTest : public ServedTest {
 protected:
  // Answers with what came.
  static Router mirror_router() {
    Router router;
    for (const char* method : {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"}) {
      router.on(method, "/mirror", [](const Request& request) {
        json::Array headers;
        for (const auto& [name, value] : request.headers)
          headers.push_back(json::Array{json::Value(name), json::Value(value)});
        return Response::json(200, json::Object{{"method", request.method},
                                                {"target", request.target},
                                                {"body", request.body},
                                                {"headers", headers}});
      });
    }
    return router;
  }
  static std::string header_of(const json::Value& mirrored, std::string_view name) {
    for (const json::Value& header : mirrored.at("headers").as_array()) {
      if (header.at(0).as_string() == name) return std::string(header.at(1).as_string());
    }
    return "(none)";
  }
  // A Unix socket on which one connection is answered with these bytes, whatever it asks.
  [[nodiscard]] std::jthread answer_once(std::string bytes) {
    auto listener = listen_unix(socket_path());
    BOOTSEAL_CHECK(listener.has_value());
    return std::jthread([listener = *std::move(listener), bytes = std::move(bytes)] {
      const UniqueFd peer(::accept(listener.get(), nullptr, nullptr));
      std::array<char, 4096> request{};
      BOOTSEAL_CHECK(::recv(peer.get(), request.data(), request.size(), 0) > 0);
      static_cast<void>(write_all(peer.get(), as_bytes(bytes)));
    });
  }
};

TEST_F(ClientTest, SendsEveryMethodWithItsBodyAndHeaders) {
  serve(mirror_router());
  ClientOptions options = tls_options();
  options.bearer_token = "the-token";
  const auto client = connect(options);
  for (const char* method : {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"}) {
    for (const std::string& body : {std::string(), std::string("{\"a\":1}"), std::string("bin\0ary", 7)}) {
      const auto reply = client->send({.method = method,
                                       .target = "/mirror?x=%20y",
                                       .headers = {{"X-Empty", ""}, {"X-Name", "value"}},
                                       .body = body});
      ASSERT_TRUE(reply) << reply.error().describe();
      const auto mirrored = json::parse(reply->body);
      ASSERT_TRUE(mirrored) << reply->body;
      EXPECT_EQ(mirrored->at("method").as_string(), method);
      EXPECT_EQ(mirrored->at("target").as_string(), "/mirror?x=%20y");
      EXPECT_EQ(std::string(mirrored->at("body").as_string()), body);
      EXPECT_EQ(header_of(*mirrored, "Authorization"), "Bearer the-token");
      EXPECT_EQ(header_of(*mirrored, "X-Name"), "value");
      EXPECT_EQ(header_of(*mirrored, "X-Empty"), "");
      EXPECT_EQ(header_of(*mirrored, "Content-Type"), body.empty() ? "(none)" : "application/json");
    }
  }
}

TEST_F(ClientTest, TakesNoProxyFromTheEnvironment) {
  serve(mirror_router());
  for (const char* name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy"})
    ::setenv(name, "http://127.0.0.1:1", 1);
  const auto reply = connect(tls_options())->send({.target = "/mirror"});
  for (const char* name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy"})
    ::unsetenv(name);
  EXPECT_TRUE(reply) << reply.error().describe();
}

TEST_F(ClientTest, KeepsItsConnection) {
  std::set<std::string> addresses;
  Router router;
  router.on("GET", "/", [&](const Request& request) {
    addresses.insert(request.peer.address);
    return Response::empty(204);
  });
  serve(std::move(router));
  const auto client = connect(tls_options());
  for (int call = 0; call < 5; ++call) EXPECT_EQ(client->send({.target = "/"})->status, 204);
  EXPECT_EQ(addresses.size(), 1U);
}

TEST_F(ClientTest, CallsAgainAfterTheServerWasRestarted) {
  serve(hello_router());
  const auto client = connect(unix_options());
  ASSERT_TRUE(client->call_json("GET", "/hello"));
  server_.reset();
  EXPECT_EQ(client->call_json("GET", "/hello").error().code, ErrorCode::unavailable);
  serve(hello_router());
  EXPECT_TRUE(client->call_json("GET", "/hello"));
}

TEST_F(ClientTest, GivesBackTheErrorOfTheServer) {
  Router router;
  router.on("GET", "/stale", [](const Request&) {
    return Response::from_error(
        {ErrorCode::guest_state_stale, "the file is older than generation 7", nullptr});
  });
  router.on("GET", "/text",
            [](const Request&) { return Response{.status = 200, .headers = {}, .body = "no json"}; });
  router.on("GET", "/nothing", [](const Request&) { return Response::empty(204); });
  serve(std::move(router));
  const auto client = connect(unix_options());
  const auto stale = client->call_json("GET", "/stale");
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, ErrorCode::guest_state_stale);
  EXPECT_EQ(stale.error().message, "the file is older than generation 7");
  EXPECT_EQ(client->call_json("GET", "/unknown").error().code, ErrorCode::not_found);
  EXPECT_EQ(client->call_json("GET", "/text").error().code, ErrorCode::unavailable);
  EXPECT_TRUE(client->call_json("GET", "/nothing")->is_null());
}

TEST_F(ClientTest, SaysWhereNobodyAnswers) {
  const Error no_socket = connect(unix_options())->send({.target = "/"}).error();
  EXPECT_EQ(no_socket.code, ErrorCode::unavailable);
  EXPECT_THAT(no_socket.message,
              AllOf(HasSubstr("GET / at " + socket_path().string()), HasSubstr("is the daemon running?")));
  const Error no_port = connect({.base_url = "https://127.0.0.1:1", .ca_pem = site_ca().certificate_pem})
                            ->send({.target = "/"})
                            .error();
  EXPECT_EQ(no_port.code, ErrorCode::unavailable);
  EXPECT_THAT(no_port.message, HasSubstr("https://127.0.0.1:1"));
}

TEST_F(ClientTest, EndsAtItsTimeLimit) {
  Router router;
  router.on("GET", "/wait", [](const Request& request) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait(lock, request.stop, [] { return false; });
    return Response::empty(204);
  });
  serve(std::move(router));
  const auto client = connect(unix_options());
  const auto reply = client->send({.target = "/wait", .limit = milliseconds{50}});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::timeout);
  // The connection of that call is not used for another one.
  EXPECT_EQ(client->send({.target = "/unknown"})->status, 404);
}

TEST_F(ClientTest, EndsWhenItsCallerAsksForIt) {
  std::latch entered(1);
  Router router;
  router.on("GET", "/wait", [&](const Request& request) {
    entered.count_down();
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait(lock, request.stop, [] { return false; });
    return Response::empty(204);
  });
  serve(std::move(router));
  const auto client = connect(unix_options());
  std::stop_source stop;
  auto reply = std::async(std::launch::async,
                          [&] { return client->send({.target = "/wait", .stop = stop.get_token()}); });
  entered.wait();
  stop.request_stop();
  const auto stopped = reply.get();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
  EXPECT_EQ(client->send({.target = "/wait", .stop = stop.get_token()}).error().code, ErrorCode::cancelled);
  EXPECT_EQ(client->send({.target = "/unknown"})->status, 404);
}

TEST_F(ClientTest, IsSharedByManyThreads) {
  serve(hello_router());
  const auto client = connect(tls_options());
  std::vector<std::future<int>> threads;
  for (int thread = 0; thread < 12; ++thread) {
    threads.push_back(std::async(std::launch::async, [&, thread] {
      int right = 0;
      for (int call = 0; call < 10; ++call) {
        const std::string body = fmt::format("{}/{}", thread, call);
        const auto reply = client->send({.method = "POST", .target = "/echo", .body = body});
        right += reply && reply->body == body ? 1 : 0;
      }
      return right;
    }));
  }
  for (auto& thread : threads) EXPECT_EQ(thread.get(), 10);
}

TEST_F(ClientTest, RefusesRequestsThatWouldBecomeOthers) {
  const auto client = connect(unix_options());
  for (const Call& call :
       {Call{.method = "GET /", .target = "/"}, Call{.target = ""}, Call{.target = "relative"},
        Call{.target = "/a b"}, Call{.target = "/a\r\nX: y"},
        Call{.target = "/", .headers = {{"X\r\nY", "z"}}}, Call{.target = "/", .headers = {{"X", "y\nz"}}}}) {
    const auto reply = client->send(call);
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::invalid_argument) << call.target;
  }
}

TEST_F(ClientTest, AnswersThatAreNoneAreErrors) {
  const std::vector<std::pair<std::string, ErrorCode>> cases = {
      {"", ErrorCode::unavailable},
      {"nonsense\r\n\r\n", ErrorCode::unavailable},
      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", ErrorCode::unavailable},
      {"HTTP/1.1 200 OK\r\n" +
           [] {
             std::string headers;
             for (int header = 0; header < 1000; ++header) headers += fmt::format("X-{}: y\r\n", header);
             return headers;
           }() +
           "\r\n",
       ErrorCode::exhausted},
  };
  for (const auto& [answer, code] : cases) {
    const std::jthread server = answer_once(answer);
    const auto reply = connect(unix_options())->send({.target = "/"});
    ASSERT_FALSE(reply) << answer.substr(0, 60);
    EXPECT_EQ(reply.error().code, code) << reply.error().describe();
  }
}

TEST_F(ClientTest, DoesNotFollowRedirects) {
  Router router;
  router.on("GET", "/", [](const Request&) {
    return Response{.status = 302, .headers = {{"Location", "https://elsewhere.example/"}}, .body = {}};
  });
  serve(std::move(router));
  const auto reply = connect(tls_options())->send({.target = "/"});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 302);
  EXPECT_THAT(reply->headers, ::testing::Contains(Pair("Location", "https://elsewhere.example/")));
}

}  // namespace
}  // namespace bootseal::net::testing

// How a server starts and stops.
#include <fmt/format.h>

#include <future>
#include <latch>

#include "fixture.h"

namespace bootseal::net::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ServerLifeTest : public ServedTest {};

TEST_F(ServerLifeTest, StopLetsARunningHandlerAnswerAndTakesNothingNew) {
  std::latch entered(1);
  Router router = hello_router();
  router.on("GET", "/wait", [&](const Request& request) {
    entered.count_down();
    // As a handler that waits for an event does it.
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait(lock, request.stop, [] { return false; });
    return Response::json(200, json::Object{{"stopped", true}});
  });
  serve(std::move(router));
  const UniqueFd idle = say("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(*wait_readable(idle.get(), seconds{10}));
  auto waiting =
      std::async(std::launch::async, [this] { return connect(unix_options())->call_json("GET", "/wait"); });
  entered.wait();
  server_->stop(seconds{30});
  const auto answer = waiting.get();
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_TRUE(answer->at("stopped").as_bool());
  EXPECT_THAT(hear(idle), StartsWith("HTTP/1.1 200"));
  EXPECT_FALSE(connect(tls_options())->send({.target = "/hello"}));
  server_->stop(seconds{1});
}

TEST_F(ServerLifeTest, StopGivesUpOnAHandlerAfterItsGrace) {
  std::latch entered(1);
  std::latch leave(1);
  Router router;
  router.on("GET", "/wait", [&](const Request&) {
    entered.count_down();
    leave.wait();
    return Response::empty(200);
  });
  serve(std::move(router));
  auto waiting =
      std::async(std::launch::async, [this] { return connect(unix_options())->send({.target = "/wait"}); });
  entered.wait();
  server_->stop(milliseconds{10});
  // The caller is told at once, the handler ends when it ends.
  EXPECT_FALSE(waiting.get());
  leave.count_down();
  server_.reset();
}

TEST_F(ServerLifeTest, StartSaysWhatIsWrongWithItsOptions) {
  const auto error_of = [](ServerOptions options) {
    const auto server = Server::start(std::move(options), Router());
    EXPECT_FALSE(server);
    return server ? Error{} : server.error();
  };
  EXPECT_EQ(error_of({}).code, ErrorCode::invalid_argument);
  EXPECT_EQ(error_of({.tcp_address = "127.0.0.1"}).code, ErrorCode::invalid_argument);  // no TLS
  const Identity identity = issue_server(site_ca());
  const Identity other = issue_server(site_ca());
  EXPECT_THAT(
      error_of({.tcp_address = "127.0.0.1", .tls = {identity.certificate_pem, other.key_pem, ""}}).message,
      HasSubstr("do not go together"));
  EXPECT_THAT(
      error_of({.tcp_address = "nowhere", .tls = {identity.certificate_pem, identity.key_pem, ""}}).message,
      HasSubstr("\"nowhere\" is no IP address"));
  serve(hello_router());
  EXPECT_THAT(error_of({.tcp_address = "127.0.0.1",
                        .tcp_port = server_->tcp_port(),
                        .tls = {identity.certificate_pem, identity.key_pem, ""}})
                  .message,
              HasSubstr(fmt::format("listening on 127.0.0.1 port {}", server_->tcp_port())));
}

}  // namespace
}  // namespace bootseal::net::testing

#include <gmock/gmock.h>

#include "bootseal/base/fds.h"
#include "bootseal/net/client.h"
#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::HasSubstr;

class ConsoleTest : public SiteTest {
 protected:
  ConsoleTest() {
    start();
    net::ServerOptions options;
    options.unix_listener = listen_unix(folder_ / "controld.sock").value();
    server_ = net::Server::start(std::move(options), plane_->router()).value();
    net::ClientOptions client;
    client.unix_socket = folder_ / "controld.sock";
    client.base_url = "http://daemon";
    client_ = net::Client::create(std::move(client)).value();
  }
  ~ConsoleTest() override { server_.reset(); }

  std::unique_ptr<net::Server> server_;
  std::unique_ptr<net::Client> client_;
};

std::string read_until(net::WebSocket& socket, const std::string& wanted) {
  std::string text;
  while (text.find(wanted) == std::string::npos) {
    const auto message = socket.receive(std::chrono::seconds(20));
    if (!message) return text + " <" + message.error().message + ">";
    text += *message;
  }
  return text;
}

TEST_F(ConsoleTest, IsRelayedInBothDirections) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  auto socket = client_->open_websocket(vm("vm1") + "/console");
  ASSERT_TRUE(socket) << socket.error().message;
  EXPECT_EQ(read_until(**socket, "login: "), "login: ");
  ASSERT_TRUE((*socket)->send("root"));
  EXPECT_EQ(read_until(**socket, "root"), "echo root");
  (*socket)->close();
}

TEST_F(ConsoleTest, OfAVmThatIsNotThereIsRefused) {
  const auto socket = client_->open_websocket(vm("nobody") + "/console");
  ASSERT_FALSE(socket);
}

TEST_F(ConsoleTest, SaysThatTheHostIsAway) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  host_.stop();
  auto socket = client_->open_websocket(vm("vm1") + "/console");
  ASSERT_TRUE(socket) << socket.error().message;
  EXPECT_THAT(read_until(**socket, "cannot be reached"), HasSubstr("the console cannot be reached"));
}

}  // namespace
}  // namespace bootseal::api::testing

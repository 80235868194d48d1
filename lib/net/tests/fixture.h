// A server on a Unix socket and on TLS over loopback, clients for both, and raw connections to say anything
// to it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "bootseal/base/ids.h"
#include "bootseal/net/client.h"
#include "bootseal/net/server.h"
#include "certificates.h"

namespace bootseal::net::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(std::filesystem::temp_directory_path() / ("bsn-" + Guid::random().to_string())) {
    std::filesystem::create_directory(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The CA is made once for all tests.
inline const Identity& site_ca() {
  static const Identity ca = make_ca("Test site CA");
  return ca;
}

class ServedTest : public ::testing::Test {
 protected:
  // Serves with the router on both transports.
  void serve(Router router, ServerOptions options = {}) {
    auto listener = listen_unix(socket_path());
    ASSERT_TRUE(listener) << listener.error().describe();
    options.unix_listener = *std::move(listener);
    options.tcp_address = "127.0.0.1";
    const Identity identity = issue_server(site_ca());
    options.tls = {identity.certificate_pem, identity.key_pem, site_ca().certificate_pem};
    auto server = Server::start(std::move(options), std::move(router));
    ASSERT_TRUE(server) << server.error().describe();
    server_ = *std::move(server);
  }

  [[nodiscard]] std::filesystem::path socket_path() const { return folder_.path() / "http.sock"; }
  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(server_->tcp_port()); }

  [[nodiscard]] ClientOptions unix_options() const {
    return {.unix_socket = socket_path(), .base_url = "http://daemon"};
  }
  [[nodiscard]] ClientOptions tls_options() const {
    return {.base_url = url(), .ca_pem = site_ca().certificate_pem};
  }
  static std::unique_ptr<Client> connect(ClientOptions options) {
    auto client = Client::create(std::move(options));
    BOOTSEAL_CHECK(client.has_value());
    return *std::move(client);
  }

  // A connected Unix socket that has sent the text.
  [[nodiscard]] UniqueFd say(std::string_view text) const {
    auto socket = connect_unix(socket_path());
    BOOTSEAL_CHECK(socket.has_value() && write_all(socket->get(), as_bytes(text)).has_value());
    return *std::move(socket);
  }
  // All that comes until the server closes.
  static std::string hear(const UniqueFd& socket) {
    const auto bytes = read_to_end(socket.get(), std::size_t{1} << 24);
    return bytes ? std::string(as_text(*bytes)) : "error: " + bytes.error().message;
  }
  [[nodiscard]] std::string say_and_hear(std::string_view text) const { return hear(say(text)); }

  TemporaryFolder folder_;
  std::unique_ptr<Server> server_;
};

inline Router hello_router() {
  Router router;
  router.on("GET", "/hello", [](const Request&) {
    return Response::json(200, json::Object{{"greeting", "hello"}});
  });
  router.on("POST", "/echo", [](const Request& request) {
    return Response{.status = 200, .headers = {{"Content-Type", "text/plain"}}, .body = request.body};
  });
  return router;
}

}  // namespace bootseal::net::testing

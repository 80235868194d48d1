#include "client_websocket.h"

#include <fmt/format.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/websocket/error.hpp>
#include <future>

#include "tls.h"
#include "websocket_link.h"
#include "worker_pool.h"

namespace bootseal::net {
namespace {

using Resolver = asio::ip::basic_resolver<asio::ip::tcp, Executor>;

constexpr std::chrono::milliseconds kGoodbyeLimit{2000};

struct HostAndPort {
  std::string host;  // without the brackets of an IPv6 address
  std::string port;
  std::string header;  // as the Host header has it
};

Result<HostAndPort> parse_base_url(const std::string& url) {
  constexpr std::string_view kScheme = "https://";
  const std::string authority = url.substr(kScheme.size(), url.find('/', kScheme.size()) - kScheme.size());
  HostAndPort parsed{.host = authority, .port = "443", .header = authority};
  const std::size_t colon = authority.rfind(':');
  if (colon != std::string::npos && authority.find(']', colon) == std::string::npos) {
    parsed.host = authority.substr(0, colon);
    parsed.port = authority.substr(colon + 1);
  }
  if (parsed.host.starts_with('[') && parsed.host.ends_with(']'))
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
  if (parsed.host.empty() || parsed.port.empty()) {
    return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" names no host and port", url));
  }
  return parsed;
}

class ClientWebSocket final : public WebSocket {
 public:
  explicit ClientWebSocket(const ClientOptions& options) : options_(options), work_(loop_.get_executor()) {}

  ~ClientWebSocket() override {
    if (connected_) {
      link_->close();
      link_->wait_closed(kGoodbyeLimit);
    }
    work_.reset();
    loop_.stop();
    if (thread_.joinable()) thread_.join();
  }

  Status connect(const std::string& target);

  Result<std::string> receive(std::optional<std::chrono::milliseconds> limit) override {
    return link_->receive(limit);
  }
  Status send(std::string_view binary_message) override { return link_->send(binary_message); }
  void close() override { link_->close(); }

 private:
  void connect_unix();
  void connect_tls();
  void shake_hands(std::shared_ptr<WebSocketLink> link, std::string host);
  void give_up(Error error) { outcome_.set_value(tl::unexpected(std::move(error))); }
  [[nodiscard]] std::string address() const {
    return options_.unix_socket.empty() ? options_.base_url : options_.unix_socket.string();
  }
  [[nodiscard]] Error unreachable(const ErrorValue& error) const {
    return {ErrorCode::unavailable,
            fmt::format("WebSocket {} at {}: nobody answers; is the daemon running?: {}", target_, address(),
                        error.message()),
            nullptr};
  }

  const ClientOptions options_;
  std::string target_;
  HostAndPort server_;
  asio::io_context loop_{1};
  asio::executor_work_guard<Executor> work_;
  std::optional<asio::ssl::context> tls_;
  std::optional<UnixSocket> unix_;
  std::unique_ptr<TlsStream> stream_;
  std::optional<Resolver> resolver_;
  std::shared_ptr<WebSocketLink> link_;
  std::promise<Status> outcome_;  // of connect()
  bool connected_ = false;
  std::thread thread_;
};

Status ClientWebSocket::connect(const std::string& target) {
  target_ = target;
  if (options_.unix_socket.empty()) {
    BOOTSEAL_TRY(server_, parse_base_url(options_.base_url));
    BOOTSEAL_TRY(SslContext context, make_client_context(options_));
    tls_.emplace(context.release());
    stream_ = std::make_unique<TlsStream>(TcpSocket(loop_.get_executor()), *tls_);
    BOOTSEAL_TRY_STATUS(expect_host(stream_->native_handle(), server_.host));
  }
  std::future<Status> outcome = outcome_.get_future();
  asio::post(loop_, [this] { options_.unix_socket.empty() ? connect_tls() : connect_unix(); });
  thread_ = start_thread([this] { loop_.run(); });
  if (outcome.wait_for(options_.connect_limit) != std::future_status::ready) {
    return fail(ErrorCode::timeout, fmt::format("WebSocket {} at {}: no answer within {} ms", target_,
                                                address(), options_.connect_limit.count()));
  }
  BOOTSEAL_TRY_STATUS(outcome.get());
  connected_ = true;
  return {};
}

void ClientWebSocket::connect_unix() {
  unix_.emplace(loop_.get_executor());
  unix_->async_connect(options_.unix_socket.string(), [this](ErrorValue error) {
    if (error) return give_up(unreachable(error));
    shake_hands(make_websocket_link(std::move(*unix_)), "daemon");
  });
}

void ClientWebSocket::connect_tls() {
  resolver_.emplace(loop_.get_executor());
  resolver_->async_resolve(
      server_.host, server_.port, [this](ErrorValue error, Resolver::results_type results) {
        if (error) return give_up(unreachable(error));
        asio::async_connect(
            stream_->next_layer(), results, [this](ErrorValue refused, const asio::ip::tcp::endpoint&) {
              if (refused) return give_up(unreachable(refused));
              ErrorValue ignored;
              stream_->next_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
              stream_->async_handshake(asio::ssl::stream_base::client, [this](ErrorValue untrusted) {
                if (untrusted) {
                  return give_up({ErrorCode::unauthenticated,
                                  fmt::format("WebSocket {} at {}: TLS verification failed: {}", target_,
                                              address(), untrusted.message()),
                                  nullptr});
                }
                shake_hands(make_websocket_link(std::move(*stream_)), server_.header);
              });
            });
      });
}

void ClientWebSocket::shake_hands(std::shared_ptr<WebSocketLink> link, std::string host) {
  link_ = std::move(link);
  WebSocketLink::ClientHandshake request{.host = std::move(host), .target = target_, .headers = {}};
  if (!options_.bearer_token.empty())
    request.headers.emplace_back("Authorization", "Bearer " + options_.bearer_token);
  link_->handshake(std::move(request), [this](const WebSocketLink::HandshakeAnswer& answer) {
    if (!answer.error) {
      link_->run();
      return outcome_.set_value({});
    }
    if (answer.error == boost::beast::websocket::error::upgrade_declined) {
      return give_up(error_from_response(answer.status, answer.body));
    }
    // A TLS 1.3 server that refuses the client's certificate says so only now.
    const bool alert = answer.error.category() == asio::error::get_ssl_category();
    give_up({alert ? ErrorCode::unauthenticated : ErrorCode::unavailable,
             fmt::format("WebSocket {} at {}: {}", target_, address(), answer.error.message()), nullptr});
  });
}

}  // namespace

Result<std::unique_ptr<WebSocket>> connect_websocket(const ClientOptions& options,
                                                     const std::string& target) {
  if (!target.starts_with('/') || target.find_first_of(" \r\n") != std::string::npos) {
    return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" is no target of a WebSocket", target));
  }
  try {
    auto socket = std::make_unique<ClientWebSocket>(options);
    BOOTSEAL_TRY_STATUS(socket->connect(target));
    return socket;
  } catch (const std::exception& exception) {
    return fail(ErrorCode::unavailable, fmt::format("WebSocket {}: {}", target, exception.what()));
  }
}

}  // namespace bootseal::net

#include "transport.h"

#include <fmt/format.h>

#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include "bootseal/base/fds.h"
#include "tls.h"
#include "websocket_link.h"

namespace bootseal::net {
namespace {

class UnixTransport final : public Transport {
 public:
  explicit UnixTransport(UnixSocket socket) : socket_(std::move(socket)) {}

  void handshake(std::function<void(ErrorValue)> done) override {
    asio::post(socket_.get_executor(), [done = std::move(done)] { done({}); });
  }
  void read_some(asio::mutable_buffer room, Callback done) override {
    socket_.async_read_some(room, std::move(done));
  }
  void write(asio::const_buffer bytes, Callback done) override {
    asio::async_write(socket_, bytes, std::move(done));
  }
  void end_sending(std::function<void()> done) override {
    ErrorValue ignored;
    socket_.shutdown(UnixSocket::shutdown_send, ignored);
    asio::post(socket_.get_executor(), std::move(done));
  }
  void drain_some(asio::mutable_buffer room, Callback done) override { read_some(room, std::move(done)); }
  void cancel_read() override {
    ErrorValue ignored;
    socket_.cancel(ignored);
  }
  void close() override {
    ErrorValue ignored;
    socket_.close(ignored);
  }

  Peer peer() override {
    Peer peer;
    if (const auto credentials = peer_credentials(socket_.native_handle())) {
      peer.kind = Peer::Kind::unix_process;
      peer.uid = credentials->uid;
      peer.gid = credentials->gid;
      peer.pid = credentials->pid;
      peer.address = fmt::format("unix:uid={},pid={}", peer.uid, peer.pid);
    } else {
      peer.address = "unix:unknown";
    }
    return peer;
  }

  std::shared_ptr<WebSocketLink> to_websocket() override { return make_websocket_link(std::move(socket_)); }

 private:
  UnixSocket socket_;
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(TcpSocket socket, asio::ssl::context& tls) : stream_(std::move(socket), tls) {
    ErrorValue ignored;
    stream_.next_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
  }

  void handshake(std::function<void(ErrorValue)> done) override {
    stream_.async_handshake(asio::ssl::stream_base::server, std::move(done));
  }
  void read_some(asio::mutable_buffer room, Callback done) override {
    stream_.async_read_some(room, std::move(done));
  }
  void write(asio::const_buffer bytes, Callback done) override {
    asio::async_write(stream_, bytes, std::move(done));
  }
  void end_sending(std::function<void()> done) override {
    // It ends when the peer's close_notify is here too, or at the first thing that is none.
    stream_.async_shutdown([this, done = std::move(done)](ErrorValue) {
      ErrorValue ignored;
      stream_.next_layer().shutdown(TcpSocket::shutdown_send, ignored);
      done();
    });
  }
  void drain_some(asio::mutable_buffer room, Callback done) override {
    stream_.next_layer().async_read_some(room, std::move(done));
  }
  void cancel_read() override {
    ErrorValue ignored;
    stream_.next_layer().cancel(ignored);
  }
  void close() override {
    ErrorValue ignored;
    stream_.next_layer().close(ignored);
  }

  Peer peer() override {
    Peer peer;
    ErrorValue error;
    const auto endpoint = stream_.next_layer().remote_endpoint(error);
    if (!error) {
      const std::string address = endpoint.address().to_string();
      peer.address = endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                                : fmt::format("{}:{}", address, endpoint.port());
    }
    identify_client(stream_.native_handle(), peer);
    return peer;
  }

  std::shared_ptr<WebSocketLink> to_websocket() override { return make_websocket_link(std::move(stream_)); }

 private:
  TlsStream stream_;
};

}  // namespace

std::unique_ptr<Transport> make_unix_transport(UnixSocket socket) {
  return std::make_unique<UnixTransport>(std::move(socket));
}

std::unique_ptr<Transport> make_tls_transport(TcpSocket socket, asio::ssl::context& tls) {
  return std::make_unique<TlsTransport>(std::move(socket), tls);
}

}  // namespace bootseal::net

// A connected byte stream on the loop thread: a Unix socket, or TLS over TCP.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>

#include "bootseal/net/http.h"

namespace bootseal::net {

namespace asio = boost::asio;
using ErrorValue = boost::system::error_code;
using Executor = asio::io_context::executor_type;
using TcpSocket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using UnixSocket = asio::basic_stream_socket<asio::local::stream_protocol, Executor>;

class WebSocketLink;

// One read and one write at a time. The object must live until its callbacks have run.
class Transport {
 public:
  using Callback = std::function<void(ErrorValue, std::size_t)>;

  virtual ~Transport() = default;
  virtual void handshake(std::function<void(ErrorValue)> done) = 0;
  virtual void read_some(asio::mutable_buffer room, Callback done) = 0;
  virtual void write(asio::const_buffer bytes, Callback done) = 0;
  // Says that nothing more will be sent.
  virtual void end_sending(std::function<void()> done) = 0;
  // Reads below TLS, to let the peer finish after end_sending().
  virtual void drain_some(asio::mutable_buffer room, Callback done) = 0;
  // Ends the pending read with operation_aborted; writing is still possible.
  virtual void cancel_read() = 0;
  virtual void close() = 0;
  // Who is at the other end; after the handshake.
  virtual Peer peer() = 0;
  // The stream itself as a WebSocket that has not shaken hands yet; nothing else may be called afterwards.
  virtual std::shared_ptr<WebSocketLink> to_websocket() = 0;
};

std::unique_ptr<Transport> make_unix_transport(UnixSocket socket);
std::unique_ptr<Transport> make_tls_transport(TcpSocket socket, asio::ssl::context& tls);

}  // namespace bootseal::net

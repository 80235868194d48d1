// A WebSocket whose frames are moved on the loop thread and whose messages are taken and given by other
// threads.
#pragma once

#include <boost/asio/ssl/stream.hpp>
#include <functional>
#include <memory>
#include <string>

#include "bootseal/net/server.h"
#include "request_reader.h"
#include "transport.h"

namespace bootseal::net {

using TlsStream = asio::ssl::stream<TcpSocket>;

inline constexpr std::size_t kMaxMessageBytes = std::size_t{1} << 20;

class WebSocketLink {
 public:
  struct ClientHandshake {
    std::string host;
    std::string target;
    HeaderList headers;
  };
  // On a refusal `error` is set, and `status` and `body` are those of the answer when one came.
  struct HandshakeAnswer {
    ErrorValue error;
    int status = 0;
    std::string body;
  };

  virtual ~WebSocketLink() = default;

  // On the loop thread.
  virtual void accept(RequestReader::Message request, std::string request_id,
                      std::function<void(ErrorValue)> done) = 0;
  virtual void handshake(ClientHandshake request, std::function<void(HandshakeAnswer)> done) = 0;
  // Begins to read; after the handshake.
  virtual void run() = 0;
  // Closes the socket without a word.
  virtual void abort() = 0;

  // On any thread but the loop's.
  virtual Result<std::string> receive(std::optional<std::chrono::milliseconds> limit) = 0;
  virtual Status send(std::string_view message) = 0;
  // Says goodbye; returns at once.
  virtual void close() = 0;
  // Waits until the closing handshake is over; false at the limit.
  virtual bool wait_closed(std::chrono::milliseconds limit) = 0;
};

std::shared_ptr<WebSocketLink> make_websocket_link(UnixSocket stream);
std::shared_ptr<WebSocketLink> make_websocket_link(TlsStream stream);

// The link as a user sees it; closes it on destruction.
std::unique_ptr<WebSocket> make_websocket(std::shared_ptr<WebSocketLink> link);

}  // namespace bootseal::net

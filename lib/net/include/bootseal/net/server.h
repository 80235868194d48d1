// HTTP/1.1 over TLS or Unix sockets.
//
// Handlers run on a pool of worker threads and may block; the loop thread never does. Limits are enforced
// before a handler sees anything. A request with `Upgrade: websocket` on a path given to on_websocket()
// becomes a WebSocket.
#pragma once

#include <unistd.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bootseal/base/fds.h"
#include "bootseal/net/http.h"

namespace bootseal::net {

struct TlsServerSettings {
  std::string certificate_chain_pem;
  std::string private_key_pem;
  std::string client_ca_pem;  // client certificates are asked for, and must chain to this when one comes;
                              // empty = not asked
};

struct ServerOptions {
  // One or both. The Unix listener is a listening descriptor made by the caller (before it dropped its
  // rights).
  UniqueFd unix_listener;
  std::string tcp_address;     // "127.0.0.1"; empty = no TCP
  std::uint16_t tcp_port = 0;  // 0 = any free port, see Server::tcp_port()
  UniqueFd tcp_listener;       // a listening descriptor made by the caller; then tcp_address is not used
  TlsServerSettings tls;       // for TCP; TCP without TLS is refused

  std::size_t header_bytes = 32 << 10;
  std::size_t body_bytes = std::size_t{4} << 20;
  std::chrono::seconds handshake_limit{5};  // TLS, from the connection on
  std::chrono::seconds header_limit{10};    // from the handshake, later from a request's first byte, to the
                                            // end of its header (slow-loris); at most read_limit
  std::chrono::seconds read_limit{30};      // from there to the end of the request
  std::chrono::seconds idle_limit{120};     // between requests of a kept connection
  // Of Unix sockets and of TCP, each. When all places are taken, a new connection takes that of one which
  // waits for its peer: first of those that have not had a request answered other than with 401 or 403.
  std::size_t connections = 448;
  // So many of them for one user of this machine (uid 0 and `unlimited_uids` apart) and for one address (of
  // IPv6, one /64); beyond that a new connection takes the place of another one of the same peer.
  std::size_t connections_per_uid = 64;
  std::size_t connections_per_address = 128;
  std::vector<uid_t> unlimited_uids = {::geteuid()};
  std::size_t workers = 8;
  std::size_t websockets = 64;
};

// A WebSocket as both ends use it; each call may be made from its own thread (one reader, one writer).
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  // The next binary or text message; unavailable after the peer closed, timeout at the limit (nullopt =
  // none).
  virtual Result<std::string> receive(std::optional<std::chrono::milliseconds> limit) = 0;
  virtual Status send(std::string_view binary_message) = 0;
  // Ends both directions; wakes a blocked receive().
  virtual void close() = 0;
};

using Handler = std::function<Response(const Request&)>;
// Runs on a thread of its own until it returns; the connection ends with it. Where the client offers
// subprotocols (browsers do), the first one is accepted.
using WebSocketHandler = std::function<void(const Request&, std::unique_ptr<WebSocket>)>;

// Routes by method and path template ("/v1/vms/{id}"), compared without regard to case of the fixed segments.
// A last segment
// "{rest...}" takes one or more segments. Of several templates that match, fixed segments win over parameters
// from left to right. HEAD is served by GET where it has no handler of its own. An unknown path is 404
// NotFound, a known path with another method 405 with Allow. Fill it in before it is used: the const calls
// are thread safe.
class Router {
 public:
  void on(std::string method, std::string path_template, Handler handler);
  // `authorise` runs first on the request; an error is answered instead of the upgrade.
  void on_websocket(std::string path_template, std::function<Status(const Request&)> authorise,
                    WebSocketHandler handler);
  // Runs before every handler (also before 404); a returned response is sent instead.
  void before(std::function<std::optional<Response>(Request&)> filter);
  [[nodiscard]] Response handle(Request& request) const;

 private:
  friend struct RouterAccess;
  struct Route;
  std::vector<std::shared_ptr<const Route>> routes_;
  std::vector<std::function<std::optional<Response>(Request&)>> filters_;
};

class Server {
 public:
  // Listens and serves until stop() or destruction. Destruction waits for the handlers that still run (see
  // Request::stop). Errors: invalid_argument (bad PEM, no listener), as fail_errno for sockets.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Router router);
  virtual ~Server() = default;
  [[nodiscard]] virtual std::uint16_t tcp_port() const = 0;
  // Takes no new requests, requests Request::stop, lets running handlers end and answer for at most `grace`,
  // closes WebSockets. May be called more than once, and from a handler.
  virtual void stop(std::chrono::milliseconds grace) = 0;
};

}  // namespace bootseal::net

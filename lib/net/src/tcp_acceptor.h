// The socket on which a server waits for TCP connections.
#pragma once

#include "bootseal/net/server.h"
#include "transport.h"

namespace bootseal::net {

using TcpAcceptor = asio::basic_socket_acceptor<asio::ip::tcp, Executor>;

// Opens `acceptor` on the listener or the address of `options`, and returns its port. A listener is taken out
// of `options` once it is used. Errors: invalid_argument for an address that is none, as fail_errno.
Result<std::uint16_t> open_tcp_acceptor(ServerOptions& options, TcpAcceptor& acceptor);

}  // namespace bootseal::net

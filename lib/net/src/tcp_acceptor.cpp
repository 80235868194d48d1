#include "tcp_acceptor.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>

namespace bootseal::net {

Result<std::uint16_t> open_tcp_acceptor(ServerOptions& options, TcpAcceptor& acceptor) {
  ErrorValue error;
  std::string what = "using the TCP listener";
  if (options.tcp_listener.valid()) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(options.tcp_listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      return fail_errno(errno, what);
    }
    acceptor.assign(address.ss_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4(),
                    options.tcp_listener.get(), error);
    if (error) return fail_errno(error.value(), what);
    static_cast<void>(options.tcp_listener.release());
  } else {
    what = fmt::format("listening on {} port {}", options.tcp_address, options.tcp_port);
    const auto address = asio::ip::make_address(options.tcp_address, error);
    if (error) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("\"{}\" is no IP address to listen on", options.tcp_address));
    }
    const asio::ip::tcp::endpoint endpoint(address, options.tcp_port);
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  }
  std::uint16_t port = 0;
  if (!error) acceptor.non_blocking(true, error);
  if (!error) port = acceptor.local_endpoint(error).port();
  if (error) return fail_errno(error.value(), what);
  return port;
}

}  // namespace bootseal::net

#include "listener.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>

namespace bootseal::controld {
namespace {

constexpr int kBacklog = 128;
constexpr std::size_t kPortFileSize = 16;

struct Address {
  std::string text;
  std::uint16_t port = 0;
};

Result<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::invalid_argument, fmt::format("'{}' is not a port (0 to 65535)", text));
  }
  return port;
}

Result<Address> parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  const auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("BOOTSEAL_LISTEN='{}' is not ADDRESS:PORT{}; wanted for example {}", text, why,
                            kDefaultListen));
  };
  if (colon == std::string::npos) return refuse("");
  Address address;
  address.text = text.substr(0, colon);
  if (address.text.starts_with('[') && address.text.ends_with(']'))
    address.text = address.text.substr(1, address.text.size() - 2);
  in6_addr unused{};
  if (::inet_pton(AF_INET, address.text.c_str(), &unused) != 1 &&
      ::inet_pton(AF_INET6, address.text.c_str(), &unused) != 1)
    return refuse(fmt::format(" ('{}' is not an IPv4 or IPv6 address)", address.text));
  const auto port = parse_port(std::string_view(text).substr(colon + 1));
  if (!port) return refuse(fmt::format(" ({})", port.error().message));
  address.port = *port;
  return address;
}

Result<UniqueFd> bind_to(const Address& address) {
  sockaddr_storage storage{};
  socklen_t size = 0;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (::inet_pton(AF_INET, address.text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, address.text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    size = sizeof *v6;
  } else {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not an IPv4 or IPv6 address", address.text));
  }
  UniqueFd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail_errno(errno, "making a TCP socket");
  const int on = 1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
    return fail_errno(errno, "setting SO_REUSEADDR");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    if (errno == EADDRINUSE) {
      return fail(
          ErrorCode::conflict,
          fmt::format("port {} of {} is in use by another program; end that one, or set BOOTSEAL_LISTEN to "
                      "another ADDRESS:PORT",
                      address.port, address.text));
    }
    return fail_errno(errno, fmt::format("listening on {}:{} (set BOOTSEAL_LISTEN to another ADDRESS:PORT)",
                                         address.text, address.port));
  }
  return fd;
}

Result<std::uint16_t> port_of(const UniqueFd& fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0)
    return fail_errno(errno, "asking for the port of the listener");
  return storage.ss_family == AF_INET ? ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port)
                                      : ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
}

}  // namespace

std::string TcpListener::endpoint() const {
  if (address == "0.0.0.0") return fmt::format("https://127.0.0.1:{}", port);
  if (address == "::") return fmt::format("https://[::1]:{}", port);
  return address.find(':') == std::string::npos ? fmt::format("https://{}:{}", address, port)
                                                : fmt::format("https://[{}]:{}", address, port);
}

Result<TcpListener> open_tcp_listener(const std::string& text, const std::filesystem::path& folder) {
  BOOTSEAL_TRY(Address address, parse_address(text));
  const std::filesystem::path kept = folder / "port";
  const bool any_port = address.port == 0;
  if (any_port) {
    if (const auto content = read_file(kept, kPortFileSize)) {
      if (const auto port = parse_port(as_text(*content))) address.port = *port;
    }
  }
  TcpListener listener;
  BOOTSEAL_TRY(listener.fd, bind_to(address));
  BOOTSEAL_TRY(listener.port, port_of(listener.fd));
  listener.address = address.text;
  if (any_port) {
    BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
    BOOTSEAL_TRY_STATUS(replace_file(kept, as_bytes(std::to_string(listener.port))));
  }
  return listener;
}

}  // namespace bootseal::controld

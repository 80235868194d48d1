#include "channels.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "option_string.h"

namespace bootseal::swtpm {
namespace {

constexpr int kHighestPort = 0xFFFF;
constexpr mode_t kSocketMode = 0770;
constexpr int kBacklog = 4;

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message));
}

Result<UniqueFd> inherited_socket(int fd, std::string_view what) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode))
    return bad(fmt::format("Bad filedescriptor {} for {}", fd, what));
  return UniqueFd(fd);
}

// Where an old one was; whoever may connect to it owns the TPM, so that its mode is set before it listens.
Result<UniqueFd> listen_at(const std::filesystem::path& path, mode_t mode, uid_t uid, gid_t gid) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof(address.sun_path))
    return bad(fmt::format("Path for UnixIO socket is too long: {}", path.native()));
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  ::unlink(path.c_str());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail_errno(errno, fmt::format("Could not open UnixIO socket {}", path.native()));
  if (::chmod(path.c_str(), mode) != 0)
    return fail_errno(errno, "Could not change permissions on UnixIO socket");
  if ((uid != static_cast<uid_t>(-1) || gid != static_cast<gid_t>(-1)) &&
      ::chown(path.c_str(), uid, gid) != 0)
    return fail_errno(errno, fmt::format("Could not change ownership of UnixIO socket to {}:{}", uid, gid));
  if (::listen(fd.get(), kBacklog) != 0) return fail_errno(errno, "Cannot listen on UnixIO socket");
  return fd;
}

Result<UniqueFd> listen_tcp(int port, const std::string& address,
                            const std::optional<std::string>& interface) {
  sockaddr_in ipv4{};
  sockaddr_in6 ipv6{};
  const bool is_ipv6 = address.find(':') != std::string::npos;
  ipv4.sin_family = AF_INET;
  ipv6.sin6_family = AF_INET6;
  ipv4.sin_port = ipv6.sin6_port = htons(static_cast<std::uint16_t>(port));
  void* target = is_ipv6 ? static_cast<void*>(&ipv6.sin6_addr) : &ipv4.sin_addr;
  if (::inet_pton(is_ipv6 ? AF_INET6 : AF_INET, address.c_str(), target) != 1)
    return bad(fmt::format("Could not parse the bind address '{}'", address));
  if (is_ipv6 && IN6_IS_ADDR_LINKLOCAL(&ipv6.sin6_addr)) {
    if (!interface) return bad("Missing interface name for link local address");
    ipv6.sin6_scope_id = ::if_nametoindex(interface->c_str());
    if (ipv6.sin6_scope_id == 0)
      return fail_errno(errno, fmt::format("Could not convert interface name '{}' to index", *interface));
  }
  UniqueFd fd(::socket(is_ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  const auto* socket_address =
      is_ipv6 ? reinterpret_cast<const sockaddr*>(&ipv6) : reinterpret_cast<const sockaddr*>(&ipv4);
  const auto size = static_cast<socklen_t>(is_ipv6 ? sizeof(ipv6) : sizeof(ipv4));
  if (!fd.valid() || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      ::bind(fd.get(), socket_address, size) != 0 || ::listen(fd.get(), kBacklog) != 0)
    return fail_errno(errno, fmt::format("Could not open TCP socket at {} port {}", address, port));
  return fd;
}

Result<UniqueFd> listen_tcp(const OptionString& options, int port) {
  if (port > kHighestPort) return bad("TCP port outside valid range");
  return listen_tcp(port, options.text("bindaddr").value_or("127.0.0.1"), options.text("ifname"));
}

Result<Channel> unix_channel(const OptionString& options, std::string_view what) {
  Channel channel;
  if (const auto fd = options.number("fd")) {
    BOOTSEAL_TRY(channel.listener, inherited_socket(*fd, what));
    return channel;
  }
  const auto path = options.text("path");
  if (!path) return bad(fmt::format("Missing path and fd options for {}", what));
  std::error_code error;
  channel.path = std::filesystem::absolute(*path, error);
  BOOTSEAL_TRY(channel.listener, listen_at(*path, options.mode("mode").value_or(kSocketMode),
                                           options.user("uid"), options.group("gid")));
  return channel;
}

}  // namespace

Result<Channel> open_control_channel(std::string_view option) {
  constexpr std::array kRules = {
      OptionRule{"type", OptionKind::text},       OptionRule{"path", OptionKind::text},
      OptionRule{"port", OptionKind::number},     OptionRule{"bindaddr", OptionKind::text},
      OptionRule{"ifname", OptionKind::text},     OptionRule{"fd", OptionKind::number},
      OptionRule{"clientfd", OptionKind::number}, OptionRule{"mode", OptionKind::mode},
      OptionRule{"uid", OptionKind::user},        OptionRule{"gid", OptionKind::group},
      OptionRule{"terminate", OptionKind::truth}};
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(option, kRules));
  const auto type = options.text("type");
  if (!type) return bad("Missing type parameter for control channel");
  const auto open = [&]() -> Result<Channel> {
    Channel channel;
    if (*type == "unixio") {
      const auto client = options.number("clientfd");
      if (options.number("fd") || !client) return unix_channel(options, "UnixIO control channel");
      BOOTSEAL_TRY(channel.client, inherited_socket(*client, "UnixIO client control channel"));
      return channel;
    }
    if (*type != "tcp") return bad(fmt::format("Unsupport control channel type: {}", *type));
    const auto port = options.number("port");
    if (const auto fd = options.number("fd")) {
      BOOTSEAL_TRY(channel.listener, inherited_socket(*fd, "TCP control channel"));
    } else if (port) {
      BOOTSEAL_TRY(channel.listener, listen_tcp(options, *port));
    } else {
      return bad("Missing port and fd options for TCP control channel");
    }
    return channel;
  };
  BOOTSEAL_TRY(Channel channel, open());
  channel.terminate = options.truth("terminate");
  return channel;
}

Result<Channel> open_data_channel(std::string_view option, std::string_view port) {
  constexpr std::array kRules = {
      OptionRule{"type", OptionKind::text},        OptionRule{"path", OptionKind::text},
      OptionRule{"port", OptionKind::number},      OptionRule{"bindaddr", OptionKind::text},
      OptionRule{"ifname", OptionKind::text},      OptionRule{"fd", OptionKind::number},
      OptionRule{"disconnect", OptionKind::truth}, OptionRule{"mode", OptionKind::mode},
      OptionRule{"uid", OptionKind::user},         OptionRule{"gid", OptionKind::group}};
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(option, kRules));
  const std::string type = options.text("type").value_or("tcp");
  const auto open = [&]() -> Result<Channel> {
    if (type == "unixio") return unix_channel(options, "UnixIO socket");
    if (type != "tcp") return bad(fmt::format("Unsupport socket type: {}", type));
    Channel channel;
    if (const auto fd = options.number("fd")) {
      BOOTSEAL_TRY(channel.client, inherited_socket(*fd, "TCP socket"));
      return channel;
    }
    const auto given = parse_number(port, 10, kHighestPort);
    const auto number = options.number("port");
    if (!number && !given) return bad("No valid port number provided for TCP socket.");
    BOOTSEAL_TRY(channel.listener, listen_tcp(options, number ? *number : static_cast<int>(*given)));
    return channel;
  };
  BOOTSEAL_TRY(Channel channel, open());
  channel.disconnect = options.truth("disconnect");
  return channel;
}

}  // namespace bootseal::swtpm

#include "listen_address.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "bootseal/base/fds.h"
#include "daemons.h"

namespace bootseal::app {
namespace {

constexpr const char* kDefault = "127.0.0.1:8443";
constexpr unsigned long kHighestPort = 65535;
constexpr std::size_t kPortDigits = 5;

}  // namespace

Status check_listen_address(const Paths& paths) {
  const char* set = std::getenv("BOOTSEAL_LISTEN");
  const std::string text = set != nullptr ? set : kDefault;
  const auto refused = fail(
      ErrorCode::invalid_argument,
      fmt::format("BOOTSEAL_LISTEN='{}' is not ADDRESS:PORT with a numeric address and a port of 0 to {}; "
                  "wanted for example {}",
                  text, kHighestPort, kDefault));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return refused;
  const std::string port = text.substr(colon + 1);
  if (port.empty() || port.size() > kPortDigits ||
      !std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; }) ||
      std::stoul(port) > kHighestPort)
    return refused;
  std::string address = text.substr(0, colon);
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (address.empty() || ::getaddrinfo(address.c_str(), port.c_str(), &hints, &found) != 0) return refused;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> result(found, ::freeaddrinfo);
  if (running_process(paths, "controld")) return {};
  const UniqueFd fd(::socket(result->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail_errno(errno, "making a TCP socket");
  const int on = 1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
    return fail_errno(errno, "setting SO_REUSEADDR");
  if (::bind(fd.get(), result->ai_addr, result->ai_addrlen) == 0 && ::listen(fd.get(), 1) == 0) return {};
  if (errno == EADDRINUSE)
    return fail(
        ErrorCode::conflict,
        fmt::format("port {} of {} is in use by another program; end that one, or set BOOTSEAL_LISTEN "
                    "to another ADDRESS:PORT",
                    port, address));
  return fail_errno(errno,
                    fmt::format("listening on {} (set BOOTSEAL_LISTEN to another ADDRESS:PORT)", text));
}

}  // namespace bootseal::app

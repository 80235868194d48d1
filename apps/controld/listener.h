// The TCP address that clients reach the control plane at.
#pragma once

#include <filesystem>
#include <string>

#include "bootseal/base/fds.h"

namespace bootseal::controld {

inline constexpr std::string_view kDefaultListen = "127.0.0.1:8443";

struct TcpListener {
  UniqueFd fd;
  std::string address;  // numeric, "127.0.0.1"
  std::uint16_t port = 0;

  // "https://127.0.0.1:8443"; a wildcard address is named by the loopback one.
  [[nodiscard]] std::string endpoint() const;
};

// Binds "ADDRESS:PORT" ("[::1]:8443" for IPv6). Port 0 takes any free port the first time and the same one
// from then on: it is kept in `folder`/port, since clients remember it. Errors: invalid_argument for a
// malformed text, as fail_errno.
Result<TcpListener> open_tcp_listener(const std::string& text, const std::filesystem::path& folder);

}  // namespace bootseal::controld

#include "connections.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>

namespace bootseal::netd {
namespace {

constexpr std::size_t kMostWaiting = 256 * 1024;
constexpr std::chrono::seconds kConnectLimit{5};
constexpr std::uint32_t kConnectRetry = 5;  // milliseconds

}  // namespace

bool Connections::add(UniqueFd client, std::string name) {
  if (connections_.size() >= kMostConnections || ::fcntl(client.get(), F_SETFL, O_NONBLOCK) != 0)
    return false;
  Connection connection;
  connection.client = std::move(client);
  connection.name = std::move(name);
  connection.since = std::chrono::steady_clock::now();
  connections_.push_back(std::move(connection));
  connect(connections_.back());
  return true;
}

// libslirp's listener has room for one connection: the others try again when it has taken that.
void Connections::connect(Connection& connection) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  connection.name.copy(address.sun_path, sizeof(address.sun_path) - 1);
  UniqueFd guest(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (guest.valid() &&
      ::connect(guest.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    connection.guest = std::move(guest);
    return;
  }
  connection.failed = errno != EAGAIN || std::chrono::steady_clock::now() - connection.since > kConnectLimit;
}

void Connections::prepare(PollSet& set, std::uint32_t& milliseconds) {
  for (Connection& each : connections_) {
    each.client_index = each.guest_index = -1;
    if (!each.guest.valid()) {
      milliseconds = std::min(milliseconds, kConnectRetry);
      continue;
    }
    const auto wanted = [](const Pipe& in, const Pipe& out) {
      return static_cast<short>((!in.ended && in.waiting.size() < kMostWaiting ? POLLIN : 0) |
                                (out.waiting.empty() ? 0 : POLLOUT));
    };
    // A descriptor that nothing is wanted of would report its hang-up again and again.
    if (const short events = wanted(each.to_guest, each.to_client); events != 0)
      each.client_index = set.add(each.client.get(), events);
    if (const short events = wanted(each.to_client, each.to_guest); events != 0)
      each.guest_index = set.add(each.guest.get(), events);
  }
}

// False when the connection is broken.
bool Connections::read(int fd, Pipe& pipe) {
  std::array<char, 65536> buffer;
  const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) pipe.ended = true;
  pipe.waiting.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

bool Connections::write(int fd, Pipe& pipe) {
  if (!pipe.waiting.empty()) {
    const ssize_t done = ::send(fd, pipe.waiting.data(), pipe.waiting.size(), MSG_NOSIGNAL);
    if (done < 0) return errno == EAGAIN || errno == EINTR;
    pipe.waiting.erase(0, static_cast<std::size_t>(done));
  }
  if (pipe.ended && pipe.waiting.empty() && !pipe.shut_down) {
    pipe.shut_down = true;
    ::shutdown(fd, SHUT_WR);
  }
  return true;
}

void Connections::handle_one(Connection& connection, short client, short guest) {
  constexpr short kReadable = POLLIN | POLLHUP | POLLERR;
  Pipe &out = connection.to_guest, &back = connection.to_client;
  bool good = true;
  if ((client & kReadable) != 0 && !out.ended) good = good && read(connection.client.get(), out);
  if ((guest & kReadable) != 0 && !back.ended) good = good && read(connection.guest.get(), back);
  good = good && write(connection.guest.get(), out) && write(connection.client.get(), back);
  connection.failed = !good || (out.shut_down && back.shut_down);
}

void Connections::handle(const PollSet& set) {
  for (Connection& each : connections_) {
    if (each.guest.valid()) {
      handle_one(each, set.events_of(each.client_index), set.events_of(each.guest_index));
    } else {
      connect(each);
    }
  }
  std::erase_if(connections_, [](const Connection& each) { return each.failed; });
}

}  // namespace bootseal::netd

#include "connection.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace bootseal::guest {

Connection::Connection(UniqueFd socket) : socket_(std::move(socket)) {
  struct stat status {};
  is_socket_ = ::fstat(fd(), &status) != 0 || S_ISSOCK(status.st_mode);
  if (!is_socket_) static_cast<void>(make_nonblocking(fd()));  // a device that refuses is read after poll()
}

std::optional<ByteSpan> Connection::receive() {
  if (input_ == nullptr) input_ = std::make_unique_for_overwrite<std::byte[]>(kReadSize);
  if (!is_socket_) {
    pollfd entry{fd(), POLLIN, 0};
    if (::poll(&entry, 1, 0) <= 0) return ByteSpan();
  }
  const ssize_t count = is_socket_ ? ::recv(fd(), input_.get(), kReadSize, MSG_DONTWAIT)
                                   : ::read(fd(), input_.get(), kReadSize);
  if (count > 0) return ByteSpan(input_.get(), static_cast<std::size_t>(count));
  if (count < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) return ByteSpan();
  return std::nullopt;
}

std::optional<ReceivedWithFd> Connection::receive_with_fd() {
  auto received = receive_with_fd_now(fd(), kReadSize);
  if (!received) return std::nullopt;
  if (!*received) return ReceivedWithFd{};
  if ((*received)->data.empty()) return std::nullopt;
  return **std::move(received);
}

bool Connection::send_pending() {
  std::size_t sent = 0;
  bool alive = true;
  while (sent < output_.size()) {
    const ssize_t count =
        is_socket_ ? ::send(fd(), output_.data() + sent, output_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT)
                   : ::write(fd(), output_.data() + sent, output_.size() - sent);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      alive = errno == EAGAIN || errno == EWOULDBLOCK;
      break;
    }
    sent += static_cast<std::size_t>(count);
  }
  output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(sent));
  return alive;
}

bool Connection::hung_up() const {
  pollfd entry{fd(), POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

std::optional<UniqueFd> accept_client(int listener) {
  for (;;) {
    UniqueFd client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (client.valid()) return client;
    if (errno != EINTR && errno != ECONNABORTED) return std::nullopt;
  }
}

Status make_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return fail_errno(errno, "making a descriptor non-blocking");
  return {};
}

}  // namespace bootseal::guest

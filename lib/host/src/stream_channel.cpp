#include "bootseal/host/stream_channel.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace bootseal::host {
namespace {

Error error_of_errno(int value, std::string_view what) {
  // A peer that ends with bytes of ours unread.
  if (value == ECONNRESET || value == EPIPE)
    return {ErrorCode::unavailable, "the peer closed the connection", nullptr};
  return fail_errno(value, what).value();
}

// As send(), with a descriptor beside the first byte.
ssize_t send_beside(int socket, std::string_view bytes, int descriptor) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  return ::sendmsg(socket, &message, MSG_NOSIGNAL);
}

}  // namespace

Status LineSplitter::feed(std::string_view data, const std::function<void(std::string_view line)>& on_line) {
  while (!data.empty()) {
    const std::size_t end = data.find('\n');
    const std::string_view piece = data.substr(0, end);
    if (partial_.size() + piece.size() > maximum_) {
      partial_.clear();
      return fail(ErrorCode::corrupt, fmt::format("a line of more than {} bytes came", maximum_));
    }
    if (end == std::string_view::npos) {
      partial_ += piece;
      return {};
    }
    data.remove_prefix(end + 1);
    std::string whole;
    std::string_view line = piece;
    if (!partial_.empty()) {
      whole = std::move(partial_);
      partial_.clear();
      whole += piece;
      line = whole;
    }
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) on_line(line);
  }
  return {};
}

Result<std::shared_ptr<StreamChannel>> StreamChannel::open(EventLoop& loop, UniqueFd socket,
                                                           std::size_t maximum_queued, Handlers handlers) {
  const int fd = socket.get();
  if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return fail_errno(errno, "preparing a connection");
  std::shared_ptr<StreamChannel> channel(
      new StreamChannel(loop, std::move(socket), maximum_queued, std::move(handlers)));
  Status watched;
  loop.run([&]() {
    watched = loop.watch(fd, EPOLLIN, [weak = std::weak_ptr(channel)](std::uint32_t events) {
      if (const auto self = weak.lock()) self->on_events(events);
    });
  });
  BOOTSEAL_TRY_STATUS(watched);
  return channel;
}

StreamChannel::~StreamChannel() {
  if (!socket_.valid()) return;
  // The last owner may be on any thread; the loop forgets the descriptor before it is closed.
  const auto fd = std::make_shared<UniqueFd>(std::move(socket_));
  loop_.post([&loop = loop_, fd]() { loop.forget(fd->get()); });
}

void StreamChannel::send(std::string bytes) {
  loop_.post(
      [self = shared_from_this(), bytes = std::move(bytes)]() mutable { self->queue(std::move(bytes)); });
}

void StreamChannel::send_with_descriptor(std::string bytes, UniqueFd descriptor) {
  // A task is copied: what it holds must be.
  const auto shared = std::make_shared<UniqueFd>(std::move(descriptor));
  loop_.post([self = shared_from_this(), bytes = std::move(bytes), shared]() mutable {
    if (!self->socket_.valid()) return;
    if (self->descriptor_.valid())
      return self->fail_with(Error{ErrorCode::exhausted, "the peer left a descriptor untaken", nullptr});
    self->descriptor_ = std::move(*shared);
    self->descriptor_at_ = self->queue_.size();
    self->queue(std::move(bytes));
  });
}

void StreamChannel::queue(std::string bytes) {
  if (!socket_.valid()) return;
  if (queue_.size() + bytes.size() > maximum_queued_) {
    fail_with(
        Error{ErrorCode::exhausted, fmt::format("the peer left {} bytes unread", queue_.size()), nullptr});
    return;
  }
  queue_ += bytes;
  write_some();
}

void StreamChannel::close() {
  loop_.post([self = shared_from_this()]() { self->drop(); });
}

void StreamChannel::pause(std::chrono::milliseconds time) {
  if (paused_) return;
  paused_ = true;
  update_interest();
  loop_.post_after(time, [weak = weak_from_this()]() {
    if (const auto self = weak.lock()) {
      self->paused_ = false;
      self->update_interest();
    }
  });
}

void StreamChannel::on_events(std::uint32_t events) {
  const auto self = shared_from_this();
  // A peer that floods and hangs up gets no more attention: epoll reports the hang-up again and again.
  if (paused_ && (events & (EPOLLHUP | EPOLLERR)) != 0)
    return fail_with(Error{ErrorCode::unavailable, "the peer closed the connection", nullptr});
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !paused_) read_some();
  if ((events & EPOLLOUT) != 0 && socket_.valid()) write_some();
}

void StreamChannel::read_some() {
  std::array<char, 65536> buffer;
  const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got < 0) return fail_with(error_of_errno(errno, "reading from a connection"));
  if (got == 0) return fail_with(Error{ErrorCode::unavailable, "the peer closed the connection", nullptr});
  if (handlers_.data) handlers_.data(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
}

void StreamChannel::write_some() {
  while (!queue_.empty()) {
    const bool with_descriptor = descriptor_.valid() && descriptor_at_ == 0;
    const std::size_t size = descriptor_.valid() && !with_descriptor ? descriptor_at_ : queue_.size();
    const ssize_t done = with_descriptor
                             ? send_beside(socket_.get(), {queue_.data(), size}, descriptor_.get())
                             : ::send(socket_.get(), queue_.data(), size, MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0 && errno == EAGAIN) break;
    if (done < 0) return fail_with(error_of_errno(errno, "writing to a connection"));
    queue_.erase(0, static_cast<std::size_t>(done));
    if (with_descriptor) {
      descriptor_.reset();
    } else if (descriptor_.valid()) {
      descriptor_at_ -= static_cast<std::size_t>(done);
    }
  }
  update_interest();
}

void StreamChannel::update_interest() {
  if (!socket_.valid()) return;
  loop_.change(socket_.get(), (paused_ ? 0U : static_cast<unsigned>(EPOLLIN)) |
                                  (queue_.empty() ? 0U : static_cast<unsigned>(EPOLLOUT)));
}

void StreamChannel::fail_with(const Error& reason) {
  if (!socket_.valid()) return;
  const auto closed = std::move(handlers_.closed);
  drop();
  if (closed) closed(reason);
}

void StreamChannel::drop() {
  if (!socket_.valid()) return;
  loop_.forget(socket_.get());
  socket_.reset();
  queue_.clear();
  descriptor_.reset();
  // Callbacks may hold what holds this channel.
  handlers_ = {};
}

LineChannel::LineChannel(std::size_t maximum_line, std::optional<LineRate> rate, Handlers handlers)
    : splitter_(maximum_line), handlers_(std::move(handlers)) {
  if (!rate) return;
  const auto now = std::chrono::steady_clock::now();
  lines_.emplace(rate->per_second, rate->burst, now);
  bytes_.emplace(rate->bytes_per_second, rate->burst_bytes, now);
}

Result<std::shared_ptr<LineChannel>> LineChannel::open(EventLoop& loop, UniqueFd socket,
                                                       std::size_t maximum_line, std::optional<LineRate> rate,
                                                       Handlers handlers) {
  std::shared_ptr<LineChannel> channel(new LineChannel(maximum_line, rate, std::move(handlers)));
  const std::weak_ptr weak(channel);
  StreamChannel::Handlers stream_handlers;
  stream_handlers.data = [weak](std::string_view data) {
    if (const auto self = weak.lock()) self->on_data(data);
  };
  stream_handlers.closed = [weak](const Error& reason) {
    const auto self = weak.lock();
    if (self && self->handlers_.closed) self->handlers_.closed(reason);
  };
  // Data that comes before stream_ is set waits: the channel is opened on the loop thread, which then runs
  // nothing else.
  Result<std::shared_ptr<StreamChannel>> stream = fail(ErrorCode::internal, "not opened");
  loop.run([&]() {
    stream = StreamChannel::open(loop, std::move(socket), 2 * maximum_line, std::move(stream_handlers));
    if (stream) channel->stream_ = *stream;
  });
  if (!stream) return tl::unexpected(stream.error());
  return channel;
}

void LineChannel::on_data(std::string_view data) {
  std::size_t lines = 0;
  const Status fed = splitter_.feed(data, [&](std::string_view line) {
    ++lines;
    if (handlers_.line) handlers_.line(line);
  });
  if (!fed) {
    stream_->close();
    if (const auto closed = std::exchange(handlers_.closed, nullptr)) closed(fed.error());
    return;
  }
  if (!lines_) return;
  // What was read is handled; reading goes on when the debt is paid.
  const auto now = std::chrono::steady_clock::now();
  const auto pause = std::max(lines_->take(static_cast<double>(lines), now),
                              bytes_->take(static_cast<double>(data.size()), now));
  if (pause.count() > 0) stream_->pause(pause);
}

std::chrono::milliseconds TokenBucket::take(double amount, Time now) {
  const double passed = std::chrono::duration<double>(now - last_).count();
  tokens_ = std::min(burst_, tokens_ + per_second_ * passed) - amount;
  last_ = now;
  if (tokens_ >= 0) return std::chrono::milliseconds(0);
  return std::chrono::milliseconds(1 + static_cast<std::int64_t>(-tokens_ * 1000 / per_second_));
}

}  // namespace bootseal::host

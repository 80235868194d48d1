// Streams to processes that are not trusted: QEMU (QMP, serial console, agent port) and guestd (management).
// Bounded both ways.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "bootseal/base/fds.h"
#include "bootseal/host/executor.h"

namespace bootseal::host {

// Cuts a stream into lines ('\n', a '\r' before it is dropped, empty lines are left out). Pure.
class LineSplitter {
 public:
  explicit LineSplitter(std::size_t maximum) : maximum_(maximum) {}
  // Calls `on_line` for each line that `data` completes. corrupt when a line is longer than the maximum: the
  // stream cannot be used further.
  Status feed(std::string_view data, const std::function<void(std::string_view line)>& on_line);

 private:
  std::size_t maximum_;
  std::string partial_;
};

// A connected stream socket on the loop. All handlers run on the loop thread; after `closed` or close() none
// runs any more.
class StreamChannel : public std::enable_shared_from_this<StreamChannel> {
 public:
  struct Handlers {
    std::function<void(std::string_view data)> data;
    std::function<void(const Error& reason)> closed;  // the peer closed or the connection failed; once
  };

  // `maximum_queued` bounds what send() keeps for a peer that does not read: past it the channel is closed.
  // Any thread; returns when the socket is watched.
  static Result<std::shared_ptr<StreamChannel>> open(EventLoop& loop, UniqueFd socket,
                                                     std::size_t maximum_queued, Handlers handlers);
  ~StreamChannel();

  // Any thread. Bytes for a channel that is closed are dropped.
  void send(std::string bytes);
  // The same with a descriptor beside the first byte. One at a time: another one that comes before the socket
  // has taken this closes the channel.
  void send_with_descriptor(std::string bytes, UniqueFd descriptor);
  void close();
  // Loop thread: reads nothing for this time; the peer waits.
  void pause(std::chrono::milliseconds time);

 private:
  StreamChannel(EventLoop& loop, UniqueFd socket, std::size_t maximum_queued, Handlers handlers)
      : loop_(loop),
        socket_(std::move(socket)),
        maximum_queued_(maximum_queued),
        handlers_(std::move(handlers)) {}
  void on_events(std::uint32_t events);
  void read_some();
  void queue(std::string bytes);
  void write_some();
  void update_interest();
  void fail_with(const Error& reason);
  void drop();

  EventLoop& loop_;
  // Loop thread only.
  UniqueFd socket_;
  std::size_t maximum_queued_;
  Handlers handlers_;
  std::string queue_;
  UniqueFd descriptor_;  // goes with the byte at descriptor_at_ of queue_
  std::size_t descriptor_at_ = 0;
  bool paused_ = false;
};

// What a peer may send: reading pauses when it sends more. Lines are what costs work, bytes are what costs
// memory and copies, also those of empty lines and of a line that never ends.
struct LineRate {
  double per_second = 20;
  double burst = 100;
  double bytes_per_second = 1 << 20;
  double burst_bytes = 4 << 20;
};

// A store that fills with time and is drawn on. Pure.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;
  TokenBucket(double per_second, double burst, Time now)
      : per_second_(per_second), burst_(burst), tokens_(burst), last_(now) {}
  // Takes `amount`, on credit when there is not so much. How long it takes until the debt is paid; 0 = none.
  std::chrono::milliseconds take(double amount, Time now);

 private:
  double per_second_, burst_, tokens_;
  Time last_;
};

// A StreamChannel cut into lines.
class LineChannel {
 public:
  struct Handlers {
    std::function<void(std::string_view line)> line;  // loop thread
    std::function<void(const Error& reason)> closed;  // loop thread, once; also when a line is too long
  };
  static Result<std::shared_ptr<LineChannel>> open(EventLoop& loop, UniqueFd socket, std::size_t maximum_line,
                                                   std::optional<LineRate> rate, Handlers handlers);
  // Adds the new line.
  void send(std::string line) { stream_->send(std::move(line.append("\n"))); }
  void send_with_descriptor(std::string line, UniqueFd descriptor) {
    stream_->send_with_descriptor(std::move(line.append("\n")), std::move(descriptor));
  }
  void close() { stream_->close(); }
  ~LineChannel() {
    if (stream_) stream_->close();
  }

 private:
  LineChannel(std::size_t maximum_line, std::optional<LineRate> rate, Handlers handlers);
  void on_data(std::string_view data);

  LineSplitter splitter_;
  std::optional<TokenBucket> lines_, bytes_;
  Handlers handlers_;
  std::shared_ptr<StreamChannel> stream_;
};

}  // namespace bootseal::host

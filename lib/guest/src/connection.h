// A connected stream socket (or a character device) in the poll loop, with the output that the peer has not
// taken yet. Never blocks.
#pragma once

#include <memory>
#include <optional>

#include "bootseal/base/fds.h"

namespace bootseal::guest {

class Connection {
 public:
  explicit Connection(UniqueFd socket);

  [[nodiscard]] int fd() const { return socket_.get(); }
  // What waits to be sent; the protocols append to it.
  Bytes& output() { return output_; }
  [[nodiscard]] const Bytes& output() const { return output_; }

  // What has arrived, at most kReadSize bytes, until the next call; empty = nothing now; nullopt = the peer
  // is gone.
  std::optional<ByteSpan> receive();
  // The same with a descriptor if one came along.
  std::optional<ReceivedWithFd> receive_with_fd();
  // Sends what the socket takes now; false = the peer is gone.
  bool send_pending();
  // True when the peer has closed its end (or the socket is broken), whether or not there is data left to
  // read.
  [[nodiscard]] bool hung_up() const;

  static constexpr std::size_t kReadSize = std::size_t{64} << 10;

 private:
  UniqueFd socket_;
  bool is_socket_ = true;
  std::unique_ptr<std::byte[]> input_;  // kReadSize bytes, from the first receive() on
  Bytes output_;
};

// The next client of a non-blocking listening socket; nullopt when there is none (any more).
std::optional<UniqueFd> accept_client(int listener);
Status make_nonblocking(int fd);

}  // namespace bootseal::guest

// libslirp behind an interface: its gateway, its DHCP and DNS, its way out.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "bootseal/netd/frame.h"
#include "poll_set.h"

struct Slirp;

namespace bootseal::netd {

// Not movable: libslirp keeps its address.
class Stack {
 public:
  // `send` takes frames for the guest. internal when libslirp refuses the configuration.
  static Result<std::unique_ptr<Stack>> create(const Interface& interface,
                                               std::function<void(ByteSpan frame)> send);
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  // A frame of the guest that may go on.
  void input(ByteSpan frame);
  // What comes in on the Unix socket `name` of the working folder goes to this TCP port of the guest, from
  // the gateway's address. io_error.
  Status open_port(const std::string& name, Ipv4Address guest, std::uint16_t port);
  void close_port(const std::string& name);

  // Adds libslirp's descriptors and lowers `milliseconds` to its next timer.
  void prepare(PollSet& set, std::uint32_t& milliseconds);
  void handle(PollSet& set);

 private:
  explicit Stack(std::function<void(ByteSpan frame)> send) : send_(std::move(send)) {}

  std::function<void(ByteSpan frame)> send_;
  Slirp* slirp_ = nullptr;
};

}  // namespace bootseal::netd

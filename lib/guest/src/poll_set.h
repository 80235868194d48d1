// The descriptors that one turn of a service's loop waits for, and what happened on them.
#pragma once

#include <poll.h>

#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "bootseal/base/result.h"
#include "connection.h"

namespace bootseal::guest {

class PollSet {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Starts a new turn: nothing is watched, nothing has happened.
  void clear() { entries_.clear(); }
  // A descriptor of -1 never has events.
  void watch(int fd, bool input, bool output);
  // Output is watched while some of it waits.
  void watch(const Connection& client, bool input) { watch(client.fd(), input, !client.output().empty()); }
  // Waits for an event, at most until `deadline` and, when there is one, a second. `what` is for the error:
  // what was waited for.
  Status wait(std::optional<Time> deadline, std::string_view what);
  // What the last wait() found; 0 for a descriptor that was not watched.
  [[nodiscard]] short events_of(int fd) const;
  // Anything but room for output.
  [[nodiscard]] bool has_input(const Connection& client) const {
    return (events_of(client.fd()) & ~POLLOUT) != 0;
  }

 private:
  std::vector<pollfd> entries_;
};

}  // namespace bootseal::guest

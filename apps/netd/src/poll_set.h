// The descriptors that one turn of the loop waits for.
#pragma once

#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <vector>

namespace bootseal::netd {

class PollSet {
 public:
  void clear() { entries_.clear(); }
  // The index for events_of().
  int add(int fd, short events) {
    entries_.push_back({fd, events, 0});
    return static_cast<int>(entries_.size()) - 1;
  }
  [[nodiscard]] short events_of(int index) const {
    return index < 0 ? short{0} : entries_[static_cast<std::size_t>(index)].revents;
  }
  // False on an error other than a signal.
  bool wait(std::uint32_t milliseconds) {
    const int limit = milliseconds > 60'000 ? 60'000 : static_cast<int>(milliseconds);
    if (::poll(entries_.data(), entries_.size(), limit) >= 0) return true;
    for (pollfd& entry : entries_) entry.revents = 0;
    return errno == EINTR;
  }

 private:
  std::vector<pollfd> entries_;
};

}  // namespace bootseal::netd

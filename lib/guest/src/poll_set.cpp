#include "poll_set.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace bootseal::guest {

void PollSet::watch(int fd, bool input, bool output) {
  const int events = (input ? POLLIN : 0) | (output ? POLLOUT : 0);
  entries_.push_back({fd, static_cast<short>(events), 0});
}

Status PollSet::wait(std::optional<Time> deadline, std::string_view what) {
  for (;;) {
    int limit = -1;
    if (deadline) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now()).count();
      limit = static_cast<int>(std::clamp<std::int64_t>(left, 0, 1000));
    }
    if (::poll(entries_.data(), entries_.size(), limit) >= 0) return {};
    if (errno != EINTR) return fail_errno(errno, what);
  }
}

short PollSet::events_of(int fd) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const pollfd& entry) { return entry.fd == fd; });
  return found == entries_.end() ? short{0} : found->revents;
}

}  // namespace bootseal::guest

#include "run_events.h"

#include <algorithm>
#include <utility>

namespace bootseal::host {

template <typename Change>
bool RunEvents::tell(const Change& change) {
  const std::lock_guard lock(mutex_);
  if (ended_) return false;
  change(waiting_);
  return !std::exchange(anything_, true);
}

bool RunEvents::tell_shutdown(Shutdown shutdown) {
  return tell([&](WaitingEvents& waiting) {
    const bool by_guest = shutdown.by_guest || (waiting.shutdown && waiting.shutdown->by_guest);
    waiting.shutdown = Shutdown{std::move(shutdown.reason), by_guest};
  });
}

bool RunEvents::tell_generation(Generation generation) {
  return tell([&](WaitingEvents& waiting) {
    waiting.generation = std::max(waiting.generation.value_or(Generation{}), generation);
  });
}

bool RunEvents::tell_reset() {
  return tell([](WaitingEvents& waiting) {
    waiting.reset = true;
    // Those were of the boot before.
    waiting.serial = false;
    waiting.hello.reset();
  });
}

bool RunEvents::tell_serial() {
  return tell([](WaitingEvents& waiting) { waiting.serial = true; });
}

bool RunEvents::tell_hello(AgentHello hello) {
  return tell([&](WaitingEvents& waiting) { waiting.hello = std::move(hello); });
}

void RunEvents::end_machine() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  waiting_.reset = waiting_.serial = false;
  waiting_.hello.reset();
}

WaitingEvents RunEvents::take() {
  const std::lock_guard lock(mutex_);
  anything_ = false;
  return std::exchange(waiting_, {});
}

}  // namespace bootseal::host

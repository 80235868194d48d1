#include "process_watch.h"

#include <signal.h>
#include <sys/epoll.h>

#include "bootseal/log/log.h"

namespace bootseal::host {

void end_process(const ProcessIdentity& process) {
  static_cast<void>(signal_process(process, SIGKILL));
  for (;;) {
    const Result<bool> ended = wait_for_end(process, std::chrono::seconds(10));
    if (!ended || *ended) return;  // an error: there is no such process
    log::error("process.does_not_end", {{"pid", static_cast<std::int64_t>(process.pid)}});
  }
}

Result<std::unique_ptr<ProcessWatch>> ProcessWatch::start(EventLoop& loop, const ProcessIdentity& process,
                                                          std::function<void()> ended) {
  auto state = std::make_shared<State>();
  state->ended = std::move(ended);
  Result<UniqueFd> pidfd = open_process(process);
  if (pidfd) {
    state->pidfd = *std::move(pidfd);
  } else if (pidfd.error().code != ErrorCode::not_found) {
    return tl::unexpected(pidfd.error());
  }
  const auto tell = [process, state]() {
    const auto callback = std::exchange(state->ended, nullptr);
    if (!callback || state->given_up) return;
    // Reaps it when it is a child.
    static_cast<void>(wait_for_end(process, std::chrono::milliseconds(0)));
    callback();
  };
  Status watched;
  loop.run([&]() {
    if (!state->pidfd.valid()) {
      loop.post(tell);
      return;
    }
    watched = loop.watch(state->pidfd.get(), EPOLLIN, [&loop, state, tell](std::uint32_t) {
      loop.forget(state->pidfd.get());
      state->pidfd.reset();
      tell();
    });
  });
  BOOTSEAL_TRY_STATUS(watched);
  return std::unique_ptr<ProcessWatch>(new ProcessWatch(loop, std::move(state)));
}

ProcessWatch::~ProcessWatch() {
  state_->given_up = true;
  loop_.post([&loop = loop_, state = state_]() {
    state->ended = nullptr;
    if (!state->pidfd.valid()) return;
    loop.forget(state->pidfd.get());
    state->pidfd.reset();
  });
}

}  // namespace bootseal::host

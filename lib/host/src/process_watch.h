// Tells on the loop thread when a process, child or not, has ended.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "bootseal/base/subprocess.h"
#include "bootseal/host/executor.h"

namespace bootseal::host {

// SIGKILL, then waits for the end however long that takes: a process that a disk holds back still writes, and
// nobody else may use what it has open before it is gone. Logs that it waits.
void end_process(const ProcessIdentity& process);

class ProcessWatch {
 public:
  // `ended` runs once on the loop thread, also when the process has ended already. The watch ends with this
  // object.
  static Result<std::unique_ptr<ProcessWatch>> start(EventLoop& loop, const ProcessIdentity& process,
                                                     std::function<void()> ended);
  ~ProcessWatch();
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;

 private:
  struct State {
    UniqueFd pidfd;
    std::function<void()> ended;  // loop thread only; empty = told
    std::atomic<bool> given_up{
        false};  // set before the destructor returns: nothing starts to be told after it
  };
  ProcessWatch(EventLoop& loop, std::shared_ptr<State> state) : loop_(loop), state_(std::move(state)) {}

  EventLoop& loop_;
  std::shared_ptr<State> state_;
};

}  // namespace bootseal::host

// Where the work of hostd runs: one loop thread that never blocks, a pool of threads that may, and a strand a
// VM that keeps the tasks of one VM in order.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bootseal/base/fds.h"

namespace bootseal::host {

using Task = std::function<void()>;
using TimerId = std::uint64_t;  // 0 = none

// Runs tasks one after another, in the order in which they came. Thread safe.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void post(Task task) = 0;
  virtual TimerId post_after(std::chrono::milliseconds delay, Task task) = 0;
  // A timer that has not fired yet never will; one that is firing may still run its task.
  virtual void cancel(TimerId timer) = 0;
};

// The loop thread: descriptors, timers, short tasks that must not block.
class EventLoop final : public Executor {
 public:
  // `events` and the argument of the callback are those of epoll.
  using Watcher = std::function<void(std::uint32_t events)>;

  // Errors as fail_errno.
  static Result<std::unique_ptr<EventLoop>> start();
  // Ends the loop thread; tasks that wait are dropped. Not on the loop thread.
  ~EventLoop() override;

  void post(Task task) override;
  TimerId post_after(std::chrono::milliseconds delay, Task task) override;
  void cancel(TimerId timer) override;

  // Loop thread only. The caller owns `fd` and calls forget() before it closes it.
  Status watch(int fd, std::uint32_t events, Watcher watcher);
  void change(int fd, std::uint32_t events);
  void forget(int fd);
  [[nodiscard]] bool on_loop_thread() const { return std::this_thread::get_id() == thread_.get_id(); }
  // Runs `task` on the loop thread and waits for its end; at once when this is the loop thread.
  void run(const Task& task);

 private:
  struct Timer {
    std::chrono::steady_clock::time_point due;
    Task task;
  };

  EventLoop(UniqueFd epoll, UniqueFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}
  void loop();
  void wake();
  // Milliseconds until the next timer, -1 without one; runs what is due.
  int run_due();

  UniqueFd epoll_, wake_;
  std::mutex mutex_;
  std::deque<Task> tasks_;
  std::map<TimerId, Timer> timers_;
  TimerId next_timer_ = 1;
  bool stopping_ = false;
  std::unordered_map<int, std::shared_ptr<Watcher>> watchers_;  // loop thread only
  std::thread thread_;
};

// Threads that may block. Thread safe.
class WorkerPool {
 public:
  explicit WorkerPool(unsigned threads);
  // Ends when the running tasks have ended; tasks that wait are dropped.
  ~WorkerPool();
  void post(Task task);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// Tasks run on the pool, never two of one strand at once; timers come from the loop. Held by shared_ptr: a
// task that runs keeps it alive.
class Strand final : public Executor, public std::enable_shared_from_this<Strand> {
 public:
  static std::shared_ptr<Strand> create(EventLoop& loop, WorkerPool& pool) {
    return std::shared_ptr<Strand>(new Strand(loop, pool));
  }
  void post(Task task) override;
  TimerId post_after(std::chrono::milliseconds delay, Task task) override;
  void cancel(TimerId timer) override { loop_.cancel(timer); }

 private:
  Strand(EventLoop& loop, WorkerPool& pool) : loop_(loop), pool_(pool) {}
  void run_next();

  EventLoop& loop_;
  WorkerPool& pool_;
  std::mutex mutex_;
  std::deque<Task> tasks_;
  bool scheduled_ = false;
};

}  // namespace bootseal::host

#include "bootseal/host/executor.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <future>

namespace bootseal::host {

Result<std::unique_ptr<EventLoop>> EventLoop::start() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return fail_errno(errno, "making the event loop");
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return fail_errno(errno, "making the event loop");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake.get();
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0)
    return fail_errno(errno, "making the event loop");
  std::unique_ptr<EventLoop> loop(new EventLoop(std::move(epoll), std::move(wake)));
  // The thread takes the mutex first thing: it sees thread_ set.
  const std::lock_guard lock(loop->mutex_);
  loop->thread_ = std::thread([raw = loop.get()]() { raw->loop(); });
  return loop;
}

EventLoop::~EventLoop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
  // What the dropped tasks hold may post when it is destroyed: that is dropped in turn, while there is still
  // a queue to take it.
  for (;;) {
    std::deque<Task> tasks;
    std::map<TimerId, Timer> timers;
    {
      const std::lock_guard lock(mutex_);
      tasks.swap(tasks_);
      timers.swap(timers_);
    }
    if (tasks.empty() && timers.empty()) break;
  }
  watchers_.clear();
}

void EventLoop::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t done = ::write(wake_.get(), &one, sizeof(one));
}

void EventLoop::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake();
}

TimerId EventLoop::post_after(std::chrono::milliseconds delay, Task task) {
  TimerId id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = next_timer_++;
    timers_.emplace(id, Timer{std::chrono::steady_clock::now() + delay, std::move(task)});
  }
  wake();
  return id;
}

void EventLoop::cancel(TimerId timer) {
  const std::lock_guard lock(mutex_);
  timers_.erase(timer);
}

Status EventLoop::watch(int fd, std::uint32_t events, Watcher watcher) {
  BOOTSEAL_CHECK(on_loop_thread());
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return fail_errno(errno, "watching a descriptor");
  watchers_[fd] = std::make_shared<Watcher>(std::move(watcher));
  return {};
}

void EventLoop::change(int fd, std::uint32_t events) {
  BOOTSEAL_CHECK(on_loop_thread());
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::forget(int fd) {
  BOOTSEAL_CHECK(on_loop_thread());
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  watchers_.erase(fd);
}

void EventLoop::run(const Task& task) {
  if (on_loop_thread()) {
    task();
    return;
  }
  std::promise<void> done;
  post([&]() {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

int EventLoop::run_due() {
  for (;;) {
    Task task;
    {
      const std::lock_guard lock(mutex_);
      const auto next =
          std::ranges::min_element(timers_, {}, [](const auto& entry) { return entry.second.due; });
      if (next == timers_.end()) return -1;
      const auto wait = next->second.due - std::chrono::steady_clock::now();
      if (wait > std::chrono::steady_clock::duration::zero()) {
        return static_cast<int>(
            std::min<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(wait).count(), 60'000));
      }
      task = std::move(next->second.task);
      timers_.erase(next);
    }
    task();
  }
}

void EventLoop::loop() {
  { const std::lock_guard lock(mutex_); }
  std::array<epoll_event, 64> events{};
  for (;;) {
    const int wait = run_due();
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == wake_.get()) {
        std::uint64_t value = 0;
        [[maybe_unused]] const ssize_t got = ::read(fd, &value, sizeof(value));
        continue;
      }
      // An earlier callback of this round may have forgotten this descriptor; the shared pointer keeps a
      // watcher that forgets itself.
      const auto found = watchers_.find(fd);
      if (found == watchers_.end()) continue;
      const std::shared_ptr<Watcher> watcher = found->second;
      (*watcher)(events[static_cast<std::size_t>(i)].events);
    }
    std::deque<Task> tasks;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      tasks.swap(tasks_);
    }
    for (Task& task : tasks) task();
  }
}

WorkerPool::WorkerPool(unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this]() { work(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
}

void WorkerPool::work() {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this]() { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

void Strand::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    if (scheduled_) return;
    scheduled_ = true;
  }
  pool_.post([self = shared_from_this()]() { self->run_next(); });
}

TimerId Strand::post_after(std::chrono::milliseconds delay, Task task) {
  return loop_.post_after(delay, [weak = weak_from_this(), task = std::move(task)]() {
    if (const auto self = weak.lock()) self->post(task);
  });
}

void Strand::run_next() {
  Task task;
  {
    const std::lock_guard lock(mutex_);
    task = std::move(tasks_.front());
    tasks_.pop_front();
  }
  task();
  {
    const std::lock_guard lock(mutex_);
    scheduled_ = !tasks_.empty();
    if (!scheduled_) return;
  }
  // One task at a time, so that a busy VM does not keep a worker from the others.
  pool_.post([self = shared_from_this()]() { self->run_next(); });
}

}  // namespace bootseal::host

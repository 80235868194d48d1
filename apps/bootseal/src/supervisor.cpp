#include "supervisor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "bootseal/log/log.h"

namespace bootseal::app {
namespace {

constexpr std::chrono::milliseconds kStartLimit{
    120000};  // hostd tries the accelerator out at its first start
constexpr std::chrono::milliseconds kStopPatience{20000};
constexpr std::chrono::milliseconds kFirstBackoff{100};
constexpr std::chrono::milliseconds kLastBackoff{10000};
constexpr std::chrono::seconds kHealthyAfter{30};  // a daemon that ran this long starts again at once

std::string end_text(int status) {
  if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

}  // namespace

Status Supervisor::start_one(std::string_view name) {
  BOOTSEAL_TRY(const ProcessIdentity process, start_daemon(paths_, name, passphrase_file_));
  Child& child = children_[std::string(name)];
  child.process = process;
  child.started = std::chrono::steady_clock::now();
  child.running = true;
  log::info("daemon.started", {{"daemon", name}, {"pid", static_cast<std::int64_t>(process.pid)}});
  return {};
}

Status Supervisor::start() {
  // VM processes whose hostd is gone become ours, so that they are reaped when they end.
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
    return fail_errno(errno, "becoming the reaper of orphaned VM processes");
  for (auto name = kDaemons.rbegin(); name != kDaemons.rend(); ++name) {
    if (const auto old = running_process(paths_, *name)) {
      report_(fmt::format("ending the bootseal-{} that an earlier supervisor left", *name));
      BOOTSEAL_TRY_STATUS(end_process(*old, kStopPatience));
    }
  }
  for (const std::string_view name : kDaemons) {
    report_(fmt::format("starting bootseal-{}", name));
    const std::uint64_t log_from = log_size(paths_, name);
    Status status = start_one(name);
    if (status)
      status =
          wait_until_it_answers(paths_, name, children_.find(name)->second.process, log_from, kStartLimit);
    if (!status) {
      stop_all();
      return status;
    }
  }
  return {};
}

void Supervisor::reap() {
  int status = 0;
  for (pid_t pid = ::waitpid(-1, &status, WNOHANG); pid > 0; pid = ::waitpid(-1, &status, WNOHANG)) {
    for (auto& [name, child] : children_) {
      if (!child.running || child.process.pid != pid) continue;
      const Time now = std::chrono::steady_clock::now();
      child.running = false;
      child.backoff = now - child.started > kHealthyAfter
                          ? std::chrono::milliseconds(0)
                          : std::clamp(child.backoff * 2, kFirstBackoff, kLastBackoff);
      child.restart_at = now + child.backoff;
      log::warning("daemon.ended", {{"daemon", name},
                                    {"pid", static_cast<std::int64_t>(pid)},
                                    {"how", end_text(status)},
                                    {"restartAfterMs", static_cast<std::int64_t>(child.backoff.count())}});
    }
  }
}

void Supervisor::restart_due() {
  const Time now = std::chrono::steady_clock::now();
  for (auto& [name, child] : children_) {
    if (child.running || child.restart_at > now) continue;
    if (const Status started = start_one(name); !started) {
      child.backoff = std::clamp(child.backoff * 2, kFirstBackoff, kLastBackoff);
      child.restart_at = now + child.backoff;
      log::error("daemon.not-started", {{"daemon", name}, {"reason", started.error().describe()}});
    }
  }
}

int Supervisor::next_restart_ms() const {
  int next = -1;
  const Time now = std::chrono::steady_clock::now();
  for (const auto& [name, child] : children_) {
    if (child.running) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(child.restart_at - now).count();
    const int wait = static_cast<int>(std::max<std::int64_t>(left, 0));
    next = next < 0 ? wait : std::min(next, wait);
  }
  return next;
}

Status Supervisor::run() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd.valid()) return fail_errno(errno, "watching for signals");
  while (true) {
    reap();  // also what ended before the descriptor was there
    restart_due();
    pollfd watched{signal_fd.get(), POLLIN, 0};
    if (::poll(&watched, 1, next_restart_ms()) < 0 && errno != EINTR)
      return fail_errno(errno, "waiting for the daemons");
    signalfd_siginfo info{};
    bool stop = false;
    while (::read(signal_fd.get(), &info, sizeof info) == sizeof info)
      stop = stop || info.ssi_signo != SIGCHLD;
    if (stop) break;
  }
  log::info("supervisor.stopping");
  stop_all();
  return {};
}

void Supervisor::stop_all() {
  for (auto next = kDaemons.rbegin(); next != kDaemons.rend(); ++next) {
    const std::string_view name = *next;
    const auto child = children_.find(name);
    if (child == children_.end()) continue;
    if (child->second.running) {
      if (const Status ended = end_process(child->second.process, kStopPatience); !ended) {
        log::error("daemon.not-ended", {{"daemon", name}, {"reason", ended.error().describe()}});
      }
      child->second.running = false;
    }
    std::error_code ignored;
    std::filesystem::remove(pid_file(paths_, name), ignored);
    std::filesystem::remove(paths_.socket_of(name), ignored);
  }
}

}  // namespace bootseal::app

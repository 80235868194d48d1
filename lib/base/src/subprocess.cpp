#include "bootseal/base/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>

extern char** environ;

namespace bootseal {
namespace {

constexpr int kSessionPatienceMs = 10000;
constexpr std::size_t kOutputLimit = std::size_t{16} << 20;

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  std::string_view folders = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
  while (!folders.empty()) {
    const std::size_t colon = folders.find(':');
    const std::string candidate = std::string(folders.substr(0, colon)) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    if (colon == std::string_view::npos) break;
    folders.remove_prefix(colon + 1);
  }
  return name;
}

// Everything the child needs, made before the fork: only async-signal-safe calls after it.
struct ChildPlan {
  std::string program;
  std::vector<char*> arguments;
  std::vector<std::string> environment_text;
  std::vector<char*> environment;
  std::vector<std::pair<int, int>> fds;
};

ChildPlan plan_child(const Command& command) {
  ChildPlan plan;
  plan.program = find_program(command.arguments.front());
  for (const std::string& argument : command.arguments)
    plan.arguments.push_back(const_cast<char*>(argument.c_str()));
  plan.arguments.push_back(nullptr);
  if (command.environment) {
    for (const auto& [name, value] : *command.environment)
      plan.environment_text.push_back(name + "=" + value);
    for (std::string& text : plan.environment_text) plan.environment.push_back(text.data());
  } else {
    for (char** next = environ; *next != nullptr; ++next) plan.environment.push_back(*next);
  }
  plan.environment.push_back(nullptr);
  plan.fds.assign(command.fds.begin(), command.fds.end());
  return plan;
}

[[noreturn]] void report_and_exit(int report_fd, int errno_value) {
  [[maybe_unused]] const ssize_t written = ::write(report_fd, &errno_value, sizeof(errno_value));
  ::_exit(127);
}

// In the child: moves the descriptors to their places. Sources are first lifted above all targets so that
// none is overwritten.
void place_fds(const ChildPlan& plan, int& report_fd, int& program_fd) {
  int highest = 3;
  for (const auto& [target, source] : plan.fds) highest = std::max(highest, target + 1);
  const int lifted_report = ::fcntl(report_fd, F_DUPFD_CLOEXEC, highest);
  if (lifted_report < 0) report_and_exit(report_fd, errno);
  report_fd = lifted_report;
  if (program_fd >= 0) {
    program_fd = ::fcntl(program_fd, F_DUPFD_CLOEXEC, highest);
    if (program_fd < 0) report_and_exit(report_fd, errno);
  }
  std::array<int, 32> lifted{};
  for (std::size_t i = 0; i < plan.fds.size(); ++i) {
    lifted[i] = ::fcntl(plan.fds[i].second, F_DUPFD_CLOEXEC, highest);
    if (lifted[i] < 0) report_and_exit(report_fd, errno);
  }
  if (std::ranges::none_of(plan.fds, [](const auto& entry) { return entry.first == 0; })) {
    const int null_fd = ::open("/dev/null", O_RDONLY);
    if (null_fd < 0) report_and_exit(report_fd, errno);
    if (null_fd != 0) {
      ::dup2(null_fd, 0);
      ::close(null_fd);
    }
  }
  for (std::size_t i = 0; i < plan.fds.size(); ++i) {
    if (::dup2(lifted[i], plan.fds[i].first) < 0) report_and_exit(report_fd, errno);
  }
  // Close what was not asked for, the report and the program excepted.
  int next = 3;
  std::array<int, 34> keep{};
  std::size_t count = 0;
  for (const auto& [target, source] : plan.fds) keep[count++] = target;
  keep[count++] = report_fd;
  if (program_fd >= 0) keep[count++] = program_fd;
  std::sort(keep.begin(), keep.begin() + static_cast<std::ptrdiff_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    if (keep[i] < 3) continue;
    if (keep[i] > next) ::syscall(SYS_close_range, next, keep[i] - 1, 0);
    next = keep[i] + 1;
  }
  ::syscall(SYS_close_range, next, ~0U, 0);
}

int pidfd_open(pid_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

// Ends a command that is not reaped yet. One with a session of its own goes with all of its processes, and
// when `is_asked` SIGTERM comes first, so that it can clear up.
void end_command(const Command& command, pid_t pid, int pidfd, bool is_asked) {
  if (command.new_session) {
    if (is_asked) {
      ::kill(-pid, SIGTERM);
      pollfd ended{pidfd, POLLIN, 0};
      ::poll(&ended, 1, kSessionPatienceMs);
    }
    ::kill(-pid, SIGKILL);
  }
  ::kill(pid, SIGKILL);
}

}  // namespace

Result<ProcessIdentity> spawn(const Command& command) {
  BOOTSEAL_CHECK(!command.arguments.empty() && command.fds.size() <= 32);
  const ChildPlan plan = plan_child(command);
  BOOTSEAL_TRY(Pipe report, make_pipe());
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "starting a process");
  if (pid == 0) {
    int report_fd = report.write_end.get();
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int number = 1; number < 32; ++number) ::signal(number, SIG_DFL);
    if (command.new_session) ::setsid();
    int program_fd = command.program_fd;
    place_fds(plan, report_fd, program_fd);
    if (command.working_folder && ::chdir(command.working_folder->c_str()) != 0)
      report_and_exit(report_fd, errno);
    if (command.before_exec) {
      if (const int problem = command.before_exec(); problem != 0) report_and_exit(report_fd, -problem);
    }
    if (program_fd >= 0) {
      ::syscall(SYS_execveat, program_fd, "", plan.arguments.data(), plan.environment.data(), AT_EMPTY_PATH);
      report_and_exit(report_fd, errno);
    }
    ::execve(plan.program.c_str(), plan.arguments.data(), plan.environment.data());
    report_and_exit(report_fd, errno);
  }
  report.write_end.reset();
  // The identity is taken while the child is certainly there: it is ours to reap.
  Result<ProcessIdentity> identity = identify_process(pid);
  int problem = 0;
  ssize_t got = 0;
  do {
    got = ::read(report.read_end.get(), &problem, sizeof(problem));
  } while (got < 0 && errno == EINTR);
  if (got == static_cast<ssize_t>(sizeof(problem))) {
    ::waitpid(pid, nullptr, 0);
    if (problem < 0) return fail_errno(-problem, fmt::format("preparing the child for {}", plan.program));
    return fail_errno(problem, fmt::format("executing {}", plan.program));
  }
  if (!identity) {
    ::waitpid(pid, nullptr, 0);
    return fail(ErrorCode::unavailable, fmt::format("{} ended at once", plan.program));
  }
  return identity;
}

Result<ProcessIdentity> identify_process(pid_t pid) {
  const Result<Bytes> stat = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!stat) return fail(ErrorCode::not_found, fmt::format("no process has the pid {}", pid));
  std::string_view text = as_text(*stat);
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos)
    return fail(ErrorCode::corrupt, fmt::format("/proc/{}/stat is not understood", pid));
  text.remove_prefix(name_end + 2);
  // Field 3 (state) is first here; the start time is field 22.
  for (int field = 3; field < 22; ++field) {
    const std::size_t blank = text.find(' ');
    if (blank == std::string_view::npos)
      return fail(ErrorCode::corrupt, fmt::format("/proc/{}/stat is too short", pid));
    text.remove_prefix(blank + 1);
  }
  std::uint64_t ticks = 0;
  std::from_chars(text.data(), text.data() + text.size(), ticks);
  return ProcessIdentity{pid, ticks};
}

bool is_running(const ProcessIdentity& process) {
  const Result<ProcessIdentity> now = identify_process(process.pid);
  if (!now || *now != process) return false;
  const Result<Bytes> stat = read_file(fmt::format("/proc/{}/stat", process.pid), 4096);
  if (!stat) return false;
  const std::string_view text = as_text(*stat);
  const std::size_t name_end = text.rfind(')');
  return name_end != std::string_view::npos && name_end + 2 < text.size() && text[name_end + 2] != 'Z' &&
         text[name_end + 2] != 'X';
}

Result<UniqueFd> open_process(const ProcessIdentity& process) {
  UniqueFd fd(pidfd_open(process.pid));
  // The identity is checked after the pidfd holds the process: from here on the pid cannot be reused under
  // it.
  if (!fd.valid() || !is_running(process))
    return fail(ErrorCode::not_found, fmt::format("the process {} has ended", process.pid));
  return fd;
}

Status signal_process(const ProcessIdentity& process, int signal_number) {
  const Result<UniqueFd> fd = open_process(process);
  if (!fd) return {};
  if (::syscall(SYS_pidfd_send_signal, fd->get(), signal_number, nullptr, 0) != 0 && errno != ESRCH) {
    return fail_errno(errno, fmt::format("sending signal {} to process {}", signal_number, process.pid));
  }
  return {};
}

Result<bool> wait_for_end(const ProcessIdentity& process, std::optional<std::chrono::milliseconds> limit) {
  // A process whose first thread has ended is a zombie already while its other threads still hold its files
  // and locks; its pidfd is readable when the last one is gone.
  const UniqueFd fd(pidfd_open(process.pid));
  const Result<ProcessIdentity> now = identify_process(process.pid);
  if (fd.valid() && now && *now == process) {
    BOOTSEAL_TRY(const bool ended, wait_readable(fd.get(), limit));
    if (!ended) return false;
  }
  ::waitpid(process.pid, nullptr, WNOHANG);
  return true;
}

Result<CommandOutput> run_command(const Command& command, ByteSpan input,
                                  std::optional<std::chrono::milliseconds> limit, std::stop_token stop,
                                  const std::function<void(std::string_view)>& on_line) {
  BOOTSEAL_TRY(Pipe in, make_pipe());
  BOOTSEAL_TRY(Pipe out, make_pipe());
  BOOTSEAL_TRY(Pipe err, make_pipe());
  Command child = command;
  child.fds[0] = in.read_end.get();
  child.fds[1] = out.write_end.get();
  child.fds[2] = err.write_end.get();
  BOOTSEAL_TRY(const ProcessIdentity process, spawn(child));
  in.read_end.reset();
  out.write_end.reset();
  err.write_end.reset();
  ::fcntl(in.write_end.get(), F_SETFL, O_NONBLOCK);
  const int ended_fd = pidfd_open(process.pid);
  const UniqueFd ended(ended_fd);

  CommandOutput output;
  std::size_t line_start = 0;
  std::optional<Error> early;
  const auto deadline = limit ? std::optional(std::chrono::steady_clock::now() + *limit) : std::nullopt;
  // A child that closed its input early must not end us by SIGPIPE.
  sigset_t pipe_signal, before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const auto drain = [&](UniqueFd& fd, std::string& into) {
    std::array<char, 65536> buffer;
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got <= 0) {
      if (got == 0 || errno != EINTR) fd.reset();
      return;
    }
    into.append(buffer.data(),
                std::min(static_cast<std::size_t>(got), kOutputLimit - std::min(kOutputLimit, into.size())));
  };
  while (out.read_end.valid() || err.read_end.valid()) {
    if (!early && stop.stop_requested())
      early = Error{ErrorCode::cancelled, fmt::format("{} was stopped on request", command.arguments[0]),
                    nullptr};
    if (!early && deadline && std::chrono::steady_clock::now() >= *deadline) {
      early =
          Error{ErrorCode::timeout,
                fmt::format("{} did not end within {} ms", command.arguments[0], limit->count()), nullptr};
    }
    if (early) end_command(command, process.pid, ended_fd, early->code == ErrorCode::cancelled);
    std::array<pollfd, 3> entries{{{out.read_end.get(), POLLIN, 0},
                                   {err.read_end.get(), POLLIN, 0},
                                   {input.empty() ? -1 : in.write_end.get(), POLLOUT, 0}}};
    if (input.empty()) in.write_end.reset();
    ::poll(entries.data(), entries.size(), early ? 1000 : 50);
    if (early) {
      // Grandchildren may hold the pipes open: what is there is read once, then given up.
      break;
    }
    if (entries[0].revents != 0) drain(out.read_end, output.standard_output);
    if (entries[1].revents != 0) {
      drain(err.read_end, output.standard_error);
      for (std::size_t end = 0;
           on_line && (end = output.standard_error.find('\n', line_start)) != std::string::npos;
           line_start = end + 1) {
        on_line(std::string_view(output.standard_error).substr(line_start, end - line_start));
      }
    }
    if (entries[2].revents != 0) {
      const ssize_t done = ::write(in.write_end.get(), input.data(), input.size());
      if (done > 0) input = input.subspan(static_cast<std::size_t>(done));
      if (done < 0 && errno != EAGAIN && errno != EINTR) input = {};
    }
  }
  int status = 0;
  for (;;) {
    const pid_t reaped = ::waitpid(process.pid, &status, early ? 0 : WNOHANG);
    if (reaped == process.pid || (reaped < 0 && errno != EINTR)) break;
    if (!early && stop.stop_requested())
      early = Error{ErrorCode::cancelled, fmt::format("{} was stopped on request", command.arguments[0]),
                    nullptr};
    if (!early && deadline && std::chrono::steady_clock::now() >= *deadline) {
      early =
          Error{ErrorCode::timeout,
                fmt::format("{} did not end within {} ms", command.arguments[0], limit->count()), nullptr};
    }
    if (early) end_command(command, process.pid, ended_fd, early->code == ErrorCode::cancelled);
    pollfd entry{ended.get(), POLLIN, 0};
    ::poll(&entry, 1, 50);
  }
  timespec now{};
  while (::sigtimedwait(&pipe_signal, nullptr, &now) > 0) {
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (early) return tl::unexpected<Error>(*early);
  output.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return output;
}

Result<std::string> run_checked(const Command& command, ByteSpan input,
                                std::optional<std::chrono::milliseconds> limit, std::stop_token stop,
                                const std::function<void(std::string_view)>& on_line) {
  BOOTSEAL_TRY(CommandOutput output, run_command(command, input, limit, std::move(stop), on_line));
  if (output.exit_code != 0) {
    std::string_view tail = output.standard_error;
    while (!tail.empty() && tail.back() == '\n') tail.remove_suffix(1);
    if (tail.size() > 600) tail = tail.substr(tail.size() - 600);
    return fail(ErrorCode::unavailable,
                fmt::format("{} ended with exit code {}: {}", command.arguments[0], output.exit_code, tail));
  }
  return std::move(output.standard_output);
}

}  // namespace bootseal

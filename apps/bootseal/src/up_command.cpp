// `bootseal up`.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "bootseal/cli/progress.h"
#include "bootseal/log/log.h"
#include "first_administrator.h"
#include "listen_address.h"
#include "site_access.h"
#include "site_setup.h"
#include "supervisor.h"

namespace bootseal::app {
namespace {

constexpr std::string_view kReady = "ready";
constexpr std::string_view kFailed = "error ";
constexpr int kReportFd = 3;

// Held as long as a supervisor lives; conflict when another one has it.
Result<UniqueFd> take_lock(const Paths& paths) {
  BOOTSEAL_TRY(UniqueFd lock, open_file(paths.run / "up.lock", O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return fail(ErrorCode::conflict, "another `bootseal up` is at work on this site");
    return fail_errno(errno, "locking the site");
  }
  return lock;
}

void block_stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&set, number);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

// The supervisor itself, in the foreground or detached.
Status supervise(const Paths& paths, const UpOptions& options, log::Level least,
                 const std::function<void(const std::string&)>& report, const std::function<void()>& ready) {
  block_stop_signals();
  std::signal(SIGPIPE, SIG_IGN);
  log::start("up");
  log::raise_level(least);
  BOOTSEAL_TRY(const UniqueFd lock, take_lock(paths));
  BOOTSEAL_TRY(const ProcessIdentity self, identify_process(::getpid()));
  BOOTSEAL_TRY(const std::filesystem::path passphrase, passphrase_file(paths, options.passphrase_file));
  BOOTSEAL_TRY_STATUS(write_pid_file(paths, kSupervisor, self));
  Supervisor supervisor(paths, passphrase, report);
  std::error_code ignored;
  if (const Status started = supervisor.start(); !started) {
    std::filesystem::remove(pid_file(paths, kSupervisor), ignored);
    return started;
  }
  const auto profile = ensure_profile(paths);
  if (!profile) log::error("profile.not-made", {{"reason", profile.error().describe()}});
  if (profile && *profile)
    report(
        fmt::format("made an administrator's token and certificate in {}", paths.folder_of("cli").string()));
  if (profile) {
    const auto administrator = ensure_first_administrator(paths);
    if (!administrator) log::error("administrator.not-made", {{"reason", administrator.error().describe()}});
    if (administrator && *administrator)
      report(fmt::format("made the key of {} for Azure's clients, {}", kFirstAdministrator,
                         administrator_file(paths).string()));
  }
  ready();
  const Status ended = supervisor.run();
  std::filesystem::remove(pid_file(paths, kSupervisor), ignored);
  if (!profile) return tl::unexpected(profile.error());
  return ended;
}

Result<ProcessIdentity> detach(const Paths& paths, const UpOptions& options, int report_write_end) {
  Command command;
  command.arguments = {"/proc/self/exe", "up", "--foreground", "--report-fd", std::to_string(kReportFd)};
  std::error_code error;
  command.arguments[0] = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) return fail(ErrorCode::io_error, fmt::format("finding this program: {}", error.message()));
  if (!options.passphrase_file.empty())
    command.arguments.insert(
        command.arguments.end(),
        {"--vault-passphrase-file", std::filesystem::absolute(options.passphrase_file).string()});
  command.new_session = true;
  command.working_folder = "/";
  BOOTSEAL_TRY(const UniqueFd log, open_file(paths.home / "log/up.log", O_WRONLY | O_CREAT | O_APPEND, 0640));
  command.fds = {{1, log.get()}, {2, log.get()}, {kReportFd, report_write_end}};
  return spawn(command);
}

// Lines from the detached supervisor until it is ready or has failed.
Status follow(int read_end, cli::Progress& progress, const Global& global) {
  std::string text;
  while (true) {
    BOOTSEAL_TRY(const bool readable, wait_readable(read_end, std::chrono::milliseconds(100)));
    progress.tick();
    if (!readable) continue;
    std::array<char, 4096> buffer{};
    const ssize_t got = ::read(read_end, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(ErrorCode::unavailable, "the supervisor ended before the site was up");
    text.append(buffer.data(), static_cast<std::size_t>(got));
    for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
      const std::string line = text.substr(0, end);
      text.erase(0, end + 1);
      if (line == kReady) return {};
      if (line.starts_with(kFailed)) {
        BOOTSEAL_TRY(const json::Value problem, json::parse(line.substr(kFailed.size())));
        return fail(error_code_from_name(cli::text_at(problem, {"code"})),
                    cli::text_at(problem, {"message"}));
      }
      if (!global.quiet && ::isatty(STDERR_FILENO) != 1) fmt::print(stderr, "{}\n", line);
      if (::isatty(STDERR_FILENO) == 1) progress.step(line);
    }
  }
}

void print_what_next(const Global& global, const Paths& paths) {
  if (global.quiet) return;
  const auto profile = cli::Profile::load(paths.folder_of("cli"));
  fmt::print("Bootseal is running at {}. Next:\n", profile ? profile->endpoint : "its socket");
  std::error_code error;
  const bool has_image = std::filesystem::is_directory(paths.images(), error) &&
                         !std::filesystem::is_empty(paths.images(), error);
  if (!has_image) fmt::print("  bootseal image build debian-12-mini\n");
  const bool has_vm =
      std::filesystem::is_directory(paths.home / "vms", error) &&
      std::filesystem::directory_iterator(paths.home / "vms", error) != std::filesystem::directory_iterator();
  fmt::print("  bootseal {}\n  bootseal status\n",
             has_vm ? "vm list" : "vm create --name demo --image debian-12-mini");
}

Status report_to(int fd, const std::string& line) {
  return write_all(fd, as_bytes(line + "\n"));
}

Status run_detached_supervisor(const Paths& paths, const UpOptions& options) {
  UniqueFd report(options.report_fd);
  // Whoever started us may be gone: that is no reason to stop.
  const auto tell = [&](const std::string& line) {
    if (report.valid() && !report_to(report.get(), line)) report.reset();
  };
  const Status status = supervise(paths, options, log::Level::debug, tell, [&] {
    tell(std::string(kReady));
    report.reset();
  });
  if (!status) {
    json::Object problem;
    problem["code"] = error_info(status.error().code).name;
    problem["message"] = status.error().describe();
    tell(std::string(kFailed) + json::serialize(problem));
  }
  return status;
}

}  // namespace

Status up(const Global& global, const UpOptions& options) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  if (options.report_fd >= 0) return run_detached_supervisor(paths, options);
  if (const auto running = running_process(paths, kSupervisor)) {
    if (!global.quiet)
      fmt::print("Bootseal is running already (supervisor {}, {}).\n", running->pid, paths.home.string());
    return {};
  }
  if (const auto missing = missing_on_this_machine(paths); !missing.empty()) {
    return fail(ErrorCode::unsupported,
                fmt::format("this machine lacks what Bootseal needs:\n  {}", fmt::join(missing, "\n  ")));
  }
  BOOTSEAL_TRY_STATUS(check_listen_address(paths));
  BOOTSEAL_TRY_STATUS(make_folders(paths));
  if (options.foreground) {
    // A person reads the steps; what goes to a journal gets every event.
    const bool is_for_people = global.quiet || ::isatty(STDERR_FILENO) == 1;
    return supervise(
        paths, options, is_for_people ? log::Level::warning : log::Level::debug,
        [&](const std::string& line) {
          if (!global.quiet) fmt::print(stderr, "{}\n", line);
        },
        [&] {
          print_what_next(global, paths);
          std::fflush(stdout);
        });
  }
  BOOTSEAL_TRY(Pipe pipe, make_pipe());
  cli::Progress progress(global.quiet);
  BOOTSEAL_TRY_STATUS(detach(paths, options, pipe.write_end.get()));
  pipe.write_end.reset();
  BOOTSEAL_TRY_STATUS(follow(pipe.read_end.get(), progress, global));
  progress.clear();
  print_what_next(global, paths);
  return {};
}

}  // namespace bootseal::app

// `bootseal up` and `bootseal down`.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "bootseal/cli/progress.h"
#include "bootseal/cli/vm_page.h"
#include "bootseal/log/log.h"
#include "site_access.h"
#include "site_setup.h"
#include "supervisor.h"

namespace bootseal::app {
namespace {

constexpr std::string_view kReady = "ready";
constexpr std::string_view kFailed = "error ";
constexpr int kReportFd = 3;
constexpr std::chrono::milliseconds kDownLimit{120000};
constexpr std::chrono::seconds kShutdownLimit{60};

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
Status supervise(const Paths& paths, const UpOptions& options,
                 const std::function<void(const std::string&)>& report, const std::function<void()>& ready) {
  block_stop_signals();
  std::signal(SIGPIPE, SIG_IGN);
  log::start("up");
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
  fmt::print("  bootseal vm create --name demo --image debian-12-mini\n  bootseal status\n");
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
  const Status status = supervise(paths, options, tell, [&] {
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

// Asks every VM to stop, and ends those that do not.
Status stop_vms(const Global& global, cli::SiteClient& site, const json::Array& vms) {
  const cli::Interrupt interrupt;
  cli::Progress progress(global.quiet);
  const auto ask = [&](const std::string& query) {
    std::vector<std::pair<std::string, std::string>> waiting;  // resource, operation
    for (const json::Value& vm : vms) {
      const std::string id = cli::text_at(vm, {"id"});
      const auto now = site.call("GET", id, nullptr, {}, "$expand=instanceView");
      if (!now) continue;  // gone meanwhile
      const std::string power = cli::power_state(now->body);
      if (power.empty() || power == "stopped" || power == "deallocated") continue;
      const auto answer = site.call("POST", id + "/powerOff", nullptr, {}, query);
      if (answer) waiting.emplace_back(id, answer->operation_path);
    }
    return waiting;
  };
  const auto wait_for = [&](const std::vector<std::pair<std::string, std::string>>& waiting,
                            std::chrono::seconds limit) -> Status {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (const auto& [id, operation] : waiting) {
      progress.step(fmt::format("Stopping {}", id.substr(id.rfind('/') + 1)));
      std::stop_source late;
      const std::stop_callback on_interrupt(interrupt.token(), [&] { late.request_stop(); });
      const auto ended = site.wait(operation, late.get_token(), [&] {
        progress.tick();
        if (std::chrono::steady_clock::now() > deadline) late.request_stop();
      });
      if (interrupt.token().stop_requested())
        return fail(ErrorCode::cancelled,
                    "stopped waiting; the daemons still run. Again: bootseal down --stop-vms");
      if (!ended) log::debug("vm.not-stopped-yet", {{"vm", id}, {"reason", ended.error().describe()}});
    }
    return {};
  };
  BOOTSEAL_TRY_STATUS(wait_for(ask("skipShutdown=false"), kShutdownLimit));
  BOOTSEAL_TRY_STATUS(wait_for(ask("skipShutdown=true"), kShutdownLimit));
  if (const auto left = ask("skipShutdown=true"); !left.empty()) {
    return fail(ErrorCode::timeout,
                fmt::format("{} VMs did not stop, for example {}; nothing was ended. See `bootseal vm list`",
                            left.size(), left.front().first));
  }
  return {};
}

Result<json::Array> list_vms(cli::SiteClient& site) {
  BOOTSEAL_TRY(const auto answer,
               site.call("GET", site.subscription_path() + "/providers/Microsoft.Compute/virtualMachines",
                         nullptr, {}, "$expand=instanceView"));
  const json::Value* list = cli::find(answer.body, {"value"});
  if (list == nullptr || !list->is_array())
    return fail(ErrorCode::unavailable, "the server's list of VMs has no 'value'");
  return list->get_array();
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
  BOOTSEAL_TRY_STATUS(make_folders(paths));
  if (options.foreground) {
    return supervise(
        paths, options, [&](const std::string& line) { fmt::print(stderr, "{}\n", line); },
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

Status down(const Global& global, const DownOptions& options) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  const auto supervisor = running_process(paths, kSupervisor);
  std::size_t running_vms = 0;
  if (const auto site = open_site(); site) {
    auto vms = list_vms(**site);
    if (!vms && options.stop_vms && supervisor)
      return tl::unexpected(vms.error().wrap("the VMs cannot be stopped; nothing was ended"));
    if (vms && options.stop_vms) BOOTSEAL_TRY_STATUS(stop_vms(global, **site, *vms));
    if (vms && !options.stop_vms)
      running_vms = static_cast<std::size_t>(std::count_if(
          vms->begin(), vms->end(), [](const json::Value& vm) { return cli::power_state(vm) == "running"; }));
  }
  bool ended_something = false;
  if (supervisor) {
    cli::Progress progress(global.quiet);
    progress.step("Ending the daemons");
    BOOTSEAL_TRY_STATUS(signal_process(*supervisor, SIGTERM));
    BOOTSEAL_TRY(const bool ended, wait_for_end(*supervisor, kDownLimit));
    if (!ended)
      return fail(ErrorCode::timeout, fmt::format("the supervisor ({}) has not ended; see {}",
                                                  supervisor->pid, (paths.home / "log/up.log").string()));
    ended_something = true;
  }
  for (auto name = kDaemons.rbegin(); name != kDaemons.rend(); ++name) {
    // Left by a supervisor that was killed.
    if (const auto process = running_process(paths, *name)) {
      BOOTSEAL_TRY_STATUS(end_process(*process, kDownLimit));
      ended_something = true;
    }
  }
  if (global.quiet) return {};
  if (!ended_something) {
    fmt::print("Bootseal is not running.\n");
  } else if (running_vms > 0) {
    fmt::print(
        "The daemons have ended. {} VM{} running; `bootseal up` finds {} again, `bootseal down --stop-vms` "
        "stops VMs too.\n",
        running_vms, running_vms == 1 ? " keeps" : "s keep", running_vms == 1 ? "it" : "them");
  } else {
    fmt::print("Bootseal has ended.\n");
  }
  return {};
}

Status site_status(const Global& global) {
  BOOTSEAL_TRY(const Paths paths, Paths::from_environment());
  BOOTSEAL_TRY(const auto site, open_site());
  auto answer = site->call("GET", "/bootseal/status");
  if (!answer) {
    if (!running_process(paths, kSupervisor) && answer.error().code == ErrorCode::unavailable) {
      return fail(ErrorCode::unavailable,
                  fmt::format("Bootseal is not running here ({}); start it with `bootseal up`",
                              answer.error().message));
    }
    return tl::unexpected(answer.error());
  }
  const json::Value* daemons = cli::find(answer->body, {"daemons"});
  if (daemons == nullptr || !daemons->is_array())
    return fail(ErrorCode::unavailable, "the server's status has no 'daemons'");
  std::string silent;
  cli::Table table{{"Daemon", "State", "Process"}, {}};
  for (const json::Value& daemon : daemons->get_array()) {
    const std::string name = cli::text_at(daemon, {"name"});
    const bool is_answering = cli::text_at(daemon, {"answers"}) == "true";
    if (!is_answering) silent += (silent.empty() ? "" : ", ") + name;
    const auto process = running_process(paths, name);
    table.rows.push_back({name, is_answering ? "answers" : cli::text_at(daemon, {"message"}),
                          process ? std::to_string(process->pid) : "-"});
  }
  if (global.format == cli::Format::json) {
    print_json(answer->body);
  } else if (global.format != cli::Format::people) {
    print_table(global, table);
  } else {
    fmt::print("Bootseal {} at {}, state in {}\n\n{}", cli::text_at(answer->body, {"version"}),
               site->profile().endpoint, paths.home.string(), table.to_text());
    fmt::print("\n{} VMs, {} images\n", cli::text_at(answer->body, {"virtualMachines"}),
               cli::text_at(answer->body, {"images"}));
    if (const json::Value* hosts = cli::find(answer->body, {"hosts"});
        hosts != nullptr && hosts->is_array()) {
      for (const json::Value& host : hosts->get_array()) {
        const std::string reason = cli::text_at(host, {"accelerator", "reason"});
        fmt::print("host {}: {} CPUs, {} MiB, {}, accelerator {}{}\n",
                   cli::printable(cli::text_at(host, {"hostId"})), cli::text_at(host, {"cpus"}),
                   cli::text_at(host, {"memoryMiB"}), cli::printable(cli::text_at(host, {"qemuVersion"})),
                   cli::text_at(host, {"accelerator", "kind"}),
                   reason.empty() ? "" : " (" + cli::printable(reason) + ")");
      }
    }
    if (const json::Value* missing = cli::find(answer->body, {"missingProtections"});
        missing != nullptr && missing->is_array() && !missing->get_array().empty()) {
      fmt::print("\nThis machine or user cannot give:\n");
      for (const json::Value& text : missing->get_array()) {
        if (text.is_string()) fmt::print("  {}\n", cli::printable(std::string_view(text.get_string())));
      }
    }
  }
  if (!silent.empty())
    return fail(ErrorCode::unavailable, fmt::format("these do not answer: {}; see the logs in {}", silent,
                                                    (paths.home / "log").string()));
  return {};
}

}  // namespace bootseal::app

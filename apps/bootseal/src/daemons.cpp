#include "daemons.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <csignal>
#include <sstream>

#include "bootseal/base/fds.h"
#include "bootseal/cli/output.h"
#include "bootseal/net/client.h"

namespace bootseal::app {
namespace {

constexpr int kPassphraseFd = 3;
constexpr std::size_t kPidFileSize = 64;
constexpr std::size_t kLogTail = 2000;
constexpr std::size_t kLogLimit = std::size_t{1} << 20;
constexpr int kLookAgainMs = 50;
constexpr std::chrono::milliseconds kAnswerLimit{5000};

// What daemons may know of the environment of the person who starts them.
std::map<std::string, std::string> daemon_environment() {
  std::map<std::string, std::string> environment;
  for (char** next = ::environ; *next != nullptr; ++next) {
    const std::string_view text(*next);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = text.substr(0, equals);
    if (name.starts_with("BOOTSEAL_") || name.ends_with("SAN_OPTIONS") || name == "PATH" || name == "HOME" ||
        name == "LANG" || name.starts_with("XDG_")) {
      environment.emplace(name, text.substr(equals + 1));
    }
  }
  return environment;
}

// A path that every daemon answers cheaply, if only with a refusal.
std::string probe_target(std::string_view name) {
  if (name == "vaultd") return "/v1/ca";
  if (name == "hostd") return "/v1/vms";
  if (name == "attestd") return "/v1/vms/00000000-0000-0000-0000-000000000000/verdict";
  return "/openapi.json";
}

std::filesystem::path log_file(const Paths& paths, std::string_view name) {
  return paths.home / "log" / fmt::format("{}.log", name);
}

// The last event of the lines that is an error with a code and a message, as daemons leave one when they end.
std::optional<Error> last_error(std::string_view lines) {
  std::optional<Error> last;
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    const auto event = json::parse(lines.substr(0, end));
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (!event || cli::text_at(*event, {"level"}) != "error") continue;
    const std::string code = cli::text_at(*event, {"code"});
    const std::string message = cli::text_at(*event, {"message"});
    if (!code.empty() && !message.empty()) last = Error{error_code_from_name(code), message, nullptr};
  }
  return last;
}

Error why_it_ended(const Paths& paths, std::string_view name, std::uint64_t log_from) {
  const auto fd = open_file(log_file(paths, name), O_RDONLY);
  if (fd && ::lseek(fd->get(), static_cast<off_t>(log_from), SEEK_SET) >= 0) {
    const auto content = read_to_end(fd->get(), kLogLimit);
    if (const auto said = content ? last_error(as_text(*content)) : std::nullopt)
      return said->wrap(fmt::format("bootseal-{} cannot start", name));
  }
  return {ErrorCode::unavailable,
          fmt::format("bootseal-{} ended before it answered; the end of {}:\n{}", name,
                      log_file(paths, name).string(), end_of_log(paths, name)),
          nullptr};
}

}  // namespace

std::filesystem::path pid_file(const Paths& paths, std::string_view name) {
  return paths.run / fmt::format("{}.pid", name);
}

Status write_pid_file(const Paths& paths, std::string_view name, const ProcessIdentity& process) {
  const std::string text = fmt::format("{} {}\n", process.pid, process.start_time_ticks);
  return replace_file(pid_file(paths, name), as_bytes(text), 0644);
}

std::optional<ProcessIdentity> running_process(const Paths& paths, std::string_view name) {
  if (const auto content = read_file(pid_file(paths, name), kPidFileSize)) {
    std::istringstream text{std::string(as_text(*content))};
    ProcessIdentity process;
    if (text >> process.pid >> process.start_time_ticks && process.pid > 0 && is_running(process))
      return process;
  }
  // The credentials of the other end are those of the process that began to listen.
  const auto socket = connect_unix(paths.socket_of(name));
  if (!socket) return std::nullopt;
  const auto peer = peer_credentials(socket->get());
  if (!peer || peer->pid <= 0) return std::nullopt;
  const auto process = identify_process(peer->pid);
  return process && is_running(*process) ? std::optional(*process) : std::nullopt;
}

Result<ProcessIdentity> start_daemon(const Paths& paths, std::string_view name,
                                     const std::filesystem::path& passphrase_file) {
  Command command;
  command.arguments = {(paths.programs / fmt::format("bootseal-{}", name)).string()};
  command.environment = daemon_environment();
  command.working_folder = "/";
  BOOTSEAL_TRY(const UniqueFd log, open_file(log_file(paths, name), O_WRONLY | O_CREAT | O_APPEND, 0640));
  BOOTSEAL_TRY(const UniqueFd null, open_file("/dev/null", O_RDONLY));
  command.fds = {{0, null.get()}, {1, log.get()}, {2, log.get()}};
  UniqueFd passphrase;
  if (name == "vaultd") {
    BOOTSEAL_TRY(passphrase, open_file(passphrase_file, O_RDONLY));
    command.fds[kPassphraseFd] = passphrase.get();
    command.arguments.insert(command.arguments.end(), {"--passphrase-fd", std::to_string(kPassphraseFd)});
  }
  BOOTSEAL_TRY(const ProcessIdentity process, spawn(command));
  BOOTSEAL_TRY_STATUS(write_pid_file(paths, name, process));
  return process;
}

std::uint64_t log_size(const Paths& paths, std::string_view name) {
  std::error_code error;
  const auto size = std::filesystem::file_size(log_file(paths, name), error);
  return error ? 0 : static_cast<std::uint64_t>(size);
}

bool answers(const Paths& paths, std::string_view name, std::chrono::milliseconds limit) {
  net::ClientOptions options;
  options.unix_socket = paths.socket_of(name);
  options.base_url = "http://daemon";
  options.limit = limit;
  options.connect_limit = limit;
  const auto client = net::Client::create(std::move(options));
  if (!client) return false;
  net::Call call;
  call.target = probe_target(name);
  return (*client)->send(call).has_value();
}

Status wait_until_it_answers(const Paths& paths, std::string_view name, const ProcessIdentity& process,
                             std::uint64_t log_from, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  // A socket that appears in the run folder wakes the wait; the short limit covers the moment between bind
  // and listen.
  const UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch.valid()) return fail_errno(errno, "watching the run folder");
  if (::inotify_add_watch(watch.get(), paths.run.c_str(), IN_CREATE | IN_MOVED_TO | IN_ATTRIB) < 0) {
    return fail_errno(errno, fmt::format("watching {}", paths.run.string()));
  }
  while (true) {
    const auto process_fd = open_process(process);
    if (!process_fd) return tl::unexpected(why_it_ended(paths, name, log_from));
    if (answers(paths, name, kAnswerLimit)) return {};
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(ErrorCode::timeout,
                  fmt::format("bootseal-{} does not answer on {}; see {}", name,
                              paths.socket_of(name).string(), log_file(paths, name).string()));
    }
    pollfd fds[] = {{process_fd->get(), POLLIN, 0}, {watch.get(), POLLIN, 0}};
    if (::poll(fds, 2, kLookAgainMs) > 0 && fds[1].revents != 0) {
      std::array<char, 4096> events{};
      while (::read(watch.get(), events.data(), events.size()) > 0) continue;
    }
  }
}

Status end_process(const ProcessIdentity& process, std::chrono::milliseconds patience) {
  BOOTSEAL_TRY_STATUS(signal_process(process, SIGTERM));
  BOOTSEAL_TRY(const bool ended, wait_for_end(process, patience));
  if (ended) return {};
  BOOTSEAL_TRY_STATUS(signal_process(process, SIGKILL));
  BOOTSEAL_TRY_STATUS(wait_for_end(process, std::nullopt));
  return {};
}

std::string end_of_log(const Paths& paths, std::string_view name) {
  const auto fd = open_file(log_file(paths, name), O_RDONLY);
  if (!fd) return "(no log)";
  const off_t size = ::lseek(fd->get(), 0, SEEK_END);
  ::lseek(fd->get(), size > static_cast<off_t>(kLogTail) ? size - static_cast<off_t>(kLogTail) : 0, SEEK_SET);
  const auto content = read_to_end(fd->get(), kLogTail);
  return content ? std::string(as_text(*content)) : "(the log cannot be read)";
}

}  // namespace bootseal::app

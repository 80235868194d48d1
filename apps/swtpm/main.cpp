// bootseal-swtpm: swtpm's command line and protocols over Bootseal's guest state (docs/bootseal-swtpm.md).
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/guest/swtpm.h"
#include "bootseal/log/log.h"
#include "channels.h"
#include "command_line.h"
#include "key_option.h"

namespace bootseal::swtpm {
namespace {

// The version whose command line and protocol this is: programs compare it.
constexpr std::string_view kSwtpmVersion = "0.7.1";
constexpr mode_t kLogMode = 0600;

// Lines of text on standard error, which is the log once there is one.
std::string log_prefix = "swtpm: ";

// A log that takes nothing (a full disk, a pipe without a reader) must not stop a TPM: the words are lost
// then.
void put(std::string_view text) {
  static_cast<void>(write_all(STDERR_FILENO, as_bytes(text)));
}

void say(std::string_view line) {
  put(fmt::format("{}{}\n", log_prefix, line));
}

// Returns its level.
Result<unsigned> start_log(const std::optional<std::string>& option) {
  if (!option) return 1U;
  BOOTSEAL_TRY(const LogOptions log, parse_log_option(*option));
  UniqueFd fd;
  if (log.file) {
    const bool nowhere = *log.file == "-";
    const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | (log.truncate ? O_TRUNC : O_APPEND);
    BOOTSEAL_TRY(fd, nowhere ? open_file("/dev/null", O_WRONLY) : open_file(*log.file, flags, kLogMode));
  } else if (log.fd && *log.fd != STDERR_FILENO) {
    fd = UniqueFd(*log.fd);
  }
  if (fd.valid() && ::dup2(fd.get(), STDERR_FILENO) < 0)
    return fail_errno(errno, fmt::format("Could not access logfile using fd {}", fd.get()));
  log_prefix = log.prefix;
  return log.level;
}

// The Unix sockets that were made here.
class SocketFiles {
 public:
  SocketFiles() = default;
  SocketFiles(const SocketFiles&) = delete;
  SocketFiles& operator=(const SocketFiles&) = delete;
  ~SocketFiles() {
    for (const std::filesystem::path& path : paths_) ::unlink(path.c_str());
  }
  void add(const std::filesystem::path& path) {
    if (!path.empty()) paths_.push_back(path);
  }

 private:
  std::vector<std::filesystem::path> paths_;
};

Status open_channels(const CommandLine& line, guest::SwtpmOptions& options, SocketFiles& files) {
  if (line.ctrl) {
    BOOTSEAL_TRY(Channel control, open_control_channel(*line.ctrl));
    files.add(control.path);
    options.control_listener = std::move(control.listener);
    options.control_client = std::move(control.client);
    options.terminate_with_control = control.terminate;
  }
  if (line.device) {
    BOOTSEAL_TRY(options.data_client, open_file(*line.device, O_RDWR));
  } else if (line.fd) {
    options.data_client = UniqueFd(*line.fd);
    options.terminate = true;
  }
  if (line.interface == Interface::chardev) options.terminate = true;
  if (line.server) {
    const char* port = std::getenv("TPM_PORT");
    BOOTSEAL_TRY(Channel data, open_data_channel(*line.server, line.port         ? *line.port
                                                               : port != nullptr ? port
                                                                                 : ""));
    files.add(data.path);
    if (data.client.valid()) options.terminate = true;
    options.data_listener = std::move(data.listener);
    if (data.client.valid()) options.data_client = std::move(data.client);
    options.keep_connection = !data.disconnect;
  }
  return {};
}

Status print_states(const CommandLine& line) {
  BOOTSEAL_TRY(const auto location, parse_tpmstate_option(line.tpmstate, line.version));
  if (!line.tpmstate || !location) {
    return fail(ErrorCode::invalid_argument, "Error: --tpmstate option is required for --print-states");
  }
  const guest::SwtpmStore store(*location, nullptr);
  BOOTSEAL_TRY(const auto states, store.list());
  fmt::print("{}", guest::swtpm_states(states));
  return {};
}

Status serve(const CommandLine& line) {
  if (line.run_as) BOOTSEAL_TRY_STATUS(run_as(*line.run_as));
  BOOTSEAL_TRY(const unsigned log_level, start_log(line.log));
  if (line.print_capabilities) {
    fmt::print("{}\n", guest::swtpm_capabilities(line.version, kSwtpmVersion));
    return {};
  }
  if (line.print_states) return print_states(line);
  if (line.interface == Interface::chardev && !line.device && !line.fd)
    return fail(ErrorCode::invalid_argument, "Error: Missing character device or file descriptor");

  std::optional<Background> background;
  if (line.daemon) {
    BOOTSEAL_TRY(background, Background::enter());
  }
  PidOption pid;
  if (line.pid) {
    BOOTSEAL_TRY(pid, parse_pid_option(*line.pid));
  }
  protect_memory();  // from here on /proc/self tells an ordinary user nothing
  guest::SwtpmOptions options;
  options.version = line.version;
  options.log_level = log_level;
  SocketFiles files;
  BOOTSEAL_TRY_STATUS(open_channels(line, options, files));
  crypto::Secret file_key;
  crypto::Secret migration_key;
  if (line.key) {
    BOOTSEAL_TRY(file_key, key_from_option(*line.key));
    options.file_key = &file_key;
  }
  if (line.migration_key) {
    BOOTSEAL_TRY(migration_key, key_from_option(*line.migration_key));
    options.migration_key = &migration_key;
  }
  BOOTSEAL_TRY(const LocalityOptions locality, parse_locality_option(line.locality.value_or("")));
  options.reject_locality_4 = locality.reject_4;
  options.allow_set_locality = locality.allow_set;
  BOOTSEAL_TRY(const auto location, parse_tpmstate_option(line.tpmstate, line.version));
  BOOTSEAL_TRY(const Seccomp seccomp, parse_seccomp_option(line.seccomp.value_or("")));
  BOOTSEAL_TRY(const StartFlags flags, parse_flags_option(line.flags.value_or(""), line.version));
  options.need_init = flags.need_init;
  options.startup = flags.startup;
  options.terminate = options.terminate || line.terminate;
  std::optional<guest::SwtpmStore> store;
  if (location) options.store = &store.emplace(*location, options.file_key);
  BOOTSEAL_TRY(options.signals, catch_signals());
  options.say = say;
  PidFile pid_file;
  options.on_ready = [&]() -> Status {
    if (line.pid) {
      BOOTSEAL_TRY(pid_file, PidFile::write(pid.path, UniqueFd(pid.fd.value_or(-1))));
    }
    if (background) BOOTSEAL_TRY_STATUS(background->ready(line.log.has_value()));
    return forbid_system_calls(seccomp);
  };
  return guest::run_swtpm(std::move(options));
}

constexpr std::string_view kUsage =
    "TPM emulator with choice of interface, its state sealed and durable.\n\n"
    "Usage: {0} socket|chardev [options]\n"
    "       {0} -v|--version\n\n"
    "Use the --help option to see the help screen for each interface type.\n"
    "Use the --version options to see version information.\n";

int run(std::vector<std::string> arguments) {
  const std::string program = arguments.empty() ? "bootseal-swtpm" : arguments.front();
  const std::string type = arguments.size() > 1 ? arguments[1] : "";
  if (type == "-v" || type == "--version") {
    fmt::print("TPM emulator version {}, bootseal-swtpm {}\n", kSwtpmVersion, BOOTSEAL_VERSION);
    return EXIT_SUCCESS;
  }
  if (type == "-h" || type == "--help") {
    fmt::print(kUsage, program);
    return EXIT_SUCCESS;
  }
  if (type == "cuse") {
    say("The CUSE interface is not offered: it needs a device of its own in the kernel; QEMU, libvirt and "
        "the "
        "TPM tools use `socket`.");
    return EXIT_FAILURE;
  }
  if (type != "socket" && type != "chardev") {
    if (!type.empty()) put(fmt::format("Unsupported TPM interface type '{}'.\n", type));
    put(fmt::format(kUsage, program));
    return EXIT_FAILURE;
  }
  const Interface interface = type == "socket" ? Interface::socket : Interface::chardev;
  const auto line = parse_command_line(interface, std::move(arguments));
  if (line && line->help) {
    fmt::print("{}", usage(interface, program));
    return EXIT_SUCCESS;
  }
  if (line && line->wrong_usage) {
    put(usage(interface, program));
    return EXIT_FAILURE;
  }
  const Status outcome = line ? serve(*line) : Status(tl::unexpected(line.error()));
  if (outcome) return EXIT_SUCCESS;
  say(outcome.error().describe());
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace bootseal::swtpm

int main(int count, char** values) {
  bootseal::log::start("bootseal-swtpm");
  return bootseal::swtpm::run({values, values + count});
}

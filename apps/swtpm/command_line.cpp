#include "command_line.h"

#include <fmt/format.h>
#include <getopt.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>

#include "option_string.h"

namespace bootseal::swtpm {
namespace {

constexpr std::size_t kHighestPort = 0xFFFF;

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message));
}

// Options of both interfaces; the letters are only ours.
constexpr std::array<option, 14> kCommonOptions = {{{"daemon", no_argument, nullptr, 'd'},
                                                    {"help", no_argument, nullptr, 'h'},
                                                    {"fd", required_argument, nullptr, 'f'},
                                                    {"runas", required_argument, nullptr, 'r'},
                                                    {"locality", required_argument, nullptr, 'L'},
                                                    {"log", required_argument, nullptr, 'l'},
                                                    {"key", required_argument, nullptr, 'k'},
                                                    {"migration-key", required_argument, nullptr, 'K'},
                                                    {"pid", required_argument, nullptr, 'P'},
                                                    {"tpmstate", required_argument, nullptr, 's'},
                                                    {"ctrl", required_argument, nullptr, 'C'},
                                                    {"flags", required_argument, nullptr, 'F'},
                                                    {"seccomp", required_argument, nullptr, 'S'},
                                                    {"tpm2", no_argument, nullptr, '2'}}};
constexpr std::array<option, 2> kPrintOptions = {
    {{"print-capabilities", no_argument, nullptr, 'a'}, {"print-states", no_argument, nullptr, 'e'}}};
constexpr std::array<option, 3> kSocketOptions = {{{"port", required_argument, nullptr, 'p'},
                                                   {"server", required_argument, nullptr, 'c'},
                                                   {"terminate", no_argument, nullptr, 't'}}};
constexpr std::array<option, 2> kChardevOptions = {
    {{"chardev", required_argument, nullptr, 'D'}, {"vtpm-proxy", no_argument, nullptr, 'v'}}};

// Devices and sockets, no files.
Result<int> data_descriptor(const std::string& text) {
  const auto number = parse_number(text, 10, INT_MAX);
  struct stat status {};
  if (!number) return bad("Cannot parse socket file descriptor.");
  const int fd = static_cast<int>(*number);
  if (::fstat(fd, &status) != 0) return fail_errno(errno, fmt::format("Cannot stat file descriptor {}", fd));
  if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode))
    return bad("Given file descriptor type is not supported.");
  if (fd < 3) return bad("Error: Cannot accept file descriptors with values 0, 1, or 2");
  return fd;
}

std::filesystem::path absolute(const std::string& path) {
  std::error_code error;
  const auto result = std::filesystem::absolute(path, error);
  return error ? std::filesystem::path(path) : result;
}

}  // namespace

Result<CommandLine> parse_command_line(Interface interface, std::vector<std::string> arguments) {
  CommandLine line;
  line.interface = interface;
  std::vector<option> options(kCommonOptions.begin(), kCommonOptions.end());
  options.insert(options.end(), kPrintOptions.begin(), kPrintOptions.end());
  const bool socket = interface == Interface::socket;
  if (socket) options.insert(options.end(), kSocketOptions.begin(), kSocketOptions.end());
  if (!socket) options.insert(options.end(), kChardevOptions.begin(), kChardevOptions.end());
  options.push_back({nullptr, 0, nullptr, 0});
  std::vector<char*> values;
  for (std::string& argument : arguments) values.push_back(argument.data());
  values.push_back(nullptr);

  optind = 0;  // a new scan, also when tests call this again
  const char* const letters = socket ? "dhp:f:tr:" : "dhc:f:r:";
  for (;;) {
    int letter =
        ::getopt_long(static_cast<int>(arguments.size()), values.data(), letters, options.data(), nullptr);
    if (letter == -1) break;
    if (!socket && letter == 'c') letter = 'D';
    switch (letter) {
      case 'd':
        line.daemon = true;
        break;
      case 'h':
        line.help = true;
        return line;
      case 'p': {
        const auto port = parse_number(optarg, 10, ULONG_MAX);
        if (!port) return bad(fmt::format("Cannot parse socket port number '{}'.", optarg));
        if (*port > kHighestPort) return bad("Port is outside valid range.");
        line.port = optarg;
        line.server = "type=tcp,disconnect";
        break;
      }
      case 'f': {
        BOOTSEAL_TRY(line.fd, data_descriptor(optarg));
        break;
      }
      case 'D':
        line.device = optarg;
        break;
      case 'v':
        return bad(
            "--vtpm-proxy is not offered: it makes a TPM of the host's own, and bootseal-swtpm serves those "
            "of "
            "virtual machines; use swtpm for it");
      case 'c':
        line.server = optarg;
        break;
      case 't':
        line.terminate = true;
        break;
      case 'k':
        line.key = optarg;
        break;
      case 'K':
        line.migration_key = optarg;
        break;
      case 'l':
        line.log = optarg;
        break;
      case 'P':
        line.pid = optarg;
        break;
      case 's':
        line.tpmstate = optarg;
        break;
      case 'C':
        line.ctrl = optarg;
        break;
      case 'L':
        line.locality = optarg;
        break;
      case 'F':
        line.flags = optarg;
        break;
      case 'S':
        line.seccomp = optarg;
        break;
      case 'r':
        line.run_as = optarg;
        break;
      case '2':
        line.version = guest::TpmVersion::v2_0;
        break;
      case 'a':
        line.print_capabilities = true;
        break;
      case 'e':
        line.print_states = true;
        break;
      default:
        line.wrong_usage = true;
        return line;
    }
  }
  // The first of the two values is the program, the second the interface.
  if (optind + 1 < static_cast<int>(arguments.size()))
    return bad(fmt::format("Unknown parameter '{}'", values[static_cast<std::size_t>(optind) + 1]));
  return line;
}

Result<LogOptions> parse_log_option(std::string_view text) {
  constexpr std::array kRules = {OptionRule{"file", OptionKind::text}, OptionRule{"fd", OptionKind::number},
                                 OptionRule{"level", OptionKind::number},
                                 OptionRule{"prefix", OptionKind::text},
                                 OptionRule{"truncate", OptionKind::truth}};
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(text, kRules));
  LogOptions log;
  log.file = options.text("file");
  log.fd = options.number("fd");
  log.prefix = options.text("prefix").value_or("");
  log.truncate = options.truth("truncate");
  log.level = static_cast<unsigned>(std::clamp(options.number("level").value_or(1), 0, 100));
  return log;
}

Result<std::optional<guest::SwtpmLocation>> parse_tpmstate_option(const std::optional<std::string>& text,
                                                                  guest::TpmVersion version) {
  constexpr std::array kRules = {OptionRule{"dir", OptionKind::text}, OptionRule{"mode", OptionKind::mode},
                                 OptionRule{"backend-uri", OptionKind::text}};
  constexpr mode_t kDefaultMode = 0640;
  if (!text) {
    const char* folder = std::getenv("TPM_PATH");
    if (folder == nullptr) return std::nullopt;
    return guest::SwtpmLocation::directory(absolute(folder), kDefaultMode, version);
  }
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(*text, kRules));
  const mode_t mode = options.mode("mode").value_or(kDefaultMode);
  if (const auto folder = options.text("dir"))
    return guest::SwtpmLocation::directory(absolute(*folder), mode, version);
  const auto uri = options.text("backend-uri");
  if (!uri) return bad("The dir or backend-uri parameters is required for the tpmstate option.");
  BOOTSEAL_TRY(guest::SwtpmLocation location, guest::SwtpmLocation::from_uri(*uri, mode, version));
  location.file = absolute(location.file);
  return location;
}

Result<LocalityOptions> parse_locality_option(std::string_view text) {
  constexpr std::array kRules = {OptionRule{"reject-locality-4", OptionKind::truth},
                                 OptionRule{"allow-set-locality", OptionKind::truth}};
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(text, kRules));
  return LocalityOptions{options.truth("reject-locality-4"), options.truth("allow-set-locality")};
}

Result<StartFlags> parse_flags_option(std::string_view text, guest::TpmVersion version) {
  constexpr std::array kRules = {
      OptionRule{"not-need-init", OptionKind::truth}, OptionRule{"startup-none", OptionKind::truth},
      OptionRule{"startup-clear", OptionKind::truth}, OptionRule{"startup-state", OptionKind::truth},
      OptionRule{"startup-deactivated", OptionKind::truth}};
  using Startup = guest::SwtpmOptions::Startup;
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(text, kRules));
  StartFlags flags;
  flags.need_init = !options.truth("not-need-init");
  if (options.truth("startup-clear")) {
    flags.startup = Startup::clear;
  } else if (options.truth("startup-state")) {
    flags.startup = Startup::state;
  } else if (options.truth("startup-deactivated")) {
    if (version == guest::TpmVersion::v2_0) return bad("TPM 2 does not support startup deactivated.");
    flags.startup = Startup::deactivated;
  }
  if (flags.startup != Startup::none) flags.need_init = false;
  return flags;
}

Result<Seccomp> parse_seccomp_option(std::string_view text) {
  constexpr std::array kRules = {OptionRule{"action", OptionKind::text}};
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(text, kRules));
  const std::string action = options.text("action").value_or("kill");
  if (action == "none") return Seccomp::none;
  if (action == "log") return Seccomp::log;
  if (action == "kill") return Seccomp::kill;
  return bad(fmt::format("Unsupported seccomp log action {}", action));
}

Result<PidOption> parse_pid_option(std::string_view text) {
  constexpr std::array kRules = {OptionRule{"file", OptionKind::text}, OptionRule{"fd", OptionKind::number}};
  BOOTSEAL_TRY(const OptionString options, OptionString::parse(text, kRules));
  if (const auto file = options.text("file")) return PidOption{absolute(*file), std::nullopt};
  const auto fd = options.number("fd");
  if (!fd) return bad("The file or fd parameter is required for the pid option.");
  struct stat status {};
  if (::fstat(*fd, &status) != 0 || !S_ISREG(status.st_mode))
    return bad(fmt::format("Bad filedescriptor {} for pid file", *fd));
  std::error_code error;
  return PidOption{std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", *fd), error), *fd};
}

std::string usage(Interface interface, std::string_view program) {
  constexpr std::string_view kSocket =
      "-p|--port PORT       : data over TCP at this port of 127.0.0.1, one command for each connection\n"
      "-f|--fd FD           : data over this connected socket\n"
      "-t|--terminate       : end when the data connection is lost\n"
      "--server [type=tcp,]port=PORT[,bindaddr=ADDRESS[,ifname=NAME]][,disconnect]\n"
      "--server type=tcp,fd=FD (connected) | type=unixio,path=PATH|fd=FD "
      "(listening)[,mode=0…][,uid=UID][,gid=GID]\n"
      "                     : data over these\n";
  constexpr std::string_view kChardev =
      "-c|--chardev DEVICE  : data over this character device\n"
      "-f|--fd FD           : data over this open character device\n";
  return fmt::format(
      "Usage: {} {} [--tpm2] [options]\n\n"
      "The options are those of swtpm 0.7.1; docs/bootseal-swtpm.md says what differs.\n\n"
      "{}"
      "-d|--daemon          : go into the background when ready\n"
      "--ctrl type=unixio,path=PATH|fd=FD (listening)|clientfd=FD "
      "(connected)[,mode=0…][,uid=UID][,gid=GID][,terminate]\n"
      "--ctrl type=tcp,port=PORT[,bindaddr=ADDRESS[,ifname=NAME]]|fd=FD (listening)[,terminate]\n"
      "                     : control channel; terminate: end when it is lost\n"
      "--tpmstate dir=FOLDER|backend-uri=dir://FOLDER|backend-uri=file://FILE[,mode=0…]\n"
      "                     : where the state lies (TPM_PATH without this option); mode of its files, 0640\n"
      "--key file=FILE|fd=FD[,mode=aes-cbc|aes-256-cbc][,format=hex|binary][,remove]\n"
      "--key pwdfile=FILE|pwdfd=FD[,mode=…][,kdf=pbkdf2|sha512][,remove]\n"
      "                     : seals the state; without it the state is only protected from damage\n"
      "--migration-key …    : likewise, of the state that leaves and comes in over the control channel\n"
      "--log file=FILE|fd=FD[,level=N][,prefix=TEXT][,truncate]\n"
      "                     : file - is nowhere; level 2 names each command, 5 and more what libtpms does\n"
      "--locality [reject-locality-4][,allow-set-locality]\n"
      "--flags [not-need-init][,startup-clear|startup-state|startup-deactivated|startup-none]\n"
      "                     : start the TPM without waiting for INIT; send it a startup command\n"
      "--pid file=FILE|fd=FD: write the process id when ready\n"
      "-r|--runas USER      : change to this user first\n"
      "--seccomp action=kill|log|none\n"
      "--tpm2               : a TPM 2.0; without it a TPM 1.2\n"
      "--print-capabilities\n"
      "--print-states\n"
      "-h|--help\n",
      program, interface == Interface::socket ? "socket" : "chardev",
      interface == Interface::socket ? kSocket : kChardev);
}

}  // namespace bootseal::swtpm

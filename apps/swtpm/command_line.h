// swtpm's command line: `socket` and `chardev` with their options.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/result.h"
#include "bootseal/guest/swtpm.h"
#include "process.h"

namespace bootseal::swtpm {

enum class Interface : std::uint8_t { socket, chardev };

// As given, not yet acted upon; the values of options with commas are texts for OptionString.
struct CommandLine {
  Interface interface = Interface::socket;
  bool help = false;
  bool wrong_usage = false;  // getopt has said what; the usage text follows
  bool daemon = false;
  bool terminate = false;
  guest::TpmVersion version = guest::TpmVersion::v1_2;
  bool print_capabilities = false;
  bool print_states = false;
  std::optional<std::string> port;
  std::optional<int> fd;
  std::optional<std::string> device;  // chardev
  std::optional<std::string> server, locality, log, key, migration_key, pid, tpmstate, ctrl, flags, seccomp,
      run_as;
};

// `arguments` begins with the program's name and the interface. Errors: invalid_argument.
Result<CommandLine> parse_command_line(Interface interface, std::vector<std::string> arguments);
std::string usage(Interface interface, std::string_view program);

struct LogOptions {
  std::optional<std::string> file;  // "-": nowhere
  std::optional<int> fd;
  std::string prefix;
  bool truncate = false;
  unsigned level = 1;
};
Result<LogOptions> parse_log_option(std::string_view text);

// dir= or backend-uri=, with mode=. Paths become absolute. `text` is nullopt: TPM_PATH, or none.
Result<std::optional<guest::SwtpmLocation>> parse_tpmstate_option(
    const std::optional<std::string>& text, guest::TpmVersion version = guest::TpmVersion::v2_0);

struct LocalityOptions {
  bool reject_4 = false;
  bool allow_set = false;
};
Result<LocalityOptions> parse_locality_option(std::string_view text);

struct StartFlags {
  bool need_init = true;
  guest::SwtpmOptions::Startup startup = guest::SwtpmOptions::Startup::none;
};
Result<StartFlags> parse_flags_option(std::string_view text,
                                      guest::TpmVersion version = guest::TpmVersion::v2_0);
Result<Seccomp> parse_seccomp_option(std::string_view text);

struct PidOption {
  std::filesystem::path path;  // of the descriptor's file too
  std::optional<int> fd;
};
Result<PidOption> parse_pid_option(std::string_view text);

}  // namespace bootseal::swtpm

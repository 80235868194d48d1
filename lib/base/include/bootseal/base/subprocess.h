// Starting programs and watching processes that need not be children.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "bootseal/base/fds.h"

namespace bootseal {

struct Command {
  std::vector<std::string> arguments;  // arguments[0] is the program, looked up in PATH when it has no slash
  // Exactly this environment; nullopt = that of this process.
  std::optional<std::map<std::string, std::string>> environment;
  std::optional<std::filesystem::path> working_folder;
  // child descriptor -> descriptor of this process; all others are closed in the child. 0, 1 and 2 default to
  // /dev/null, the same standard output and the same standard error.
  std::map<int, int> fds;
  bool new_session = false;
  // When 0 or more: what is executed instead of looking arguments[0] up, an open program of this process
  // (O_PATH will do; no script). So a child that has given up its rights can run a program in a folder it
  // could not enter.
  int program_fd = -1;
  // Runs in the child after the descriptors are in place and just before exec; only async-signal-safe calls.
  // Returns 0, or an errno value that makes spawn() fail with `what` "preparing the child".
  std::function<int()> before_exec;
};

// A process known by pid and start time, so that a reused pid is never taken for it.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t start_time_ticks = 0;  // field 22 of /proc/PID/stat
  bool operator==(const ProcessIdentity&) const = default;
};

// Starts the program; fails (with the errno of exec) when it cannot be executed.
Result<ProcessIdentity> spawn(const Command& command);

// The identity of a running process; not_found when there is none with this pid.
Result<ProcessIdentity> identify_process(pid_t pid);
// True while this very process exists and is not a zombie.
bool is_running(const ProcessIdentity& process);
// A pidfd (readable when the process has ended); not_found when it has ended already.
Result<UniqueFd> open_process(const ProcessIdentity& process);
// Sends a signal to this very process; success when it has ended already.
Status signal_process(const ProcessIdentity& process, int signal_number);
// Waits for the end; false at the time limit. Reaps the process when it is a child of this one.
Result<bool> wait_for_end(const ProcessIdentity& process, std::optional<std::chrono::milliseconds> limit);

struct CommandOutput {
  int exit_code = 0;  // 128 + signal number when a signal ended it
  std::string standard_output;
  std::string standard_error;
};
// Runs the program to its end with `input` on its standard input and collects up to 16 MiB of each output.
// `on_line`, when given, gets each line of standard error as it comes. Ended by SIGKILL at the time limit
// (ErrorCode::timeout) or when `stop` is requested (ErrorCode::cancelled). With `new_session` all processes
// of the session are ended, and when `stop` is requested SIGTERM gives them 10 seconds to clear up.
Result<CommandOutput> run_command(const Command& command, ByteSpan input = {},
                                  std::optional<std::chrono::milliseconds> limit = std::nullopt,
                                  std::stop_token stop = {},
                                  const std::function<void(std::string_view)>& on_line = {});
// As run_command, and an exit code other than 0 is an error (unavailable) with the last lines of standard
// error in its message.
Result<std::string> run_checked(const Command& command, ByteSpan input = {},
                                std::optional<std::chrono::milliseconds> limit = std::nullopt,
                                std::stop_token stop = {},
                                const std::function<void(std::string_view)>& on_line = {});

}  // namespace bootseal

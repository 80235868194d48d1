// The daemons of a site as processes: starting them, knowing when they answer, ending them.
#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "bootseal/base/paths.h"
#include "bootseal/base/subprocess.h"

namespace bootseal::app {

// In the order in which they are started.
inline constexpr std::array<std::string_view, 4> kDaemons = {"vaultd", "attestd", "hostd", "controld"};
inline constexpr std::string_view kSupervisor = "up";

// RUN/NAME.pid: "PID START_TIME_TICKS\n", so that a reused pid is never taken for the process.
std::filesystem::path pid_file(const Paths& paths, std::string_view name);
Status write_pid_file(const Paths& paths, std::string_view name, const ProcessIdentity& process);
// The process of the pid file while it runs; for a daemon whose pid file is lost (its supervisor was killed
// before it wrote it) the process that listens on its socket. nullopt when there is none.
std::optional<ProcessIdentity> running_process(const Paths& paths, std::string_view name);

// Starts a daemon with its standard error appended to HOME/log/NAME.log. vaultd reads its passphrase from
// `passphrase_file`.
Result<ProcessIdentity> start_daemon(const Paths& paths, std::string_view name,
                                     const std::filesystem::path& passphrase_file);
// Where HOME/log/NAME.log ends now, in bytes; 0 when there is none.
std::uint64_t log_size(const Paths& paths, std::string_view name);
// Waits until the daemon answers on its socket. Errors: the daemon's own when it ends before (the last one in
// its log behind `log_from`), unavailable with the end of the log when it has said none; timeout.
Status wait_until_it_answers(const Paths& paths, std::string_view name, const ProcessIdentity& process,
                             std::uint64_t log_from, std::chrono::milliseconds limit);
// True when the daemon answers on its socket now.
bool answers(const Paths& paths, std::string_view name, std::chrono::milliseconds limit);
// SIGTERM, and SIGKILL when it is still there after a while.
Status end_process(const ProcessIdentity& process, std::chrono::milliseconds patience);
// The last lines of HOME/log/NAME.log.
std::string end_of_log(const Paths& paths, std::string_view name);

}  // namespace bootseal::app

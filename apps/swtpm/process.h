// What a daemon on swtpm's command line does with its process: another user, the background, a pid file, a
// list of forbidden system calls.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>

#include "bootseal/base/fds.h"

namespace bootseal::swtpm {

// --runas: a user's name, with its groups, or a number for uid and gid. Errors: not_found, permission_denied.
Status run_as(const std::string& user);

// --daemon, in two steps: the process that was started ends only when the one that goes on says so (or with
// its exit code, should that end before).
class Background {
 public:
  // Returns in the process that goes on, in a session of its own. Errors: io_error.
  static Result<Background> enter();
  // Ends the waiting process with 0, leaves the working folder, and sends output to /dev/null; standard error
  // only when it is not the log.
  Status ready(bool logs);

 private:
  explicit Background(UniqueFd pipe) : pipe_(std::move(pipe)) {}
  UniqueFd pipe_;
};

// --pid: written when the TPM is ready, removed at the end.
class PidFile {
 public:
  PidFile() = default;
  // Through `fd` when it is valid; `path` is its name then. Errors: io_error.
  static Result<PidFile> write(const std::filesystem::path& path, UniqueFd fd);
  PidFile(PidFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  PidFile& operator=(PidFile&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~PidFile();

 private:
  explicit PidFile(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

// SIGTERM, SIGINT and SIGHUP as a descriptor; SIGPIPE is ignored. Errors: io_error.
Result<UniqueFd> catch_signals();

enum class Seccomp : std::uint8_t { none, kill, log };
// Forbids what a TPM never does: other programs, other users, mounts, modules, clocks, tracing. Errors:
// unsupported.
Status forbid_system_calls(Seccomp action);

// No core dumps and no tracing by others: the memory holds keys.
void protect_memory();

}  // namespace bootseal::swtpm

// Scripts that the host has the agent run (docs/architecture.md, Run command): one at a time, as this user,
// in a session of their own, with bounded output and time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "bootseal/base/fds.h"
#include "bootseal/json/json.h"

namespace bootseal::agent {

inline constexpr const char* kConfiguration = "/etc/bootseal/agent.toml";
// What is kept of each output: its end.
inline constexpr std::size_t kKeptOutput = 4096;

// Whether the guest's owner allows scripts: not when the file has a line `run_command = false`. A file that
// cannot be read or understood (other than one that is not there) allows nothing.
bool scripts_are_allowed(const std::filesystem::path& configuration);

// Text that is valid UTF-8: bytes that are none become U+FFFD.
std::string to_valid_utf8(std::string_view text);

class Script {
 public:
  // Parameters: {script, shell, parameters:[{name, value}], timeoutSeconds}. Errors: invalid_argument, those
  // of starting a process.
  static Result<Script> start(json::Reader& parameters);
  Script(Script&&) noexcept = default;
  Script& operator=(Script&&) = delete;
  // Ends what still runs.
  ~Script();

  [[nodiscard]] int output() const { return output_.fd.get(); }
  [[nodiscard]] int errors() const { return errors_.fd.get(); }
  // Readable when it has ended.
  [[nodiscard]] int process() const { return ended_.get(); }
  [[nodiscard]] bool output_ended() const { return output_.ended; }
  [[nodiscard]] bool errors_ended() const { return errors_.ended; }
  // Until it is to be looked at again although nothing was said.
  [[nodiscard]] std::chrono::milliseconds patience() const;
  // Reads what there is. True when the script has ended: then result() answers.
  bool look();
  // {exitCode, stdout, stderr}; timeout when it was ended at its limit.
  Result<json::Value> result();

 private:
  struct Output {
    UniqueFd fd;
    std::string kept;
    bool ended = false;
  };
  Script() = default;
  static void read(Output& output);

  pid_t group_ = 0;  // its first process; 0 = gone
  int status_ = 0;
  bool timed_out_ = false;
  UniqueFd ended_;  // pidfd
  Output output_, errors_;
  std::chrono::steady_clock::time_point deadline_;
  std::chrono::seconds limit_{0};
};

}  // namespace bootseal::agent

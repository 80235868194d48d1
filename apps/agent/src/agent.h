// The agent's end of the agent channel (docs/architecture.md): one JSON line in, one JSON line out.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "line_buffer.h"
#include "machine.h"
#include "script.h"

namespace bootseal::agent {

struct Settings {
  std::filesystem::path tpm;  // empty: /dev/tpmrm0, else /dev/tpm0
  std::filesystem::path event_log = kDefaultEventLog;
  std::string version;
  std::filesystem::path configuration = kConfiguration;
};

// A request is small; whatever is longer is thrown away and answered with an error.
inline constexpr std::size_t kMaximumRequest = 512 << 10;

class Agent {
 public:
  explicit Agent(Settings settings) : settings_(std::move(settings)) {}

  // {"event":"hello",…} without a new line.
  [[nodiscard]] std::string hello() const;
  // The answer to one line, without a new line. Never fails: what is wrong becomes an error answer with the
  // request's id (null when it has none that can be read). Empty for a script that was started: its answer
  // comes from script_answer().
  [[nodiscard]] std::string answer(const LineBuffer::Line& line);

  // The script that runs; nullptr without one.
  [[nodiscard]] const Script* script() const { return script_ ? &*script_ : nullptr; }
  // Looks at the script; its answer when it has ended.
  [[nodiscard]] std::optional<std::string> script_answer();

 private:
  Status start_script(json::Reader& request, std::uint64_t id);

  Settings settings_;
  std::optional<Script> script_;
  std::uint64_t script_id_ = 0;  // of its request
};

}  // namespace bootseal::agent

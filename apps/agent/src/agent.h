// The agent's end of the agent channel (docs/architecture.md): one JSON line in, one JSON line out.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "line_buffer.h"
#include "machine.h"

namespace bootseal::agent {

struct Settings {
  std::filesystem::path tpm;  // empty: /dev/tpmrm0, else /dev/tpm0
  std::filesystem::path event_log = kDefaultEventLog;
  std::string version;
};

// A request is small; whatever is longer is thrown away and answered with an error.
inline constexpr std::size_t kMaximumRequest = 64 << 10;

class Agent {
 public:
  explicit Agent(Settings settings) : settings_(std::move(settings)) {}

  // {"event":"hello",…} without a new line.
  [[nodiscard]] std::string hello() const;
  // The answer to one line, without a new line. Never fails: what is wrong becomes an error answer with the
  // request's id (null when it has none that can be read).
  [[nodiscard]] std::string answer(const LineBuffer::Line& line) const;

 private:
  Settings settings_;
};

}  // namespace bootseal::agent

#include "bootseal/log/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "bootseal/base/clock.h"
#include "bootseal/json/json.h"
#include "text.h"

namespace bootseal::log {
namespace {

constexpr std::size_t kMaxTextBytes = 8 << 10;

std::atomic<Level> g_level{Level::info};
// Guards the program's name, and keeps the lines of two threads apart.
std::mutex g_mutex;
std::string g_program;  // guarded by g_mutex

std::string_view level_name(Level level) {
  switch (level) {
    case Level::debug:
      return "debug";
    case Level::info:
      return "info";
    case Level::warning:
      return "warning";
    case Level::error:
      return "error";
  }
  return "error";
}

Level level_from_environment() {
  const char* const text = std::getenv("BOOTSEAL_LOG");
  if (text == nullptr) return Level::info;
  for (const Level level : {Level::debug, Level::info, Level::warning, Level::error}) {
    if (level_name(level) == text) return level;
  }
  return Level::info;
}

json::Value json_value(const FieldValue& value) {
  return std::visit(
      [](const auto& held) -> json::Value {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, std::string>) {
          return json::Value(clean_text(held, kMaxTextBytes));
        } else if constexpr (std::is_same_v<Held, double>) {
          return std::isfinite(held) ? json::Value(held) : json::Value(nullptr);
        } else {
          return json::Value(held);
        }
      },
      value.get());
}

// There is nowhere to report that standard error cannot be written.
void write_line(std::string_view line) {
  while (!line.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    line.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

void start(std::string_view program) {
  const std::lock_guard lock(g_mutex);
  g_program = program;
  g_level = level_from_environment();
}

void raise_level(Level level) {
  g_level = std::max(g_level.load(), level);
}

void write(Level level, std::string_view event, std::initializer_list<Field> fields) {
  if (level < g_level) return;
  json::Object line;
  line["time"] = format_time(Clock::system().now());
  line["level"] = level_name(level);
  line["program"] = "";
  line["event"] = clean_text(event, kMaxTextBytes);
  for (const Field& field : fields) {
    // A field never takes the place of an earlier one: "event" becomes "event_".
    std::string name(field.name);
    while (line.contains(name)) name += '_';
    line[name] = json_value(field.value);
  }
  const std::lock_guard lock(g_mutex);
  line["program"] = g_program;
  write_line(json::serialize(line) + "\n");
}

bool RateLimit::allow(std::uint64_t& left_out) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (last_ != std::chrono::steady_clock::time_point{}) {
    const std::chrono::duration<double> passed = now - last_;
    tokens_ = std::min(burst_, tokens_ + passed.count() * per_second_);
  }
  last_ = now;
  if (tokens_ < 1) {
    ++left_out_;
    left_out = 0;
    return false;
  }
  tokens_ -= 1;
  left_out = std::exchange(left_out_, 0);
  return true;
}

}  // namespace bootseal::log

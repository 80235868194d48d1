// Structured events on standard error, one JSON object a line:
// {"time":…,"level":"info","program":"hostd","event":"vm.started","vm":…}.
//
//   log::info("vm.started", {{"vm", id.to_string()}, {"accelerator", "tcg"}});
//
// Never a secret: crypto::Secret has no conversion to a field value. Events that a guest or a tenant can
// trigger at will go through a RateLimit.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace bootseal::log {

enum class Level : std::uint8_t { debug, info, warning, error };

// Text, a number or a truth value. Text that is not UTF-8 is repaired and text past 8 KiB is cut when it is
// written.
class FieldValue {
 public:
  using Variant = std::variant<std::string, std::int64_t, std::uint64_t, double, bool>;

  FieldValue(std::string text) : value_(std::move(text)) {}
  FieldValue(std::string_view text) : value_(std::string(text)) {}
  FieldValue(const char* text) : value_(std::string(text)) {}
  FieldValue(bool value) : value_(value) {}
  FieldValue(std::signed_integral auto value) : value_(std::int64_t{value}) {}
  FieldValue(std::unsigned_integral auto value) : value_(std::uint64_t{value}) {}
  FieldValue(double value) : value_(value) {}

  [[nodiscard]] const Variant& get() const { return value_; }

 private:
  Variant value_;
};

struct Field {
  std::string_view name;
  FieldValue value;
};

// Once, at the start of main(): the program's name in every event; the level comes from BOOTSEAL_LOG
// (debug|info|warning|error, default info). Thread safe afterwards.
void start(std::string_view program);
// Leaves out what is below `level` from now on, whatever BOOTSEAL_LOG says.
void raise_level(Level level);
void write(Level level, std::string_view event, std::initializer_list<Field> fields);
inline void debug(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::debug, event, fields);
}
inline void info(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::info, event, fields);
}
inline void warning(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::warning, event, fields);
}
inline void error(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::error, event, fields);
}

// Allows `burst` events at once and `per_second` after that; says how many were left out when it opens again.
// Thread safe.
class RateLimit {
 public:
  RateLimit(double per_second, double burst) : per_second_(per_second), burst_(burst), tokens_(burst) {}
  // True when the event may be written; `left_out` gets the number of events refused since the last one
  // allowed.
  bool allow(std::uint64_t& left_out);

 private:
  std::mutex mutex_;
  double per_second_;
  double burst_;
  double tokens_;
  std::chrono::steady_clock::time_point last_{};
  std::uint64_t left_out_ = 0;
};

}  // namespace bootseal::log

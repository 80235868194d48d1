// Wall-clock time as text, and a clock that tests can set.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "bootseal/base/result.h"

namespace bootseal {

using TimePoint = std::chrono::sys_time<std::chrono::microseconds>;

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const = 0;

  // The machine's clock; lives for the whole program.
  static const Clock& system();
};

class FixedClock final : public Clock {
 public:
  explicit FixedClock(TimePoint at) : at_(at) {}
  [[nodiscard]] TimePoint now() const override { return at_; }
  void set(TimePoint at) { at_ = at; }
  void advance(std::chrono::microseconds by) { at_ += by; }

 private:
  TimePoint at_;
};

// RFC 3339 in UTC with microseconds: "2026-11-21T20:44:45.123456Z".
std::string format_time(TimePoint time);
// RFC 3339 in UTC ("Z"), with or without a fraction of up to 9 digits; invalid_argument otherwise.
Result<TimePoint> parse_time(std::string_view text);

}  // namespace bootseal

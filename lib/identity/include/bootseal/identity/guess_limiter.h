// Slows down guessing: after a few failures each further attempt for the same name, or from the same peer,
// has to wait twice as long as the one before, up to a minute. Thread safe, bounded memory.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "bootseal/base/clock.h"

namespace bootseal::identity {

class GuessLimiter {
 public:
  struct Limits {
    unsigned free_attempts = 5;
    std::chrono::seconds first_wait{1};
    std::chrono::seconds last_wait{60};
    std::chrono::minutes memory{15};  // failures older than this are forgiven
    std::size_t keys = 4096;          // beyond it, the one with the fewest failures is forgotten
  };
  GuessLimiter() = default;
  explicit GuessLimiter(Limits limits) : limits_(limits) {}

  // How long the caller has to wait before an attempt; zero = it may now. An attempt during a wait must be
  // refused without looking at it, or the wait slows nobody down.
  [[nodiscard]] std::chrono::microseconds wait_of(std::string_view key, TimePoint now);
  void failed(std::string_view key, TimePoint now);
  void succeeded(std::string_view key);
  [[nodiscard]] std::size_t size() const;

 private:
  struct Record {
    unsigned failures = 0;
    TimePoint last;
    TimePoint until;
  };
  void make_room(TimePoint now);

  Limits limits_;
  mutable std::mutex mutex_;
  std::map<std::string, Record, std::less<>> records_;
};

}  // namespace bootseal::identity

// What a person sees while something takes longer than a moment, and how he stops it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

namespace bootseal::cli {

// On standard error: a spinner with the time on a terminal, plain lines otherwise. Quiet for the first
// second. One thread.
class Progress {
 public:
  // `quiet`: nothing is ever shown.
  explicit Progress(bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // What is being done now; shown again only when it changes.
  void step(const std::string& text);
  // Turns the spinner; call it often.
  void tick();
  // Takes the spinner off the terminal.
  void clear();

 private:
  [[nodiscard]] std::chrono::seconds elapsed() const;
  void draw();

  bool quiet_;
  bool terminal_;
  bool drawn_ = false;
  bool printed_ = false;
  unsigned phase_ = 0;
  std::string text_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

// From its construction on, SIGINT and SIGTERM request a stop instead of ending the program; the second one
// ends it, unless what is under way clears up and must not be disturbed. One at a time.
class Interrupt {
 public:
  enum class Second : std::uint8_t { ends_program, changes_nothing };
  explicit Interrupt(Second second = Second::ends_program);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  [[nodiscard]] std::stop_token token() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bootseal::cli

#include "bootseal/cli/progress.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <thread>

#include "bootseal/base/fds.h"
#include "bootseal/cli/output.h"

namespace bootseal::cli {
namespace {

constexpr std::chrono::seconds kQuietTime{1};
constexpr std::array kSpinner = {'|', '/', '-', '\\'};
constexpr int kInterruptedTwice = 130;

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}
Progress::~Progress() {
  clear();
}

std::chrono::seconds Progress::elapsed() const {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started_);
}

void Progress::step(const std::string& text) {
  if (text == text_) return;
  text_ = text;
  printed_ = false;
  tick();
}

void Progress::tick() {
  if (quiet_ || text_.empty() || elapsed() < kQuietTime) return;
  if (terminal_) {
    draw();
  } else if (!printed_) {
    fmt::print(stderr, "{} …\n", printable(text_));
    std::fflush(stderr);
    printed_ = true;
  }
}

void Progress::draw() {
  fmt::print(stderr, "\r\033[K{} {} ({} s)", kSpinner[phase_++ % kSpinner.size()], printable(text_),
             elapsed().count());
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);  // never throws: destructors come here
  std::fflush(stderr);
  drawn_ = false;
}

struct Interrupt::State {
  Second second = Second::ends_program;
  std::stop_source source;
  sigset_t previous{};
  UniqueFd signals;
  UniqueFd end;
  std::thread thread;

  void watch() {
    pollfd fds[] = {{signals.get(), POLLIN, 0}, {end.get(), POLLIN, 0}};
    while (true) {
      if (::poll(fds, 2, -1) < 0) continue;
      if (fds[1].revents != 0) return;
      signalfd_siginfo info{};
      if (::read(signals.get(), &info, sizeof info) != sizeof info) continue;
      if (source.stop_requested() && second == Second::ends_program) ::_exit(kInterruptedTwice);
      source.request_stop();
    }
  }
};

Interrupt::Interrupt(Second second) : state_(std::make_unique<State>()) {
  state_->second = second;
  const sigset_t set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, &state_->previous);
  state_->signals = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC));
  state_->end = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  BOOTSEAL_CHECK(state_->signals.valid() && state_->end.valid());
  state_->thread = std::thread([state = state_.get()] { state->watch(); });
}

Interrupt::~Interrupt() {
  const std::uint64_t one = 1;
  BOOTSEAL_CHECK(::write(state_->end.get(), &one, sizeof one) == sizeof one);
  state_->thread.join();
  ::pthread_sigmask(SIG_SETMASK, &state_->previous, nullptr);
}

std::stop_token Interrupt::token() const {
  return state_->source.get_token();
}

}  // namespace bootseal::cli

#include "bootseal/cli/console.h"

#include <fmt/format.h>
#include <poll.h>
#include <regex.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <thread>

#include "bootseal/base/fds.h"
#include "bootseal/cli/output.h"

namespace bootseal::cli {
namespace {

constexpr char kLeave = 0x1D;  // Ctrl-]
constexpr std::size_t kTail = 16384;
constexpr std::chrono::milliseconds kReceiveSlice{200};

// Raw mode as long as it lives; nothing when standard input is no terminal.
class RawTerminal {
 public:
  RawTerminal() : active_(::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &saved_) == 0) {
    if (!active_) return;
    termios raw = saved_;
    ::cfmakeraw(&raw);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~RawTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  [[nodiscard]] bool active() const { return active_; }

 private:
  termios saved_{};
  bool active_;
};

// Standard input to the console, until its end, Ctrl-] or `end`.
class Typist {
 public:
  Typist(net::WebSocket& socket, bool terminal)
      : socket_(socket), terminal_(terminal), end_(::eventfd(0, EFD_CLOEXEC)) {
    BOOTSEAL_CHECK(end_.valid());
    thread_ = std::thread([this] { type(); });
  }
  ~Typist() {
    const std::uint64_t one = 1;
    BOOTSEAL_CHECK(::write(end_.get(), &one, sizeof one) == sizeof one);
    thread_.join();
  }
  Typist(const Typist&) = delete;
  Typist& operator=(const Typist&) = delete;
  [[nodiscard]] bool left() const { return left_; }

 private:
  void type() {
    std::array<char, 4096> buffer{};
    pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {end_.get(), POLLIN, 0}};
    while (::poll(fds, 2, -1) > 0 && fds[1].revents == 0) {
      const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (got <= 0) return;  // the end of a script's input; the output goes on
      const std::string_view typed(buffer.data(), static_cast<std::size_t>(got));
      const std::size_t leave = terminal_ ? typed.find(kLeave) : std::string_view::npos;
      const Status sent = leave == 0 ? Status() : socket_.send(typed.substr(0, leave));
      if (leave != std::string_view::npos || !sent) {
        left_ = true;
        socket_.close();
        return;
      }
    }
  }

  net::WebSocket& socket_;
  bool terminal_;
  UniqueFd end_;
  std::atomic<bool> left_ = false;
  std::thread thread_;
};

}  // namespace

struct OutputWatch::Expression {
  regex_t compiled{};
  ~Expression() { ::regfree(&compiled); }
};

OutputWatch::OutputWatch(std::string wanted) : wanted_(std::move(wanted)) {
  regex_t compiled{};
  if (::regcomp(&compiled, wanted_.c_str(), REG_EXTENDED | REG_NEWLINE) == 0) {
    expression_ = std::make_unique<Expression>();
    expression_->compiled = compiled;
  }
}

OutputWatch::~OutputWatch() = default;

std::optional<std::size_t> OutputWatch::match_end() const {
  if (const std::size_t at = tail_.find(wanted_); at != std::string::npos) return at + wanted_.size();
  regmatch_t match{};
  if (expression_ == nullptr || ::regexec(&expression_->compiled, tail_.c_str(), 1, &match, 0) != 0)
    return std::nullopt;
  return static_cast<std::size_t>(match.rm_eo);
}

OutputWatch::State OutputWatch::feed(std::string_view output) {
  tail_ += output;
  std::replace(tail_.begin(), tail_.end(), '\0', ' ');
  if (const auto end = match_end())
    return tail_.find('\n', *end) != std::string::npos ? State::line_complete : State::seen;
  if (tail_.size() > kTail) tail_.erase(0, tail_.size() - kTail);
  return State::absent;
}

std::string typed_text(std::string_view text) {
  std::string typed;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\') {
      typed += text[at];
      continue;
    }
    const char kind = at + 1 < text.size() ? text[at + 1] : '\0';
    unsigned value = 0;
    if (kind == 'x' && at + 3 < text.size() &&
        std::from_chars(text.data() + at + 2, text.data() + at + 4, value, 16).ptr == text.data() + at + 4) {
      typed += static_cast<char>(static_cast<unsigned char>(value));
      at += 3;
      continue;
    }
    constexpr std::string_view kKinds = "nrt\\";
    constexpr std::string_view kBytes = "\n\r\t\\";
    const std::size_t known = kind == '\0' ? std::string_view::npos : kKinds.find(kind);
    if (known == std::string_view::npos) {
      typed += '\\';
      continue;
    }
    typed += kBytes[known];
    ++at;
  }
  return typed;
}

Status run_console(net::WebSocket& socket, const ConsoleOptions& options, std::stop_token stop) {
  const RawTerminal terminal;
  std::optional<Typist> typist;
  if (options.send) {
    BOOTSEAL_TRY_STATUS(socket.send(*options.send));
  } else {
    typist.emplace(socket, terminal.active());
  }
  std::optional<OutputWatch> watch;
  if (options.until) watch.emplace(*options.until);
  const auto deadline = options.limit ? std::chrono::steady_clock::now() + *options.limit
                                      : std::chrono::steady_clock::time_point::max();
  std::size_t skip = options.skip;
  OutputWatch::State state = OutputWatch::State::absent;
  while (true) {
    const auto message = socket.receive(kReceiveSlice);
    if (typist && typist->left()) return {};
    if (stop.stop_requested()) {
      socket.close();
      return fail(ErrorCode::cancelled, "left the console; the VM goes on");
    }
    // The rest of the line is waited for as long as it keeps coming.
    if (state == OutputWatch::State::seen && !message) {
      socket.close();
      return {};
    }
    if (message) {
      std::string_view output = *message;
      const std::size_t skipped = std::min(skip, output.size());
      skip -= skipped;
      output.remove_prefix(skipped);
      BOOTSEAL_TRY_STATUS(write_output(output));
      if (watch) state = watch->feed(output);
      if (state == OutputWatch::State::line_complete) {
        socket.close();
        return {};
      }
    } else if (message.error().code != ErrorCode::timeout) {
      if (!watch) return {};
      return fail(ErrorCode::unavailable,
                  fmt::format("the console ended before '{}' was seen", *options.until));
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      socket.close();
      return fail(ErrorCode::timeout,
                  options.until ? fmt::format("'{}' was not seen on the console in time", *options.until)
                                : std::string("the time for the console is over"));
    }
  }
}

}  // namespace bootseal::cli

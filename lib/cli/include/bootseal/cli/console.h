// The terminal of a serial console over a WebSocket.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "bootseal/net/server.h"

namespace bootseal::cli {

struct ConsoleOptions {
  std::optional<std::string> send;  // instead of standard input
  // Ends with success at the end of the line that holds this text or matches this POSIX extended regular
  // expression.
  std::optional<std::string> until;
  std::optional<std::chrono::milliseconds> limit;
  std::size_t skip =
      0;  // so many bytes at the beginning are neither shown nor watched: what the log held before
};

// Watches a stream for a text or a POSIX extended regular expression. Keeps the last lines only, so that it
// is bounded whatever comes.
class OutputWatch {
 public:
  enum class State : std::uint8_t { absent, seen, line_complete };
  // Text that is no valid expression is searched as it stands.
  explicit OutputWatch(std::string wanted);
  ~OutputWatch();
  OutputWatch(const OutputWatch&) = delete;
  OutputWatch& operator=(const OutputWatch&) = delete;
  // What the output so far holds.
  State feed(std::string_view output);

 private:
  struct Expression;
  // Where the first match in tail_ ends.
  [[nodiscard]] std::optional<std::size_t> match_end() const;

  std::string wanted_;
  std::string tail_;
  std::unique_ptr<Expression> expression_;
};

// What --send types: \n, \r, \t, \\ and \xNN become the bytes they mean; any other backslash stays for the
// guest ("\007" of a printf there).
std::string typed_text(std::string_view text);

// Runs until Ctrl-] is typed (terminal), the pattern is seen, the time is over, `stop` is requested or the
// console ends. Output goes to standard output as it comes. Errors: timeout with the pattern, cancelled,
// unavailable when the console ended before the pattern was seen.
Status run_console(net::WebSocket& socket, const ConsoleOptions& options, std::stop_token stop);

}  // namespace bootseal::cli

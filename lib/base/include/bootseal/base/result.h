// Result<T>, Error and the closed table of error codes that every part of Bootseal shares.
//
//   Result<Bytes> content = read_file(path, kMaxImageSize);
//   if (!content) return tl::unexpected(content.error().wrap("reading the image manifest"));
//
// One ErrorCode maps to one HTTP status, one CLI exit code and one name on the wire (error_info()).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace bootseal {

enum class ErrorCode : std::uint8_t {
  invalid_argument,       // the caller's input is malformed or out of range
  not_found,              // the named thing does not exist
  already_exists,         // the named thing exists already
  conflict,               // the state of the thing does not allow it now, or a revision did not match
  permission_denied,      // the caller is known and may not
  unauthenticated,        // the caller is not known
  unavailable,            // a peer or the machine cannot serve this now; trying again may help
  timeout,                // the time allowed was not enough
  cancelled,              // the caller asked to stop
  exhausted,              // a limit, a quota, memory or disk space
  unsupported,            // understood, and not possible on this machine or in this version
  corrupt,                // data read from a disk, a guest or a peer is damaged or malformed
  io_error,               // the operating system refused a read, a write or a flush
  internal,               // a defect in Bootseal
  guest_state_missing,    // the guest state file of a VM that has one is not there
  guest_state_foreign,    // the guest state file belongs to another VM
  guest_state_wrong_key,  // the guest-state protection key does not open the file
  guest_state_damaged,    // the file, or an entry of it, fails its checks or its authentication
  guest_state_stale,      // the file is older than the generation the vault remembers
};
inline constexpr std::size_t kErrorCodeCount = 19;

struct ErrorInfo {
  ErrorCode code;
  std::string_view name;  // on the wire and in documents: "GuestStateStale"
  int http_status;
  int exit_code;  // of the bootseal CLI
  std::string_view summary;
};

// The row of one code. Never fails.
const ErrorInfo& error_info(ErrorCode code);
// The code of a wire name; internal for a name this version does not know.
ErrorCode error_code_from_name(std::string_view name);

// What went wrong, where, and what to do about it. `cause` is the error that led to this one, innermost last.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::shared_ptr<const Error> cause;

  // The same code with `context` said first: "context: message".
  [[nodiscard]] Error wrap(std::string_view context) const;
  // The message followed by the messages of all causes, "a: b: c".
  [[nodiscard]] std::string describe() const;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// return fail(ErrorCode::not_found, fmt::format("…", …));
[[nodiscard]] tl::unexpected<Error> fail(ErrorCode code, std::string message);
[[nodiscard]] tl::unexpected<Error> fail(ErrorCode code, std::string message, const Error& cause);
// An io_error (or not_found, permission_denied, exhausted where errno says so) with the text of
// `errno_value`.
[[nodiscard]] tl::unexpected<Error> fail_errno(int errno_value, std::string_view what);

[[noreturn]] void check_failed(const char* expression, const char* file, int line);

}  // namespace bootseal

// Aborts when an invariant of Bootseal itself is broken. Never for input from a guest, a network, a disk or a
// person.
#define BOOTSEAL_CHECK(expression) \
  ((expression) ? static_cast<void>(0) : ::bootseal::check_failed(#expression, __FILE__, __LINE__))

#define BOOTSEAL_CONCAT_INNER(a, b) a##b
#define BOOTSEAL_CONCAT(a, b) BOOTSEAL_CONCAT_INNER(a, b)

// BOOTSEAL_TRY(auto value, expression): declares `value` from a Result, or returns its error from this
// function.
#define BOOTSEAL_TRY(declaration, expression) \
  BOOTSEAL_TRY_INNER(BOOTSEAL_CONCAT(bootseal_result_, __LINE__), declaration, expression)
#define BOOTSEAL_TRY_INNER(temporary, declaration, expression)                              \
  auto temporary = (expression);                                                            \
  if (!temporary) return ::tl::unexpected<::bootseal::Error>(std::move(temporary).error()); \
  declaration = *std::move(temporary)

// BOOTSEAL_TRY_STATUS(expression): returns the error of a Status (or of a Result whose value is not wanted).
#define BOOTSEAL_TRY_STATUS(expression)                                                                   \
  do {                                                                                                    \
    auto bootseal_status = (expression);                                                                  \
    if (!bootseal_status) return ::tl::unexpected<::bootseal::Error>(std::move(bootseal_status).error()); \
  } while (false)

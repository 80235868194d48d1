#include "bootseal/base/result.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace bootseal {
namespace {

constexpr std::array<ErrorInfo, kErrorCodeCount> kErrors = {{
    {ErrorCode::invalid_argument, "InvalidArgument", 400, 2, "the input is malformed or out of range"},
    {ErrorCode::not_found, "NotFound", 404, 3, "the named thing does not exist"},
    {ErrorCode::already_exists, "AlreadyExists", 409, 4, "the named thing exists already"},
    {ErrorCode::conflict, "Conflict", 409, 5, "the present state does not allow it"},
    {ErrorCode::permission_denied, "PermissionDenied", 403, 6, "the caller may not do this"},
    {ErrorCode::unauthenticated, "Unauthenticated", 401, 7, "the caller is not known"},
    {ErrorCode::unavailable, "Unavailable", 503, 8, "a part of the system cannot answer now"},
    {ErrorCode::timeout, "Timeout", 504, 9, "the time allowed was not enough"},
    {ErrorCode::cancelled, "Cancelled", 499, 10, "stopped on request"},
    {ErrorCode::exhausted, "Exhausted", 507, 11, "a limit or a resource is used up"},
    {ErrorCode::unsupported, "Unsupported", 422, 12, "not possible on this machine or in this version"},
    {ErrorCode::corrupt, "Corrupt", 422, 13, "data is damaged or malformed"},
    {ErrorCode::io_error, "IoError", 500, 14, "the operating system refused a read, a write or a flush"},
    {ErrorCode::internal, "Internal", 500, 1, "a defect in Bootseal"},
    {ErrorCode::guest_state_missing, "GuestStateMissing", 409, 20, "the guest state file is not there"},
    {ErrorCode::guest_state_foreign, "GuestStateForeign", 409, 21,
     "the guest state file belongs to another VM"},
    {ErrorCode::guest_state_wrong_key, "GuestStateWrongKey", 409, 22,
     "the key does not open the guest state file"},
    {ErrorCode::guest_state_damaged, "GuestStateDamaged", 409, 23, "the guest state file is damaged"},
    {ErrorCode::guest_state_stale, "GuestStateStale", 409, 24,
     "the guest state file is older than the vault remembers"},
}};

ErrorCode code_for_errno(int errno_value) {
  switch (errno_value) {
    case ENOENT:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::already_exists;
    case EACCES:
    case EPERM:
      return ErrorCode::permission_denied;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return ErrorCode::exhausted;
    case ECONNREFUSED:
      return ErrorCode::unavailable;
    case ETIMEDOUT:
      return ErrorCode::timeout;
    default:
      return ErrorCode::io_error;
  }
}

}  // namespace

const ErrorInfo& error_info(ErrorCode code) {
  const auto index = static_cast<std::size_t>(code);
  BOOTSEAL_CHECK(index < kErrors.size() && kErrors[index].code == code);
  return kErrors[index];
}

ErrorCode error_code_from_name(std::string_view name) {
  for (const ErrorInfo& info : kErrors) {
    if (info.name == name) return info.code;
  }
  return ErrorCode::internal;
}

Error Error::wrap(std::string_view context) const {
  return Error{code, fmt::format("{}: {}", context, message), cause};
}

std::string Error::describe() const {
  std::string text = message;
  for (const Error* next = cause.get(); next != nullptr; next = next->cause.get()) {
    text += ": ";
    text += next->message;
  }
  return text;
}

tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message), nullptr});
}

tl::unexpected<Error> fail(ErrorCode code, std::string message, const Error& cause) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::make_shared<const Error>(cause)});
}

tl::unexpected<Error> fail_errno(int errno_value, std::string_view what) {
  return fail(code_for_errno(errno_value),
              fmt::format("{}: {}", what, std::generic_category().message(errno_value)));
}

void check_failed(const char* expression, const char* file, int line) {
  std::fputs(fmt::format("bootseal: broken invariant: {} ({}:{})\n", expression, file, line).c_str(), stderr);
  std::abort();
}

}  // namespace bootseal

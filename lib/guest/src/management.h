// The management protocol: JSON lines (docs/architecture.md, "guestd").
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bootseal/json/json.h"

namespace bootseal::guest {

inline constexpr std::size_t kMaxManagementLine = std::size_t{1} << 20;

// Cuts a byte stream into lines.
class LineBuffer {
 public:
  // Errors: exhausted when a line grows past kMaxManagementLine; the buffer is of no use then.
  Status append(ByteSpan data);
  // The next whole line without its end; nullopt while there is none.
  std::optional<std::string> next();

 private:
  std::string text_;
  std::size_t start_ = 0;    // of the first line not taken yet
  std::size_t scanned_ = 0;  // no line end before this place, from start_ on
};

struct ManagementRequest {
  std::uint64_t id = 0;
  std::string method;
  json::Value parameters;  // an object or null
};

// Errors: invalid_argument, with the place of the mistake.
Result<ManagementRequest> parse_management_request(std::string_view line);

// Each is one line with its end.
std::string management_result(std::uint64_t id, const json::Value& result);
std::string management_error(std::uint64_t id, const Error& error);
std::string management_event(std::string_view event, json::Object fields);

}  // namespace bootseal::guest

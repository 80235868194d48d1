#include "response_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/http/status.hpp>
#include <chrono>
#include <ctime>

#include "target.h"

namespace bootseal::net {
namespace {

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(character) != std::string_view::npos;
  });
}

bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char character) {
    const auto byte = static_cast<unsigned char>(character);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

std::string_view reason_of(int status) {
  const auto known = boost::beast::http::int_to_status(static_cast<unsigned>(status));
  if (known == boost::beast::http::status::unknown) return "Unknown";
  return boost::beast::http::obsolete_reason(known);
}

// RFC 9110 section 5.6.7.
std::string http_date() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm fields{};
  ::gmtime_r(&now, &fields);
  static constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[static_cast<std::size_t>(fields.tm_wday)],
                     fields.tm_mday, kMonths[static_cast<std::size_t>(fields.tm_mon)], fields.tm_year + 1900,
                     fields.tm_hour, fields.tm_min, fields.tm_sec);
}

}  // namespace

Result<std::string> serialize_response(const Response& response, const Envelope& envelope) {
  BOOTSEAL_CHECK(response.status >= 200 && response.status <= 999);
  const bool bodiless = response.status == 204 || response.status == 304;
  std::string bytes = fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason_of(response.status));
  const auto add = [&](std::string_view name, std::string_view value) {
    bytes.append(name).append(": ").append(value).append("\r\n");
  };
  bool has_request_id = false;
  bool has_correlation_id = false;
  bool has_client_request_id = false;
  for (const auto& [name, value] : response.headers) {
    if (!is_token(name) || !is_field_value(value)) {
      return fail(ErrorCode::internal,
                  fmt::format("the answer has a header that cannot be sent: \"{}\"", name));
    }
    // How long the body is and what becomes of the connection is said below.
    if (equal_ignoring_case(name, "Content-Length") || equal_ignoring_case(name, "Connection") ||
        equal_ignoring_case(name, "Transfer-Encoding")) {
      continue;
    }
    has_request_id |= equal_ignoring_case(name, "x-ms-request-id");
    has_correlation_id |= equal_ignoring_case(name, "x-ms-correlation-request-id");
    has_client_request_id |= equal_ignoring_case(name, "x-ms-client-request-id");
    add(name, value);
  }
  add("Date", http_date());
  if (!has_request_id) add("x-ms-request-id", envelope.request_id);
  if (!has_correlation_id) add("x-ms-correlation-request-id", envelope.request_id);
  if (!has_client_request_id && !envelope.client_request_id.empty() &&
      envelope.client_request_id.size() <= 128 && is_field_value(envelope.client_request_id)) {
    add("x-ms-client-request-id", envelope.client_request_id);
  }
  if (!bodiless) add("Content-Length", std::to_string(response.body.size()));
  add("Connection", envelope.keep_alive ? "keep-alive" : "close");
  bytes += "\r\n";
  if (!bodiless && !envelope.head_only) bytes += response.body;
  return bytes;
}

}  // namespace bootseal::net

#include "bootseal/model/arm_error.h"

#include <fmt/format.h>

#include <algorithm>

namespace bootseal::model {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  for (const std::size_t i : {0U, 1U, 2U, 3U, 5U, 6U, 8U, 9U}) {
    if (!is_digit(text[i])) return false;
  }
  const int month = (text[5] - '0') * 10 + (text[6] - '0');
  const int day = (text[8] - '0') * 10 + (text[9] - '0');
  return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

}  // namespace

json::Object ArmError::to_json() const {
  json::Object object;
  object["code"] = code;
  object["message"] = message;
  if (!target.empty()) object["target"] = target;
  if (!details.empty()) {
    json::Array array;
    for (const ArmError& detail : details) array.emplace_back(detail.to_json());
    object["details"] = std::move(array);
  }
  return object;
}

json::Object ArmError::to_body() const {
  json::Object body;
  body["error"] = to_json();
  return body;
}

tl::unexpected<ArmError> refuse(int status, std::string code, std::string message, std::string target) {
  return tl::unexpected<ArmError>(
      ArmError{status, std::move(code), std::move(message), std::move(target), {}});
}

tl::unexpected<ArmError> invalid_parameter(std::string target, std::string message) {
  return refuse(400, "InvalidParameter", std::move(message), std::move(target));
}

ArmError to_arm_error(const Error& error) {
  const ErrorInfo& info = error_info(error.code);
  return {info.http_status, std::string(info.name), error.describe(), {}, {}};
}

Error from_arm_error(const ArmError& error) {
  ErrorCode code = error_code_from_name(error.code);
  if (code == ErrorCode::internal && error.code != error_info(ErrorCode::internal).name) {
    switch (error.status) {
      case 400:
      case 405:
      case 412:
      case 413:
        code = error.status == 412 ? ErrorCode::conflict : ErrorCode::invalid_argument;
        break;
      case 401:
        code = ErrorCode::unauthenticated;
        break;
      case 403:
        code = ErrorCode::permission_denied;
        break;
      case 404:
        code = ErrorCode::not_found;
        break;
      case 409:
        code = ErrorCode::conflict;
        break;
      case 429:
      case 507:
        code = ErrorCode::exhausted;
        break;
      case 503:
        code = ErrorCode::unavailable;
        break;
      case 504:
        code = ErrorCode::timeout;
        break;
      default:
        break;
    }
  }
  return {code, error.message, nullptr};
}

ArmStatus check_api_version(std::string_view text) {
  if (text.empty()) {
    return refuse(400, "MissingApiVersionParameter",
                  "The api-version query parameter (?api-version=) is required for all requests. Send a date "
                  "such as 2022-08-01.",
                  "api-version");
  }
  constexpr std::string_view kPreview = "-preview";
  std::string_view date = text;
  if (date.ends_with(kPreview)) date.remove_suffix(kPreview.size());
  if (!is_date(date)) {
    return refuse(
        400, "InvalidApiVersionParameter",
        fmt::format(
            "The api-version '{}' is invalid. Send a date such as 2022-08-01, with or without '-preview'.",
            text.substr(0, 64)),
        "api-version");
  }
  return {};
}

}  // namespace bootseal::model

#include "bootseal/net/http.h"

#include <fmt/format.h>

#include "target.h"

namespace bootseal::net {
namespace {

ErrorCode code_for_status(int status) {
  switch (status) {
    case 400:
      return ErrorCode::invalid_argument;
    case 401:
      return ErrorCode::unauthenticated;
    case 403:
      return ErrorCode::permission_denied;
    case 404:
      return ErrorCode::not_found;
    case 408:
    case 504:
      return ErrorCode::timeout;
    case 409:
    case 412:
      return ErrorCode::conflict;
    case 413:
    case 429:
    case 431:
    case 507:
      return ErrorCode::exhausted;
    case 405:
    case 422:
    case 501:
      return ErrorCode::unsupported;
    case 500:
      return ErrorCode::internal;
    default:
      return ErrorCode::unavailable;
  }
}

std::optional<std::string> find_header(const HeaderList& headers, std::string_view name) {
  for (const auto& [field, value] : headers) {
    if (equal_ignoring_case(field, name)) return value;
  }
  return std::nullopt;
}

const json::Value* member(const json::Value& value, std::string_view name) {
  const json::Object* const object = value.if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

}  // namespace

std::optional<std::string> Request::header(std::string_view name) const {
  return find_header(headers, name);
}

std::optional<std::string> Request::query_value(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (equal_ignoring_case(key, name)) return value;
  }
  return std::nullopt;
}

const std::string& Request::parameter(const std::string& name) const {
  const auto found = parameters.find(name);
  BOOTSEAL_CHECK(found != parameters.end());
  return found->second;
}

Result<json::Value> Request::json_body() const {
  if (body.empty()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} {} needs a JSON body, and came without one", method, path));
  }
  auto value = json::parse(body);
  if (!value) return tl::unexpected(value.error().wrap("the request body"));
  return value;
}

Response Response::json(int status, const json::Value& value) {
  Response response{.status = status, .headers = {}, .body = json::serialize(value)};
  response.headers.emplace_back("Content-Type", "application/json; charset=utf-8");
  return response;
}

Response Response::empty(int status) {
  return {.status = status, .headers = {}, .body = {}};
}

Response Response::from_error(const Error& error) {
  const ErrorInfo& info = error_info(error.code);
  return json(info.http_status, json::Object{{"error", {{"code", info.name}, {"message", error.message}}}});
}

Error error_from_response(int status, std::string_view body) {
  const auto document = json::parse(body);
  const json::Value* const error = document ? member(*document, "error") : nullptr;
  const json::Value* const name = error != nullptr ? member(*error, "code") : nullptr;
  const json::Value* const message = error != nullptr ? member(*error, "message") : nullptr;
  if (name == nullptr || !name->is_string() || message == nullptr || !message->is_string()) {
    return {ErrorCode::unavailable,
            fmt::format("the answer was HTTP {} without an error in its body", status), nullptr};
  }
  const std::string_view code_name(name->get_string());
  const std::string_view text(message->get_string());
  const ErrorCode code = error_code_from_name(code_name);
  if (error_info(code).name == code_name) return {code, std::string(text), nullptr};
  // A name that this version does not know: the status says the kind, the name stays in the message.
  return {code_for_status(status), fmt::format("{}: {}", code_name, text), nullptr};
}

}  // namespace bootseal::net

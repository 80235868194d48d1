#include "management.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>

namespace bootseal::guest {
namespace {

constexpr std::size_t kMaxDepth = 8;

std::string line(const json::Object& object) {
  return json::serialize(object) + "\n";
}

}  // namespace

Status LineBuffer::append(ByteSpan data) {
  if (start_ > 0) {
    text_.erase(0, start_);
    scanned_ -= start_;
    start_ = 0;
  }
  text_ += as_text(data);
  // next() has taken every whole line before, so the first line end says how long the oldest line is.
  const std::size_t end = text_.find('\n', scanned_);
  if ((end == std::string::npos ? text_.size() : end) > kMaxManagementLine) {
    return fail(ErrorCode::exhausted,
                fmt::format("a management line is longer than {} bytes", kMaxManagementLine));
  }
  return {};
}

std::optional<std::string> LineBuffer::next() {
  const std::size_t end = text_.find('\n', scanned_);
  if (end == std::string::npos) {
    scanned_ = text_.size();
    return std::nullopt;
  }
  std::string result = text_.substr(start_, end - start_);
  start_ = scanned_ = end + 1;
  return result;
}

Result<ManagementRequest> parse_management_request(std::string_view line) {
  BOOTSEAL_TRY(const json::Value document,
               json::parse(line, {.bytes = kMaxManagementLine, .depth = kMaxDepth}));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "the management request"));
  ManagementRequest request;
  BOOTSEAL_TRY(request.id, reader.unsigned_integer("id"));
  BOOTSEAL_TRY(request.method, reader.string("method"));
  BOOTSEAL_TRY(const auto parameters, reader.optional_object("params"));
  if (parameters) request.parameters = parameters->raw();
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return request;
}

std::string management_result(std::uint64_t id, const json::Value& result) {
  return line({{"id", id}, {"result", result}});
}

std::string management_error(std::uint64_t id, const Error& error) {
  return line(
      {{"id", id}, {"error", {{"code", error_info(error.code).name}, {"message", error.describe()}}}});
}

std::string management_event(std::string_view event, json::Object fields) {
  json::Object object{{"event", event}};
  for (auto& [name, value] : fields) object.insert_or_assign(name, std::move(value));
  return line(object);
}

}  // namespace bootseal::guest

#include "bootseal/model/operation.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace bootseal::model {
namespace {

constexpr std::array kStatusNames = {std::pair{OperationStatus::in_progress, "InProgress"},
                                     std::pair{OperationStatus::succeeded, "Succeeded"},
                                     std::pair{OperationStatus::failed, "Failed"}};
constexpr std::array kKindNames = {std::pair{OperationKind::create, "create"},
                                   std::pair{OperationKind::update, "update"},
                                   std::pair{OperationKind::remove, "delete"},
                                   std::pair{OperationKind::start, "start"},
                                   std::pair{OperationKind::power_off, "powerOff"},
                                   std::pair{OperationKind::kill, "kill"},
                                   std::pair{OperationKind::deallocate, "deallocate"},
                                   std::pair{OperationKind::restart, "restart"},
                                   std::pair{OperationKind::attest, "attest"},
                                   std::pair{OperationKind::reset_guest_state, "resetGuestState"},
                                   std::pair{OperationKind::remove_group, "deleteGroup"},
                                   std::pair{OperationKind::run_command, "runCommand"}};

template <typename Names, typename Value>
std::string_view name_of(const Names& names, Value value) {
  for (const auto& [one, name] : names) {
    if (one == value) return name;
  }
  return "";
}

template <typename Names>
auto value_of(const Names& names, std::string_view text) -> std::optional<decltype(names[0].first)> {
  for (const auto& [one, name] : names) {
    if (text == name) return one;
  }
  return std::nullopt;
}

}  // namespace

std::string_view to_string(OperationStatus status) {
  return name_of(kStatusNames, status);
}
std::string_view to_string(OperationKind kind) {
  return name_of(kKindNames, kind);
}

json::Object Operation::to_json() const {
  json::Object object;
  object["id"] = id;
  object["kind"] = to_string(kind);
  object["resource"] = resource;
  object["status"] = to_string(status);
  object["startTime"] = format_time(start_time);
  if (end_time) object["endTime"] = format_time(*end_time);
  if (error) {
    object["error"] = error->to_json();
    object["errorStatus"] = error->status;
  }
  if (!output.is_null()) object["output"] = output;
  return object;
}

Result<Operation> Operation::parse(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the stored operation"));
  Operation operation;
  BOOTSEAL_TRY(operation.id, reader.string("id"));
  BOOTSEAL_TRY(const std::string kind, reader.string("kind"));
  const auto known_kind = value_of(kKindNames, kind);
  if (!known_kind) return reader.problem("kind", "not known here");
  operation.kind = *known_kind;
  BOOTSEAL_TRY(operation.resource, reader.string("resource"));
  BOOTSEAL_TRY(const std::string status, reader.string("status"));
  const auto known_status = value_of(kStatusNames, status);
  if (!known_status) return reader.problem("status", "not known here");
  operation.status = *known_status;
  BOOTSEAL_TRY(const std::string start, reader.string("startTime"));
  BOOTSEAL_TRY(operation.start_time, parse_time(start));
  BOOTSEAL_TRY(const auto end, reader.optional_string("endTime"));
  if (end) {
    BOOTSEAL_TRY(operation.end_time, parse_time(*end));
  }
  BOOTSEAL_TRY(auto error, reader.optional_object("error"));
  if (error) {
    ArmError problem;
    BOOTSEAL_TRY(problem.code, error->string("code"));
    BOOTSEAL_TRY(problem.message, error->string("message"));
    BOOTSEAL_TRY(problem.target, error->string_or("target", ""));
    BOOTSEAL_TRY(const std::uint64_t http_status, reader.unsigned_integer_or("errorStatus", 500));
    problem.status = static_cast<int>(http_status);
    operation.error = std::move(problem);
  }
  if (reader.has("output")) {
    BOOTSEAL_TRY(const json::Value* output, reader.value("output"));
    operation.output = *output;
  }
  return operation;
}

json::Object Operation::to_answer(const std::string& path) const {
  json::Object answer;
  answer["id"] = path;
  answer["name"] = id;
  answer["status"] = to_string(status);
  answer["startTime"] = format_time(start_time);
  if (end_time) answer["endTime"] = format_time(*end_time);
  if (status == OperationStatus::succeeded) answer["percentComplete"] = 100.0;
  if (error) answer["error"] = error->to_json();
  json::Object properties;
  properties["operation"] = to_string(kind);
  properties["resourceId"] = resource;
  if (!output.is_null()) properties["output"] = output;
  answer["properties"] = std::move(properties);
  return answer;
}

}  // namespace bootseal::model

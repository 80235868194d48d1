// The record of one long-running operation. Every operation ends Succeeded or Failed.
#pragma once

#include <optional>
#include <string>

#include "bootseal/base/clock.h"
#include "bootseal/json/json.h"
#include "bootseal/model/arm_error.h"

namespace bootseal::model {

enum class OperationStatus : std::uint8_t { in_progress, succeeded, failed };
std::string_view to_string(OperationStatus status);  // "InProgress"

enum class OperationKind : std::uint8_t {
  create,
  update,
  remove,
  start,
  power_off,
  kill,
  deallocate,
  restart,
  attest,
  reset_guest_state,
  remove_group,
  run_command
};
std::string_view to_string(OperationKind kind);  // "start"

struct Operation {
  std::string id;  // a GUID
  OperationKind kind = OperationKind::create;
  std::string resource;  // the id of what it is about
  OperationStatus status = OperationStatus::in_progress;
  TimePoint start_time;
  std::optional<TimePoint> end_time;
  std::optional<ArmError> error;  // when it failed
  json::Value output;             // null when it has none

  // As it is stored.
  [[nodiscard]] json::Object to_json() const;
  static Result<Operation> parse(const json::Value& value);
  // As clients poll it; `id` is the path of the operation.
  [[nodiscard]] json::Object to_answer(const std::string& path) const;
};

}  // namespace bootseal::model

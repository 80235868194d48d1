#include "changes.h"

#include <fmt/format.h>

#include "bootseal/base/ids.h"

namespace bootseal::api {
namespace {

using model::OperationKind;

// The action of the Assignment that carries the operation out; empty = the power stays as it is.
std::string_view power_action(OperationKind kind) {
  switch (kind) {
    case OperationKind::create:
    case OperationKind::start:
      return "start";
    case OperationKind::power_off:
    case OperationKind::deallocate:
      return "stop";
    case OperationKind::kill:
      return "kill";
    case OperationKind::restart:
      return "restart";
    default:
      return "";
  }
}

bool provisions(OperationKind kind) {
  return kind == OperationKind::create || kind == OperationKind::update;
}

// What becomes of the VM, in the past tense; empty when its guest goes on.
std::string_view end_of_boot(OperationKind kind) {
  switch (kind) {
    case OperationKind::power_off:
    case OperationKind::kill:
      return "stopped";
    case OperationKind::deallocate:
      return "deallocated";
    case OperationKind::restart:
      return "restarted";
    case OperationKind::remove:
      return "deleted";
    default:
      return "";
  }
}

std::string preemption_message(OperationKind current, OperationKind kind) {
  if (current == OperationKind::attest && !end_of_boot(kind).empty())
    return fmt::format("The virtual machine was {} while it was being attested.", end_of_boot(kind));
  return fmt::format("The operation has been preempted by a more recent operation ({}).",
                     model::to_string(kind));
}

}  // namespace

bool ends_vm(OperationKind kind) {
  return kind == OperationKind::power_off || kind == OperationKind::kill || kind == OperationKind::deallocate;
}

bool may_preempt(OperationKind kind, OperationKind current) {
  return kind == OperationKind::remove || kind == OperationKind::kill ||
         (current == OperationKind::attest && !end_of_boot(kind).empty());
}

Change begin_operation(VmRecord record, const std::optional<model::Operation>& current, OperationKind kind,
                       TimePoint now) {
  Change change;
  if (current && current->status == model::OperationStatus::in_progress) {
    model::Operation preempted = *current;
    preempted.status = model::OperationStatus::failed;
    preempted.end_time = now;
    preempted.error =
        model::ArmError{409, "OperationPreempted", preemption_message(current->kind, kind), {}, {}};
    change.operations.push_back(std::move(preempted));
  }
  model::Operation operation;
  operation.id = Guid::random().to_string();
  operation.kind = kind;
  operation.resource = record.id.to_string();
  operation.start_time = now;
  record.operation_id = operation.id;
  if (const std::string_view action = power_action(kind); !action.empty()) {
    record.power = {operation.id, std::string(action)};
    record.deallocated = kind == OperationKind::deallocate;
  }
  if (kind == OperationKind::create) record.provisioning_state = "Creating";
  if (kind == OperationKind::update) record.provisioning_state = "Updating";
  if (kind == OperationKind::remove) {
    record.deleting = true;
    record.provisioning_state = "Deleting";
  }
  change.operations.push_back(std::move(operation));
  change.record = std::move(record);
  return change;
}

Change end_operation(VmRecord record, model::Operation operation, const std::optional<model::ArmError>& error,
                     const json::Value& output, TimePoint now) {
  operation.status = error ? model::OperationStatus::failed : model::OperationStatus::succeeded;
  operation.error = error;
  operation.end_time = now;
  operation.output = output;
  record.operation_id.clear();
  if (error && provisions(operation.kind)) record.provisioning_state = "Failed";
  if (!error && operation.kind == OperationKind::update) record.expectation_due = false;
  if (!error && !record.deleting && (provisions(operation.kind) || record.created))
    record.provisioning_state = "Succeeded";
  return {std::move(record), {std::move(operation)}};
}

}  // namespace bootseal::api

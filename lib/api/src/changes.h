// How a VM's record changes when an operation begins and when it ends (pure).
#pragma once

#include "bootseal/base/clock.h"
#include "database.h"

namespace bootseal::api {

struct Change {
  VmRecord record;
  std::vector<model::Operation> operations;  // the new one last
};

// Whether an operation of this kind ends with a VM that does not run, and is there still.
bool ends_vm(model::OperationKind kind);
// The record with an operation of this kind begun. An operation that is going on (`current`) fails as
// preempted, and says by what.
Change begin_operation(VmRecord record, const std::optional<model::Operation>& current,
                       model::OperationKind kind, TimePoint now);
// Whether an operation of this kind may take the place of one that is going on (`current`). A deletion and a
// kill always may; whatever ends the guest's boot ends a request for its evidence, which would wait for
// nothing.
bool may_preempt(model::OperationKind kind, model::OperationKind current);
// The record with its operation ended; `error` = why it failed, `output` = what it brought.
Change end_operation(VmRecord record, model::Operation operation, const std::optional<model::ArmError>& error,
                     const json::Value& output, TimePoint now);

}  // namespace bootseal::api

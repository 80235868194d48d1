#include "resource_changes.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/log/log.h"
#include "vm_network.h"

namespace bootseal::api {
namespace {

using model::OperationKind;
using model::OperationStatus;

model::ArmError changed_meanwhile(const ResourceRecord& record) {
  return {409,
          "Conflict",
          fmt::format("'{}' was changed at the same moment. Try again.", record.id.to_string()),
          {},
          {}};
}

model::Operation new_operation(Service& service, const ResourceRecord& record, OperationKind kind) {
  model::Operation operation;
  operation.id = Guid::random().to_string();
  operation.kind = kind;
  operation.resource = record.id.to_string();
  operation.start_time = service.now();
  return operation;
}

// The operation of a record that is going on, if any.
model::ArmResult<std::optional<model::Operation>> operation_of(Service& service,
                                                               const ResourceRecord& record) {
  if (record.operation_id.empty()) return std::optional<model::Operation>();
  BOOTSEAL_ARM_TRY(auto operation, service.database.operation(record.operation_id));
  if (operation && operation->status != OperationStatus::in_progress) operation.reset();
  return operation;
}

model::ArmStatus check_idle(Service& service, const ResourceRecord& record) {
  if (record.deleting) {
    return model::refuse(409, "OperationNotAllowed",
                         fmt::format("'{}' is being deleted.", record.id.to_string()));
  }
  BOOTSEAL_ARM_TRY(const auto current, operation_of(service, record));
  if (!current) return {};
  return model::refuse(
      409, "AnotherOperationInProgress",
      fmt::format("Another operation ({}) on this or dependent resource is in progress: '{}'. Try "
                  "again when it has ended.",
                  model::to_string(current->kind), record.id.to_string()));
}

bool same_content(const ResourceRecord& a, const ResourceRecord& b) {
  return a.location == b.location && a.tags == b.tags && a.body == b.body && a.state == b.state;
}

// The end of an operation, in the record and in the operation.
ResourceChange ended(const Service& service, ResourceRecord record, std::optional<model::Operation> operation,
                     Step step) {
  ResourceChange change;
  if (operation) {
    operation->status = step.error ? OperationStatus::failed : OperationStatus::succeeded;
    operation->end_time = service.now();
    operation->error = step.error;
    operation->output = std::move(step.output);
    const bool provisions =
        operation->kind == OperationKind::create || operation->kind == OperationKind::update;
    if (!record.deleting && (provisions || record.provisioning_state != "Failed"))
      record.provisioning_state = step.error && provisions ? "Failed" : "Succeeded";
    change.operations.push_back(*std::move(operation));
  }
  record.operation_id.clear();
  if (step.new_state) record.state = *std::move(step.new_state);
  change.puts.push_back(std::move(record));
  return change;
}

Outcome write_outcome(const Status& written, Outcome outcome) {
  if (written) return outcome;
  if (written.error().code == ErrorCode::conflict) return {Outcome::Next::again, {}};
  return {Outcome::Next::retry, written.error().describe()};
}

Outcome finish(Service& service, const ResourceRecord& record,
               const std::optional<model::Operation>& operation, const Step& step) {
  if (!record.deleting || step.error) {
    const Status written = service.resources.write(ended(service, record, operation, step));
    // A deletion whose operation failed goes on without it.
    return write_outcome(written, record.deleting
                                      ? Outcome{Outcome::Next::retry, step.error ? step.error->message : ""}
                                      : Outcome{});
  }
  ResourceChange change = ended(service, record, operation, step);
  change.puts.clear();
  change.removals.push_back(record);
  const auto exclusive = service.resources.exclusive();
  provider_of(service, record.id).release(service, record, change);
  const Status written = service.resources.write(change);
  if (written) log::info("resource.deleted", {{"id", record.id.to_string()}});
  return write_outcome(written, {});
}

}  // namespace

model::ArmStatus check_place(Service& service, const model::ResourceId& id, bool to_be_made) {
  if (!id.subscription.empty() && !model::equal_ignoring_case(id.subscription, service.site.subscription)) {
    return model::refuse(
        404, "SubscriptionNotFound",
        fmt::format("The subscription '{}' could not be found. The subscription of this site is '{}'.",
                    id.subscription.substr(0, 64), service.site.subscription));
  }
  if (id.group.empty()) return {};
  BOOTSEAL_ARM_TRY(const auto group, service.database.group(service.site.subscription, id.group));
  if (!group) {
    return model::refuse(404, "ResourceGroupNotFound",
                         fmt::format("Resource group '{}' could not be found.", id.group));
  }
  if (to_be_made && group->deleting) {
    return model::refuse(
        409, "ResourceGroupBeingDeleted",
        fmt::format("The resource group '{}' is in deprovisioning state and cannot perform this operation.",
                    group->name));
  }
  return {};
}

model::ArmError resource_not_found(const model::ResourceId& id) {
  const std::string where =
      id.group.empty() ? std::string() : fmt::format(" under resource group '{}'", id.group);
  std::string names;
  for (const std::string& parent : id.parents) names += parent + "/";
  return {404,
          "ResourceNotFound",
          fmt::format("The Resource '{}/{}{}'{} was not found. For more details please go to "
                      "https://aka.ms/ARMResourceNotFoundFix",
                      id.full_type(), names, id.name, where),
          {},
          {}};
}

model::ArmResult<ResourceRecord> store_draft(Service& service, const Caller& caller, Draft draft) {
  const model::ResourceType* type = model::find_resource_type(draft.record.id);
  BOOTSEAL_CHECK(type != nullptr);
  if (draft.existing != nullptr) BOOTSEAL_ARM_TRY_STATUS(check_idle(service, *draft.existing));
  BOOTSEAL_ARM_TRY_STATUS(provider_of(service, draft.record.id).prepare(service, caller, draft));
  const bool is_new = draft.existing == nullptr;
  ResourceRecord& record = draft.record;
  if (!is_new && same_content(record, *draft.existing) && record.provisioning_state == "Succeeded")
    return record;
  record.changed_time = service.now();
  if (is_new) record.created_time = record.changed_time;
  if (!is_new) ++record.version;
  ResourceChange change = std::move(draft.also);
  if (type->long_running) {
    const bool first = is_new || record.state.if_contains("created") == nullptr;
    model::Operation operation =
        new_operation(service, record, first ? OperationKind::create : OperationKind::update);
    record.operation_id = operation.id;
    record.provisioning_state = first ? "Creating" : "Updating";
    change.operations.push_back(std::move(operation));
  }
  change.puts.push_back(record);
  const Status written = service.resources.write(change);
  if (!written && written.error().code == ErrorCode::conflict)
    return tl::unexpected(changed_meanwhile(record));
  BOOTSEAL_ARM_TRY_STATUS(written);
  if (type->long_running) service.reconciler.wake(record.key());
  if (model::equal_ignoring_case(record.id.provider, "Microsoft.Network")) wake_vms_using(service, record);
  return record;
}

model::ArmResult<std::string> begin_resource_operation(Service& service, ResourceRecord record,
                                                       OperationKind kind, ResourceChange also) {
  BOOTSEAL_ARM_TRY(const auto current, operation_of(service, record));
  if (current && current->kind == kind) return current->id;  // clients repeat what they get no answer to
  if (kind != OperationKind::remove) BOOTSEAL_ARM_TRY_STATUS(check_idle(service, record));
  if (current) {
    model::Operation preempted = *current;
    preempted.status = OperationStatus::failed;
    preempted.end_time = service.now();
    preempted.error = model::ArmError{409,
                                      "OperationPreempted",
                                      "The operation has been preempted by a more recent operation (delete).",
                                      {},
                                      {}};
    also.operations.push_back(std::move(preempted));
  }
  model::Operation operation = new_operation(service, record, kind);
  record.operation_id = operation.id;
  if (kind == OperationKind::create) record.provisioning_state = "Creating";
  if (kind == OperationKind::update) record.provisioning_state = "Updating";
  if (kind == OperationKind::remove) {
    record.deleting = true;
    record.provisioning_state = "Deleting";
  }
  also.operations.push_back(std::move(operation));
  also.puts.push_back(record);
  const Status written = service.resources.write(also);
  if (!written && written.error().code == ErrorCode::conflict)
    return tl::unexpected(changed_meanwhile(record));
  BOOTSEAL_ARM_TRY_STATUS(written);
  service.reconciler.preempt(record.key(), Reconciler::Urgency::usual);
  return record.operation_id;
}

model::ArmResult<std::optional<std::string>> remove_resource(Service& service, const ResourceRecord& record) {
  const model::ResourceType* type = model::find_resource_type(record.id);
  BOOTSEAL_ARM_TRY_STATUS(provider_of(service, record.id).check_deletion(service, record));
  if (type != nullptr && type->long_running) {
    BOOTSEAL_ARM_TRY(std::string operation, begin_resource_operation(service, record, OperationKind::remove));
    return std::optional(std::move(operation));
  }
  ResourceChange change;
  change.removals.push_back(record);
  provider_of(service, record.id).release(service, record, change);
  const Status written = service.resources.write(change);
  if (!written && written.error().code == ErrorCode::conflict)
    return tl::unexpected(changed_meanwhile(record));
  BOOTSEAL_ARM_TRY_STATUS(written);
  return std::optional<std::string>();
}

model::ArmResult<std::size_t> remove_rest_of_group(Service& service, const GroupRecord& group) {
  const std::string key = model::ResourceId::of_group(group.subscription, group.name).key();
  while (true) {
    const auto exclusive = service.resources.exclusive();
    BOOTSEAL_ARM_TRY(const auto records, service.resources.below(key));
    if (records.empty()) return std::size_t{0};
    std::size_t going = 0;
    bool progress = false;
    std::optional<model::ArmError> blocked;
    for (const ResourcePointer& record : records) {
      if (record->deleting) {
        ++going;
        continue;
      }
      const auto removed = remove_resource(service, *record);
      if (removed) progress = true;
      if (!removed) blocked = removed.error();
    }
    if (progress) continue;  // what stood against the deletion of others may be gone
    if (going > 0 || !blocked) return std::max<std::size_t>(going, 1);
    return tl::unexpected(*std::move(blocked));
  }
}

Outcome step_resource(Service& service, const std::string& key, const std::string& last_reason,
                      const std::stop_token& stop) {
  const auto found = service.resources.get(key);
  if (!found) return {Outcome::Next::retry, found.error().describe()};
  if (*found == nullptr) return {};
  const ResourceRecord& record = **found;
  auto current = operation_of(service, record);
  if (!current) return {Outcome::Next::retry, current.error().message};
  if (!*current && !record.deleting) return {};
  if (*current && service.now() - (*current)->start_time > service.options.operation_limit) {
    Step late;
    late.error = model::ArmError{
        504,
        "Timeout",
        fmt::format("The operation '{}' did not end in time: {}.", model::to_string((*current)->kind),
                    last_reason.empty() ? "no answer came" : last_reason),
        {},
        {}};
    return finish(service, record, *current, late);
  }
  const Step step =
      provider_of(service, record.id).step(service, record, *current ? &**current : nullptr, stop);
  switch (step.next) {
    case Step::Next::wait:
    case Step::Next::retry: {
      const auto next = step.next == Step::Next::wait ? Outcome::Next::wait : Outcome::Next::retry;
      if (!step.new_state) return {next, step.reason};
      ResourceRecord changed = record;
      changed.state = *step.new_state;
      return write_outcome(service.resources.write({.puts = {std::move(changed)}}), {next, step.reason});
    }
    case Step::Next::done:
      break;
  }
  return finish(service, record, *current, step);
}

}  // namespace bootseal::api

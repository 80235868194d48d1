#include "vm_reconciler.h"

#include <fmt/format.h>

#include <functional>

#include "bootseal/log/log.h"
#include "changes.h"

namespace bootseal::api {
namespace {

using model::OperationKind;
using Next = Outcome::Next;

// Whether doing the same again may help.
bool is_transient(const Error& error) {
  switch (error.code) {
    case ErrorCode::unavailable:
    case ErrorCode::timeout:
    case ErrorCode::cancelled:
    case ErrorCode::io_error:
      return true;
    default:
      return false;
  }
}

model::ArmError from_problem(const model::Problem& problem) {
  const ErrorInfo& info = error_info(error_code_from_name(problem.code));
  return {info.http_status, problem.code, problem.message, {}, {}};
}

bool asks_for_power(OperationKind kind) {
  return kind == OperationKind::create || kind == OperationKind::start || kind == OperationKind::power_off ||
         kind == OperationKind::kill || kind == OperationKind::deallocate || kind == OperationKind::restart;
}

bool starts_vm(OperationKind kind) {
  return kind == OperationKind::create || kind == OperationKind::start || kind == OperationKind::restart;
}

std::string boot_message(const model::VmStatus& status) {
  const json::Value* boot = status.raw.if_contains("boot");
  const json::Value* message =
      boot != nullptr && boot->is_object() ? boot->get_object().if_contains("message") : nullptr;
  return message != nullptr && message->is_string() ? std::string(message->get_string()) : std::string();
}

}  // namespace

void VmReconciler::forget_applied() {
  const std::lock_guard lock(mutex_);
  applied_.clear();
  host_id_.clear();
}

Outcome VmReconciler::step(const std::string& key, const std::string& last_reason, std::stop_token stop) {
  auto found = database_.vm(key);
  if (!found) return {Next::retry, found.error().describe()};
  if (!*found) return {};
  VmRecord record = **std::move(found);
  std::optional<model::Operation> operation;
  if (!record.operation_id.empty()) {
    auto stored = database_.operation(record.operation_id);
    if (!stored) return {Next::retry, stored.error().describe()};
    operation = *std::move(stored);
    if (operation && operation->status != model::OperationStatus::in_progress) operation.reset();
  }
  if (operation && settings_.clock->now() - operation->start_time > settings_.operation_limit) {
    const std::string reason = last_reason.empty() ? "no answer came" : last_reason;
    std::string message =
        fmt::format("The operation '{}' did not end in time: {}.", model::to_string(operation->kind), reason);
    if (record.deleting) message += " The deletion goes on as soon as that is possible.";
    return end(record, *operation, model::ArmError{504, "Timeout", std::move(message), {}, {}});
  }
  if (record.deleting) return step_deletion(record, operation);
  if (!operation && !record.created) return {};  // its creation failed; it waits for a person

  const auto status = apply(record, operation, stop);
  if (!status) {
    const Error& error = status.error();
    if (is_transient(error)) return {Next::retry, error.describe()};
    if (operation) return end(record, *operation, model::to_arm_error(error));
    if (std::uint64_t left_out = 0; complaints_.allow(left_out)) {
      log::error("vm.not-reconciled", {{"vm", record.vm_id.to_string()},
                                       {"name", record.id.name},
                                       {"reason", error.describe()},
                                       {"leftOut", left_out}});
    }
    return {};
  }
  if (operation) {
    const Outcome outcome = evaluate(record, *operation, *status, std::move(stop));
    // What the others have not been told comes after the end of the VM, in a step of its own.
    return outcome.next == Next::done && ends_vm(operation->kind) ? Outcome{Next::follow_up, {}} : outcome;
  }
  if (!record.expectation_due) return {};
  record.expectation_due = false;
  return {database_.put_vm(record) ? Next::done : Next::again, {}};
}

Result<Placement> VmReconciler::placement_of(const VmRecord& record) {
  std::string host_id;
  {
    const std::lock_guard lock(mutex_);
    host_id = host_id_;
  }
  if (host_id.empty()) {
    BOOTSEAL_TRY(const json::Value host, peers_.host(std::chrono::seconds(30)));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(host, "the host"));
    BOOTSEAL_TRY(host_id, reader.string("hostId"));
    const std::lock_guard lock(mutex_);
    host_id_ = host_id;
  }
  return database_.place(record.vm_id, host_id);
}

Result<VmReconciler::Wanted> VmReconciler::wanted_of(const VmRecord& record) {
  BOOTSEAL_TRY(Placement placement, placement_of(record));
  auto network = make_network_(record);
  if (!network) return tl::unexpected(model::from_arm_error(network.error()));
  BOOTSEAL_TRY(Intent intent, make_intent(record, placement, settings_.images, *std::move(network)));
  Wanted wanted;
  wanted.assigned = json::serialize(intent.assignment);
  wanted.told =
      fmt::format("{} {} {}", placement.host_id, placement.epoch.value, json::serialize(intent.expectation));
  wanted.placement = std::move(placement);
  wanted.expectation = std::move(intent.expectation);
  wanted.assignment = std::move(intent.assignment);
  return wanted;
}

Result<model::VmStatus> VmReconciler::apply(const VmRecord& record,
                                            const std::optional<model::Operation>& operation,
                                            const std::stop_token& stop) {
  BOOTSEAL_TRY(const Wanted wanted, wanted_of(record));
  // The host alone can end a VM: nobody else is asked before it is, however long they are silent.
  const bool ends = record.created && operation && ends_vm(operation->kind);
  bool told = false;
  std::optional<model::VmStatus> assigned;
  {
    const std::lock_guard lock(mutex_);
    if (const auto applied = applied_.find(record.vm_id); applied != applied_.end()) {
      told = applied->second.told == wanted.told;
      if (applied->second.assigned == wanted.assigned) assigned = board_.get(record.vm_id);
    }
  }
  if (assigned && (told || ends)) return *std::move(assigned);
  if (record.created) BOOTSEAL_TRY_STATUS(check_still_there(record));
  if (!ends && (!told || (operation && starts_vm(operation->kind))))
    BOOTSEAL_TRY_STATUS(tell(record, wanted, stop));
  if (assigned) return *std::move(assigned);
  return assign(record, wanted);
}

Status VmReconciler::tell(const VmRecord& record, const Wanted& wanted, const std::stop_token& stop) {
  if (const Status placed = peers_.put_placement(record.vm_id, wanted.placement, stop); !placed)
    return tl::unexpected(placed.error().wrap("vaultd"));
  if (const Status expected = peers_.put_expectation(record.vm_id, wanted.expectation, stop); !expected)
    return tl::unexpected(expected.error().wrap("attestd"));
  const std::lock_guard lock(mutex_);
  applied_[record.vm_id].told = wanted.told;
  return {};
}

// A host that lost a VM must not make it anew, with another TPM.
Status VmReconciler::check_still_there(const VmRecord& record) {
  const auto there = peers_.vm(record.vm_id);
  if (there) return {};
  if (there.error().code != ErrorCode::not_found) return tl::unexpected(there.error());
  return fail(ErrorCode::guest_state_missing,
              fmt::format("the host does not have the VM '{}' any more; put the folder HOME/hostd/vms/{} "
                          "back from a backup and restart the "
                          "daemons, or delete the VM with `bootseal vm delete {}`",
                          record.id.name, record.vm_id.to_string(), record.id.name));
}

Result<model::VmStatus> VmReconciler::assign(const VmRecord& record, const Wanted& wanted) {
  auto status = peers_.assign(record.vm_id, wanted.assignment);
  if (!status) return tl::unexpected(status.error());
  board_.put(*status);
  {
    const std::lock_guard lock(mutex_);
    applied_[record.vm_id].assigned = wanted.assigned;
  }
  // An event may have been faster than the answer.
  if (auto known = board_.get(record.vm_id)) return *std::move(known);
  return status;
}

Outcome VmReconciler::evaluate(const VmRecord& record, const model::Operation& operation,
                               const model::VmStatus& status, std::stop_token stop) {
  using Progress = model::VmStatus::Progress;
  VmRecord next = record;
  if (status.provisioning == Progress::failed)
    return end(record, operation, from_problem(status.provisioning_error));
  if (status.provisioning == Progress::running) return {Next::wait, "the host is making the VM"};
  if (!record.created) {
    next.created = true;
    if (const Status stored = database_.put_vm(next); !stored) return {Next::again, {}};
    return {Next::again, {}};
  }
  if (operation.kind == OperationKind::attest)
    return step_attestation(record, operation, status, std::move(stop));
  if (operation.kind == OperationKind::reset_guest_state) {
    const auto answer = peers_.reset_guest_state(record.vm_id);
    if (!answer && is_transient(answer.error())) return {Next::retry, answer.error().describe()};
    return end(record, operation, answer ? std::nullopt : std::optional(model::to_arm_error(answer.error())));
  }
  if (!asks_for_power(operation.kind)) return end(record, operation, std::nullopt);
  if (!status.power_request || status.power_request->request_id != operation.id) {
    return {Next::wait, "the host has not taken the power request up yet"};
  }
  switch (status.power_request->state) {
    case Progress::running:
      return {Next::wait, fmt::format("the host is carrying out '{}'; the VM is {}", record.power.action,
                                      model::to_lower(status.power))};
    case Progress::failed:
      return end(record, operation, from_problem(status.power_request->error));
    case Progress::succeeded:
      break;
  }
  return end(record, operation, std::nullopt);
}

Outcome VmReconciler::step_attestation(const VmRecord& record, const model::Operation& operation,
                                       const model::VmStatus& status, std::stop_token stop) {
  const auto refuse = [&](std::string code, std::string message) {
    return end(record, operation, model::ArmError{409, std::move(code), std::move(message), {}, {}});
  };
  if (status.power == "Stopped" || status.power == "Stopping") {
    const std::string boot = boot_message(status);
    return refuse(
        "OperationNotAllowed",
        fmt::format(
            "The VM '{}' is not running, so it has nothing to show{}. Start it with `bootseal vm start {}`.",
            record.id.name, boot.empty() ? "" : " (" + boot + ")", record.id.name));
  }
  if (status.boot_outcome == "Refused" || status.boot_outcome == "NothingToBoot" ||
      status.boot_outcome == "DidNotBoot") {
    return refuse("OperationNotAllowed",
                  fmt::format("The VM '{}' did not boot: {}", record.id.name, boot_message(status)));
  }
  if (status.boot_outcome != "Booted")
    return {Next::wait, "the guest is booting, its agent has not said anything yet"};
  const auto verdict = peers_.attest(record.vm_id, std::move(stop));
  if (!verdict) {
    if (is_transient(verdict.error())) return {Next::retry, verdict.error().describe()};
    return end(record, operation, model::to_arm_error(verdict.error()));
  }
  return end(record, operation, std::nullopt, *verdict);
}

Outcome VmReconciler::step_deletion(const VmRecord& record,
                                    const std::optional<model::Operation>& operation) {
  {
    const std::lock_guard lock(mutex_);
    applied_.erase(record.vm_id);
  }
  const auto placement = database_.placement(record.vm_id);
  if (!placement) return {Next::retry, placement.error().describe()};
  // Without a placement no daemon was ever told of the VM, and the vault was told first.
  const auto remove_key = [&]() -> Status {
    return *placement ? peers_.remove_key(record.vm_id, **placement) : Status();
  };
  // The host first: it ends the VM, and holds what the key opens. Each call is a success when there is
  // nothing left to delete.
  const std::pair<std::string_view, std::function<Status()>> steps[] = {
      {"hostd", [&] { return peers_.remove_from_host(record.vm_id); }},
      {"vaultd", remove_key},
      {"attestd", [&] { return peers_.forget_expectation(record.vm_id); }}};
  for (const auto& [daemon, remove] : steps) {
    const Status status = remove();
    if (status) continue;
    const Error error = status.error().wrap(daemon);
    if (!is_transient(error) && operation) return end(record, *operation, model::to_arm_error(error));
    return {Next::retry, error.describe()};
  }
  std::vector<model::Operation> ended;
  if (operation)
    ended = end_operation(record, *operation, std::nullopt, nullptr, settings_.clock->now()).operations;
  if (const Status removed = database_.remove_vm(record, ended); !removed) return {Next::again, {}};
  board_.remove(record.vm_id);
  log::info("vm.deleted", {{"vm", record.vm_id.to_string()}, {"name", record.id.name}});
  return {};
}

Outcome VmReconciler::step_group(const GroupRecord& group) {
  auto stored = database_.operation(group.operation_id);
  if (!stored) return {Next::retry, stored.error().describe()};
  const auto vms = database_.vms(model::ResourceId::of_group(group.subscription, group.name).key());
  if (!vms) return {Next::retry, vms.error().describe()};
  for (const VmRecord& record : *vms) {
    if (record.deleting) continue;
    std::optional<model::Operation> current;
    if (!record.operation_id.empty()) {
      auto found = database_.operation(record.operation_id);
      if (!found) return {Next::retry, found.error().describe()};
      current = *std::move(found);
    }
    const Change change = begin_operation(record, current, OperationKind::remove, settings_.clock->now());
    if (const Status put = database_.put_vm(change.record, change.operations); !put) return {Next::again, {}};
  }
  const TimePoint now = settings_.clock->now();
  model::Operation operation = stored->value_or(
      model::Operation{.id = group.operation_id,
                       .kind = OperationKind::remove_group,
                       .resource = model::ResourceId::of_group(group.subscription, group.name).to_string(),
                       .start_time = now});
  if (!vms->empty()) {
    // The group waits as long as its VMs do, but the operation ends.
    if (operation.status == model::OperationStatus::in_progress &&
        now - operation.start_time > settings_.operation_limit) {
      operation.status = model::OperationStatus::failed;
      operation.end_time = now;
      operation.error = model::ArmError{504,
                                        "Timeout",
                                        fmt::format("{} VMs of the group '{}' could not be deleted in time. "
                                                    "The deletion goes on as soon as that is possible.",
                                                    vms->size(), group.name),
                                        {},
                                        {}};
      if (const Status put = database_.put_operation(operation); !put)
        return {Next::retry, put.error().describe()};
    }
    return {Next::wait, fmt::format("{} VMs are being deleted", vms->size())};
  }
  const auto rest = clean_group_(group);
  if (!rest) return keep_group(group, std::move(operation), rest.error());
  if (*rest > 0) return {Next::wait, fmt::format("{} resources are being deleted", *rest)};
  if (operation.status == model::OperationStatus::in_progress) {
    operation.status = model::OperationStatus::succeeded;
    operation.end_time = now;
  }
  if (const Status removed = database_.remove_group(group, operation); !removed) return {Next::again, {}};
  return {};
}

// What something outside of the group needs stays, and so does the group.
Outcome VmReconciler::keep_group(GroupRecord group, model::Operation operation, const model::ArmError& why) {
  if (operation.status == model::OperationStatus::in_progress) {
    operation.status = model::OperationStatus::failed;
    operation.end_time = settings_.clock->now();
    operation.error =
        model::ArmError{409,
                        "ResourceGroupDeletionBlocked",
                        fmt::format("Deletion of resource group '{}' failed as resources in it cannot be "
                                    "deleted: {}",
                                    group.name, why.message),
                        {},
                        {why}};
  }
  group.deleting = false;
  group.operation_id.clear();
  return {database_.put_group(group, operation) ? Next::done : Next::again, {}};
}

Outcome VmReconciler::end(const VmRecord& record, const model::Operation& operation,
                          const std::optional<model::ArmError>& error, const json::Value& output) {
  Change change = end_operation(record, operation, error, output, settings_.clock->now());
  if (const Status stored = database_.put_vm(change.record, change.operations); !stored)
    return {Next::again, {}};
  if (error) {
    log::warning("operation.failed", {{"operation", operation.id},
                                      {"kind", model::to_string(operation.kind)},
                                      {"vm", record.vm_id.to_string()},
                                      {"code", error->code},
                                      {"reason", error->message}});
  } else {
    log::info("operation.succeeded", {{"operation", operation.id},
                                      {"kind", model::to_string(operation.kind)},
                                      {"vm", record.vm_id.to_string()}});
  }
  // A deletion whose operation ran out of time goes on without it.
  return record.deleting ? Outcome{Next::retry, error ? error->message : std::string()} : Outcome{};
}

}  // namespace bootseal::api

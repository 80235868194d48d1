#include "bootseal/host/vm.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "bootseal/base/fds.h"
#include "bootseal/log/log.h"
#include "bootseal/sandbox/sandbox.h"

namespace bootseal::host {
namespace {

constexpr std::chrono::seconds kRecordRetry{5};
constexpr std::chrono::seconds kEndLimit{10};  // for a process to end after SIGKILL

bool is_known_request(const Record& record, std::string_view id) {
  return (record.request && record.request->id == id) ||
         std::ranges::any_of(record.earlier_requests,
                             [&](const PowerRequest& each) { return each.id == id; });
}

// Makes the assignment's request the newest. One that is still under way is answered: it is not gone on with.
void take_request(Record& record, const Assignment& assignment) {
  if (record.request) {
    PowerRequest& before = *record.request;
    if (before.state == RequestState::running) {
      before.state = RequestState::failed;
      before.error = Error{ErrorCode::conflict,
                           fmt::format("superseded: a later request asked to {} {}",
                                       power_action_name(assignment.action), assignment.name),
                           nullptr};
    }
    record.earlier_requests.push_back(std::move(before));
    if (record.earlier_requests.size() > kEarlierRequests)
      record.earlier_requests.erase(record.earlier_requests.begin());
  }
  record.request = PowerRequest{assignment.request_id, assignment.action, RequestState::running, {}};
}

}  // namespace

bool is_passing(const Error& error) {
  return error.code == ErrorCode::unavailable || error.code == ErrorCode::timeout;
}

Vm::Vm(const VmEnvironment& environment, std::shared_ptr<Executor> strand, Record record)
    : environment_(environment),
      id_(record.assignment.vm),
      strand_(std::move(strand)),
      paths_(vm_paths(environment.paths.home, environment.paths.run, record.assignment.vm)),
      record_(std::move(record)) {}

Result<std::shared_ptr<Vm>> Vm::create(const VmEnvironment& environment, std::shared_ptr<Executor> strand,
                                       const Assignment& assignment, unsigned slot) {
  Record record;
  record.assignment = assignment;
  record.slot = slot;
  record.machine_type = environment.hypervisor.facts().machine_type;
  record.accelerator = std::string(accelerator_name(environment.hypervisor.facts().accelerator.kind));
  record.created = environment.clock.now();
  if (!assignment.request_id.empty() && assignment.action != PowerAction::none)
    record.request = PowerRequest{assignment.request_id, assignment.action, RequestState::running, {}};
  std::shared_ptr<Vm> vm(new Vm(environment, std::move(strand), std::move(record)));
  BOOTSEAL_TRY_STATUS(make_folder(vm->paths_.private_folder, 0700));
  BOOTSEAL_TRY_STATUS(vm->write_record(vm->record_));
  log::info(
      "vm.assigned",
      {{"vm", assignment.vm.to_string()}, {"name", assignment.name}, {"epoch", assignment.epoch.value}});
  vm->post(&Vm::reconcile);
  return vm;
}

std::shared_ptr<Vm> Vm::known(const VmEnvironment& environment, std::shared_ptr<Executor> strand,
                              Record record) {
  return std::shared_ptr<Vm>(new Vm(environment, std::move(strand), std::move(record)));
}

Status Vm::assign(const Assignment& assignment) {
  bool is_expected_anew = false;
  {
    const std::lock_guard lock(mutex_);
    const Assignment& now = record_.assignment;
    if (record_.deleting)
      return fail(ErrorCode::conflict, fmt::format("the virtual machine {} is being deleted", now.name));
    if (assignment.epoch < now.epoch) {
      return fail(ErrorCode::conflict, fmt::format("epoch {} of {} is over: this host holds epoch {}",
                                                   assignment.epoch.value, now.name, now.epoch.value));
    }
    if (assignment.security != now.security || assignment.image_disk != now.image_disk ||
        assignment.os_disk != now.os_disk) {
      return fail(
          ErrorCode::conflict,
          fmt::format(
              "{} cannot change its image, its osDisk or its security type; delete it and create another",
              now.name));
    }
    if (assignment.secure_boot != now.secure_boot &&
        (record_.power != PowerState::stopped || !assignment.trusted())) {
      return fail(ErrorCode::conflict,
                  fmt::format("Secure Boot of {} changes while it is stopped only: bootseal vm stop {}",
                              now.name, now.name));
    }
    if (assignment.signature_template != now.signature_template) {
      return fail(ErrorCode::conflict,
                  fmt::format("the signature template of {} is fixed in its guest state "
                              "when it is made; create another virtual machine, or make a "
                              "new guest state on explicit request with: bootseal vm reset-guest-state {}",
                              now.name, now.name));
    }
    Record next = record_;
    next.assignment = assignment;
    // A control plane that does not tell it changes nothing.
    if (assignment.expectation_digest.empty()) next.assignment.expectation_digest = now.expectation_digest;
    if (!assignment.network) next.assignment.network = now.network;
    if (!assignment.disks) next.assignment.disks = now.disks;
    is_expected_anew = next.assignment.expectation_digest != now.expectation_digest;
    if (next.provisioning == ProvisioningState::failed) {
      next.provisioning = ProvisioningState::creating;
      next.provisioning_error.reset();
    }
    const bool is_new = !assignment.request_id.empty() && assignment.action != PowerAction::none &&
                        !is_known_request(record_, assignment.request_id);
    if (is_new) take_request(next, assignment);
    const Status written = write_record(next);
    // A guest can fill the disk that the record is on: that does not keep anybody from ending it.
    if (!written && assignment.action != PowerAction::kill) return written;
    record_ = std::move(next);
    if (!written) write_record_later(written.error());
    // At once, whatever the strand is doing: the rest follows from the machine's end.
    if (is_new && assignment.action == PowerAction::kill && machine_) machine_->kill();
  }
  environment_.changed(assignment.vm);
  if (is_expected_anew) post(&Vm::attest_anew);
  post(&Vm::reconcile);
  return {};
}

Record Vm::record() const {
  const std::lock_guard lock(mutex_);
  return record_;
}

json::Value Vm::status() const {
  const std::lock_guard lock(mutex_);
  return status_json(record_, revision_);
}

std::uint64_t Vm::revision() const {
  const std::lock_guard lock(mutex_);
  return revision_;
}

void Vm::set_revision(std::uint64_t revision) {
  const std::lock_guard lock(mutex_);
  revision_ = revision;
}

std::shared_ptr<Machine> Vm::machine() const {
  const std::lock_guard lock(mutex_);
  return machine_;
}

std::string Vm::console_text() const {
  if (const auto running = machine()) return running->console().text();
  return ConsoleFile(paths_.serial_log()).read();
}

Status Vm::write_record(const Record& record) const {
  return replace_file(paths_.record(), as_bytes(json::serialize_pretty(to_json(record))));
}

void Vm::update(const std::function<void(Record&)>& change, Persist persist) {
  {
    const std::lock_guard lock(mutex_);
    change(record_);
    if (persist == Persist::yes && !record_.deleting) {
      if (const Status written = write_record(record_); !written) write_record_later(written.error());
    }
  }
  environment_.changed(id_);
}

void Vm::write_record_later(const Error& reason) {
  static log::RateLimit limit(0.2, 20);
  std::uint64_t left_out = 0;
  if (limit.allow(left_out))
    log::error("vm.record_not_written",
               {{"vm", id_.to_string()}, {"reason", reason.describe()}, {"leftOut", left_out}});
  if (std::exchange(record_waits_, true)) return;
  strand_->post_after(kRecordRetry, [weak = weak_from_this()]() {
    const auto self = weak.lock();
    if (!self) return;
    const std::lock_guard lock(self->mutex_);
    self->record_waits_ = false;
    if (self->record_.deleting) return;  // remove_now() sees to it
    if (const Status written = self->write_record(self->record_); !written)
      self->write_record_later(written.error());
  });
}

void Vm::post(void (Vm::*step)()) {
  strand_->post([weak = weak_from_this(), step]() {
    if (const auto self = weak.lock()) (*self.*step)();
  });
}

TimerId Vm::post_after(std::chrono::milliseconds delay, void (Vm::*step)()) {
  return strand_->post_after(delay, [weak = weak_from_this(), step]() {
    if (const auto self = weak.lock()) (*self.*step)();
  });
}

void Vm::drop_timer(TimerId& timer) {
  if (timer != 0) strand_->cancel(timer);
  timer = 0;
}

// Brings what is there to what is asked. Runs after every assignment and whenever something was waited for.
void Vm::reconcile() {
  drop_timer(retry_timer_);
  const Record now = record();
  if (now.deleting) return;
  if (now.provisioning != ProvisioningState::succeeded && !provision()) return;
  act_on_request();
  sync_disks();
  sync_network();
}

// The request that was acted on is not the newest any more when another one came in the meantime: that one is
// still to be carried out.
void Vm::finish_request(std::string id, const Error* error) {
  if (acting_on_ == id) acting_on_.clear();
  retry_ = {};
  patience_until_.reset();
  update([&](Record& record) {
    if (!record.request || record.request->id != id || record.request->state != RequestState::running) return;
    record.request->state = error != nullptr ? RequestState::failed : RequestState::succeeded;
    if (error != nullptr) record.request->error = *error;
  });
}

std::chrono::milliseconds Vm::next_retry() {
  retry_ = retry_.count() == 0 ? environment_.options.first_retry
                               : std::min(retry_ * 2, environment_.options.last_retry);
  return retry_;
}

MachineConfig Vm::machine_config(const Record& record) const {
  const Assignment& assignment = record.assignment;
  MachineConfig config;
  config.vm = assignment.vm;
  config.name = assignment.name;
  config.uid = sandbox::vm_uid(record.slot);
  config.machine_type = record.machine_type;
  config.cpus = assignment.cpus;
  config.memory_mib = assignment.memory_mib;
  config.cpu_model = assignment.cpu_model;
  config.trusted = assignment.trusted();
  config.vtpm = assignment.vtpm;
  config.image = assignment.image_disk;
  config.os_disk_id = assignment.os_disk;
  for (const netd::Interface& interface : record.interfaces) config.interfaces.push_back(interface.mac);
  config.disk = paths_.disk();
  config.seed = paths_.seed();
  config.variables = paths_.standard_variables();
  config.run_folder = paths_.run_folder;
  config.serial_log = paths_.serial_log();
  config.hypervisor_log = paths_.hypervisor_log();
  return config;
}

Result<MachineConfig> Vm::start_config(const Record& record) const {
  MachineConfig config = machine_config(record);
  if (config.os_disk_id) {
    BOOTSEAL_TRY(config.os_disk, environment_.store.file(*config.os_disk_id));
  }
  for (const DataDisk& disk : record.assignment.data_disks()) {
    BOOTSEAL_TRY(DiskFile file, environment_.store.file(disk.disk));
    config.disks.push_back({disk.disk, disk.lun, disk.read_only, std::move(file)});
  }
  return config;
}

GuestServiceConfig Vm::guest_config(const Record& record) const {
  return {record.assignment.vm, record.assignment.name, sandbox::vm_uid(record.slot), paths_.guest_state(),
          paths_.run_folder};
}

void Vm::remove(std::function<void(Status)> done) {
  strand_->post([self = shared_from_this(), done = std::move(done)]() { self->remove_now(done); });
}

void Vm::remove_now(const std::function<void(Status)>& done) {
  {
    // On disk first, where there is room: a removal that was begun is finished, whatever happens.
    const std::lock_guard lock(mutex_);
    record_.deleting = true;
    if (!removal_written_) removal_written_ = write_record(record_).has_value();
  }
  for (TimerId* timer : {&retry_timer_, &tell_timer_, &disks_timer_, &network_timer_}) drop_timer(*timer);
  if (const auto running = machine()) {
    interrupt_attestation("the virtual machine is being deleted");
    planned_end_ = Notice{"Deleted", "the virtual machine is being deleted", environment_.clock.now()};
    running->kill();
    if (!running->wait_ended(kEndLimit)) {
      return retry_removal(
          Error{ErrorCode::timeout,
                fmt::format("QEMU of {} (process {}) has not ended {} s after SIGKILL; a disk that does not "
                            "answer, perhaps. The deletion goes on when it ends",
                            record().assignment.name, running->process().pid, kEndLimit.count()),
                nullptr},
          done);
    }
    ++run_;
    end_run(planned_end_);
  }
  drop_timer(tell_timer_);
  const Status removed = [&]() -> Status {
    BOOTSEAL_TRY_STATUS(make_room_for_removal());
    // A VM that is placed elsewhere by now keeps its key; what is left of it here goes all the same.
    const Status deleted = environment_.vault.delete_key(id_, record().assignment.epoch);
    if (!deleted && deleted.error().code != ErrorCode::permission_denied)
      return tl::unexpected(deleted.error());
    return environment_.disks.remove(id_);
  }();
  if (!removed) return retry_removal(removed.error(), done);
  for (const DiskId& disk : environment_.store.disks_of(id_)) environment_.store.release(id_, disk);
  log::info("vm.removed", {{"vm", id_.to_string()}});
  environment_.removed(id_);
  done({});
}

// When the disk is full the guest may have filled it: its own disk goes first and makes the room to write the
// removal down. Where others take that room at once the removal goes on all the same; should hostd end in the
// middle of it, it is asked for again.
Status Vm::make_room_for_removal() {
  if (removal_written_) return {};
  if (::unlink(paths_.disk().c_str()) != 0 && errno != ENOENT)
    return fail_errno(errno, fmt::format("removing {}", paths_.disk().native()));
  const std::lock_guard lock(mutex_);
  const Status written = write_record(record_);
  removal_written_ = written.has_value();
  if (!written)
    log::warning("vm.removal_not_written", {{"vm", id_.to_string()}, {"reason", written.error().describe()}});
  return {};
}

void Vm::retry_removal(const Error& reason, const std::function<void(Status)>& done) {
  log::warning("vm.removal_incomplete", {{"vm", id_.to_string()}, {"reason", reason.describe()}});
  retry_timer_ = strand_->post_after(next_retry(), [weak = weak_from_this()]() {
    if (const auto self = weak.lock()) self->remove_now([](const Status&) {});
  });
  done(tl::unexpected(reason));
}

}  // namespace bootseal::host

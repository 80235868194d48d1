// The processes of a run: guestd, then QEMU, and what they tell.
#include <fmt/format.h>

#include "accelerator_cache.h"
#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"
#include "display_text.h"
#include "run_events.h"

namespace bootseal::host {

MachineEvents Vm::machine_events(std::uint64_t run) {
  const auto waiting = run_events_;
  const auto hear = [weak = weak_from_this(), strand = strand_, run]() { hear_later(weak, *strand, run); };
  MachineEvents events;
  events.shutdown = [waiting, hear](std::string_view reason, bool by_guest) {
    if (waiting->tell_shutdown({std::string(reason), by_guest})) hear();
  };
  events.reset = [waiting, hear]() {
    if (waiting->tell_reset()) hear();
  };
  events.serial = [waiting, hear]() {
    if (waiting->tell_serial()) hear();
  };
  events.agent_hello = [waiting, hear](const AgentHello& hello) {
    if (waiting->tell_hello(hello)) hear();
  };
  events.ended = [waiting, weak = weak_from_this(), strand = strand_, run]() {
    waiting->end_machine();
    strand->post([weak, run]() {
      if (const auto self = weak.lock()) self->on_machine_ended(run);
    });
  };
  return events;
}

void Vm::hear_later(const std::weak_ptr<Vm>& weak, Executor& strand, std::uint64_t run) {
  strand.post([weak, run]() {
    const auto self = weak.lock();
    if (self && run == self->run_) self->hear(run, self->run_events_->take());
  });
}

void Vm::hear(std::uint64_t run, const WaitingEvents& events) {
  if (events.generation) note_generation(*events.generation);
  if (events.shutdown) on_shutdown(run, events.shutdown->reason, events.shutdown->by_guest);
  if (events.reset) on_reset(run);
  if (events.serial) on_serial(run);
  if (events.hello) on_hello(run, *events.hello);
}

GuestServiceEvents Vm::guest_events(std::uint64_t run) {
  GuestServiceEvents events;
  const std::weak_ptr<Vm> weak = weak_from_this();
  events.generation = [weak, run, waiting = run_events_](Generation generation) {
    const auto self = weak.lock();
    if (self && waiting->tell_generation(generation)) hear_later(weak, *self->strand_, run);
  };
  events.tpm_failed = [weak, run](const std::string& message) {
    const auto self = weak.lock();
    if (!self) return;
    static log::RateLimit limit(0.2, 20);
    std::uint64_t left_out = 0;
    if (limit.allow(left_out))
      log::error("vm.tpm_failed",
                 {{"vm", self->id_.to_string()}, {"reason", message}, {"leftOut", left_out}});
    // QEMU's flash device does not tell the firmware that a write failed: a machine that went on would
    // believe in variables that are not on disk.
    const std::lock_guard lock(self->mutex_);
    if (self->active_run_ != run) return;
    self->guest_lost_ = true;
    self->guest_failure_ = display_text(message, 300);
    if (self->machine_) self->machine_->kill();
  };
  events.ended = [weak, run]() {
    const auto self = weak.lock();
    if (!self) return;
    {
      // At once, whatever the strand is doing: a machine without its TPM must not go on.
      const std::lock_guard lock(self->mutex_);
      if (self->active_run_ != run) return;
      self->guest_lost_ = true;
      if (self->machine_) self->machine_->kill();
    }
    self->strand_->post([self, run]() { self->on_guest_ended(run); });
  };
  return events;
}

Result<std::shared_ptr<GuestService>> Vm::start_guest(std::uint64_t run) {
  const Record now = record();
  if (!std::filesystem::exists(paths_.guest_state())) {
    return fail(
        ErrorCode::guest_state_missing,
        fmt::format("the guest state file {} is missing; nothing was started or changed. Put the file back "
                    "from a backup, or make a new TPM and new variables for this virtual machine "
                    "with: bootseal vm reset-guest-state {}",
                    paths_.guest_state().native(), now.assignment.name));
  }
  BOOTSEAL_TRY_STATUS(seal_secure_boot(now));
  BOOTSEAL_TRY(ReleasedKey released,
               from_vault(environment_.vault.release(now.assignment.vm, now.assignment.epoch)));
  told_generation_ = released.minimum;
  return environment_.guests.serve(
      guest_config(now), std::move(released.key), released.minimum, guest_events(run),
      [this](const ProcessIdentity& process) { update([&](Record& record) { record.guestd = process; }); });
}

// Brings the sealed variables to what is asked: the VM is off. Repeated when hostd ends in between.
Status Vm::seal_secure_boot(const Record& now) {
  const bool wanted = now.assignment.secure_boot;
  if (now.sealed_secure_boot.value_or(wanted) == wanted) return {};
  BOOTSEAL_TRY(ReleasedKey released,
               from_vault(environment_.vault.release(now.assignment.vm, now.assignment.epoch)));
  BOOTSEAL_TRY(const Generation generation,
               environment_.guests.set_secure_boot(guest_config(now), std::move(released.key),
                                                   released.minimum, wanted));
  update([&](Record& record) { record.sealed_secure_boot = wanted; });
  log::info("vm.secure_boot_changed", {{"vm", id_.to_string()}, {"secureBoot", wanted}});
  note_generation(generation);
  return {};
}

void Vm::begin_run(std::uint64_t run) {
  run_started_ = std::chrono::steady_clock::now();
  boot_mark_ = 0;
  run_events_ = std::make_shared<RunEvents>();
  const std::lock_guard lock(mutex_);
  active_run_ = run;
  guest_lost_ = false;
  guest_failure_.clear();
}

Status Vm::start_processes() {
  const std::uint64_t run = ++run_;
  planned_end_.reset();
  powered_off_by_guest_ = false;
  begin_run(run);
  update([&](Record& record) {
    record.power = PowerState::starting;
    record.boot_id = current_boot_id();
    record.stop_reason.reset();
    record.boot = BootStatus{"Booting", "", "", "", environment_.clock.now()};
    record.accelerator = std::string(accelerator_name(environment_.hypervisor.facts().accelerator.kind));
    record.firmware = environment_.hypervisor.facts().firmware_package;
    record.guest.reset();
    record.interfaces = record.assignment.interfaces();
  });
  const Status started = [&]() -> Status {
    const Record now = record();
    BOOTSEAL_TRY_STATUS(environment_.disks.make_run_folder(now.assignment.vm, now.slot));
    if (now.assignment.trusted()) {
      BOOTSEAL_TRY(guest_, start_guest(run));
      note_generation(guest_->generation());
    }
    BOOTSEAL_TRY(const MachineConfig config, start_config(now));
    BOOTSEAL_TRY(
        auto started_machine,
        environment_.hypervisor.start(config, machine_events(run), [this](const ProcessIdentity& process) {
          update([&](Record& record) { record.qemu = process; });
        }));
    {
      const std::lock_guard lock(mutex_);
      machine_ = std::move(started_machine);
      if (guest_lost_)
        return fail(ErrorCode::internal,
                    "the process that holds the TPM and the UEFI variables (guestd) ended while the virtual "
                    "machine was started");
    }
    return machine()->resume();
  }();
  if (!started) {
    if (const auto half = machine()) {
      half->kill();
      // Nothing else may happen with this VM before.
      while (!half->wait_ended(std::chrono::seconds(10)))
        log::error("vm.qemu_does_not_end",
                   {{"vm", id_.to_string()}, {"pid", static_cast<std::int64_t>(half->process().pid)}});
    }
    ++run_;  // what these processes still say is about nothing any more
    end_run(std::nullopt);
    update([](Record& record) { record.boot = BootStatus{}; });
    return started;
  }
  // The guest finds its network when it looks for it.
  sync_network();
  const TimePoint now = environment_.clock.now();
  update([&](Record& record) {
    record.power = PowerState::running;
    record.started = now;
    record.timings.start_to_verdict_ms.reset();
    if (!record.timings.create_to_running_ms)
      record.timings.create_to_running_ms =
          std::chrono::duration_cast<std::chrono::milliseconds>(now - record.created).count();
    // In one write with the processes. A request that came meanwhile is another one and still to be acted on.
    if (record.request && record.request->id == acting_on_ && record.request->state == RequestState::running)
      record.request->state = RequestState::succeeded;
  });
  const Record running = record();
  log::info("vm.started", {{"vm", running.assignment.vm.to_string()},
                           {"accelerator", running.accelerator},
                           {"qemu", static_cast<std::int64_t>(running.qemu ? running.qemu->pid : 0)},
                           {"guestd", static_cast<std::int64_t>(running.guestd ? running.guestd->pid : 0)}});
  begin_attestation();
  return {};
}

}  // namespace bootseal::host

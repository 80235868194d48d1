// Starting and stopping.
#include <fmt/format.h>
#include <sys/stat.h>

#include "accelerator_cache.h"
#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"
#include "display_text.h"

namespace bootseal::host {

namespace {

Notice killed(TimePoint time) {
  return {"Killed", "the virtual machine was ended on request, without its help", time};
}

}  // namespace

void Vm::act_on_request() {
  const Record now = record();
  if (!now.request || now.request->state != RequestState::running) return;
  if (acting_on_ == now.request->id && now.power != PowerState::stopped) return;  // under way
  if (acting_on_ != now.request->id) {
    drop_timer(stop_timer_);
    drop_timer(button_timer_);
    patience_until_.reset();
    retry_ = {};
    acting_on_ = now.request->id;
  }
  const bool running = machine() != nullptr;
  if (running && is_ending()) {
    // The machine's end, which is on its way, acts on this request (on_machine_ended).
    if (now.power != PowerState::stopping)
      update([](Record& record) { record.power = PowerState::stopping; });
    return;
  }
  switch (now.request->action) {
    case PowerAction::none:
      finish_request(acting_on_, nullptr);
      return;
    case PowerAction::start:
      if (!running) return start();
      if (now.power == PowerState::stopping) {
        // The guest was asked to power off and may still do so: then it is started again.
        stop_timer_ = post_after(environment_.options.stop_limit, &Vm::stop_timed_out);
        return;
      }
      finish_request(acting_on_, nullptr);
      return;
    case PowerAction::stop:
      running ? request_stop() : finish_request(acting_on_, nullptr);
      return;
    case PowerAction::kill:
      running ? request_kill() : finish_request(acting_on_, nullptr);
      return;
    case PowerAction::restart:
      running ? request_stop() : start();
      return;
  }
}

bool Vm::is_ending() const {
  const std::lock_guard lock(mutex_);
  return planned_end_ || guest_lost_;
}

void Vm::start() {
  if (!patience_until_) patience_until_ = std::chrono::steady_clock::now() + environment_.options.patience;
  vault_away_ = false;
  const std::string request = acting_on_;
  const Status started = start_processes();
  if (started) {
    finish_request(request, nullptr);
    watch_boot();
    tell_vault();
    return;
  }
  if (vault_away_ && std::chrono::steady_clock::now() < *patience_until_) {
    log::warning("vm.start_waits",
                 {{"vm", record().assignment.vm.to_string()}, {"reason", started.error().describe()}});
    retry_timer_ = post_after(next_retry(), &Vm::reconcile);
    return;
  }
  log::error("vm.start_failed",
             {{"vm", record().assignment.vm.to_string()}, {"reason", started.error().describe()}});
  finish_request(request, &started.error());
}

MachineEvents Vm::machine_events(std::uint64_t run) {
  const auto on_strand = [this](auto call) {
    return [weak = weak_from_this(), strand = strand_, call](auto... arguments) {
      strand->post([weak, call, arguments...]() {
        if (const auto self = weak.lock()) call(*self, arguments...);
      });
    };
  };
  MachineEvents events;
  events.shutdown = [post = on_strand([run](Vm& vm, const std::string& reason, bool by_guest) {
                       vm.on_shutdown(run, reason, by_guest);
                     })](std::string_view reason, bool by_guest) { post(std::string(reason), by_guest); };
  events.reset = on_strand([run](Vm& vm) { vm.on_reset(run); });
  events.serial = on_strand([run](Vm& vm) { vm.on_serial(run); });
  events.agent_hello = [post = on_strand([run](Vm& vm, const AgentHello& hello) {
                          vm.on_hello(run, hello);
                        })](const AgentHello& hello) { post(hello); };
  events.ended = on_strand([run](Vm& vm) { vm.on_machine_ended(run); });
  return events;
}

GuestServiceEvents Vm::guest_events(std::uint64_t run) {
  GuestServiceEvents events;
  const std::weak_ptr<Vm> weak = weak_from_this();
  events.generation = [weak, run](Generation generation) {
    const auto self = weak.lock();
    if (!self) return;
    self->strand_->post([self, run, generation]() {
      if (run == self->run_) self->note_generation(generation);
    });
  };
  events.tpm_failed = [weak, run](const std::string& message) {
    const auto self = weak.lock();
    if (!self) return;
    log::error("vm.tpm_failed", {{"vm", self->record().assignment.vm.to_string()}, {"reason", message}});
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
  BOOTSEAL_TRY(ReleasedKey released,
               from_vault(environment_.vault.release(now.assignment.vm, now.assignment.epoch)));
  told_generation_ = released.minimum;
  return environment_.guests.serve(
      guest_config(now), std::move(released.key), released.minimum, guest_events(run),
      [this](const ProcessIdentity& process) { update([&](Record& record) { record.guestd = process; }); });
}

void Vm::begin_run(std::uint64_t run) {
  run_started_ = std::chrono::steady_clock::now();
  boot_mark_ = 0;
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
  });
  const Status started = [&]() -> Status {
    const Record now = record();
    BOOTSEAL_TRY_STATUS(environment_.disks.make_run_folder(now.assignment.vm, now.slot));
    if (now.assignment.trusted()) {
      BOOTSEAL_TRY(guest_, start_guest(run));
      note_generation(guest_->generation());
    }
    BOOTSEAL_TRY(auto started_machine,
                 environment_.hypervisor.start(machine_config(now), machine_events(run),
                                               [this](const ProcessIdentity& process) {
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

void Vm::request_stop() {
  interrupt_attestation("the virtual machine is being stopped");
  update([](Record& record) { record.power = PowerState::stopping; });
  stop_timer_ = post_after(environment_.options.stop_limit, &Vm::stop_timed_out);
  press_button();
}

void Vm::press_button() {
  drop_timer(button_timer_);
  const auto running = machine();
  if (!running || record().power != PowerState::stopping) return;
  if (const Status pressed = running->press_power_button(); !pressed) {
    log::warning("vm.power_button_failed",
                 {{"vm", record().assignment.vm.to_string()}, {"reason", pressed.error().describe()}});
  }
  // A guest that was still in its firmware has not seen it.
  button_timer_ = post_after(environment_.options.button_interval, &Vm::press_button);
}

void Vm::stop_timed_out() {
  stop_timer_ = 0;
  drop_timer(button_timer_);
  const Record now = record();
  if (now.power != PowerState::stopping || !machine()) return;
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(environment_.options.stop_limit).count();
  const Error late{ErrorCode::timeout,
                   fmt::format("the guest did not power off within {} s of being asked; it still runs. Try "
                               "again, or end it without its help with: bootseal vm kill {}",
                               seconds, now.assignment.name),
                   nullptr};
  log::warning("vm.stop_ignored", {{"vm", now.assignment.vm.to_string()}});
  update([](Record& record) { record.power = PowerState::running; });
  const bool wanted_on = now.request && now.request->id == acting_on_ &&
                         now.request->action == PowerAction::start;  // superseded the stop
  finish_request(acting_on_, wanted_on ? nullptr : &late);
  if (now.boot.outcome == "Booted") attest_now(nullptr);  // it was not asked while it was being stopped
}

void Vm::request_kill() {
  interrupt_attestation("the virtual machine is being stopped");
  planned_end_ = killed(environment_.clock.now());
  update([](Record& record) { record.power = PowerState::stopping; });
  machine()->kill();  // the rest follows from its end
}

void Vm::on_shutdown(std::uint64_t run, const std::string& reason, bool by_guest) {
  if (run != run_) return;
  log::info("vm.shutdown",
            {{"vm", record().assignment.vm.to_string()}, {"reason", reason}, {"byGuest", by_guest}});
  if (by_guest) powered_off_by_guest_ = true;
}

Notice Vm::reason_of_end() const {
  const TimePoint now = environment_.clock.now();
  bool lost = false;
  std::string failure;
  std::shared_ptr<Machine> ended;
  {
    const std::lock_guard lock(mutex_);
    lost = guest_lost_;
    failure = guest_failure_;
    ended = machine_;
  }
  if (planned_end_) return *planned_end_;
  if (lost && !failure.empty()) {
    return {
        "GuestStateWriteFailed",
        fmt::format("the TPM or the UEFI variables could not be kept ({}), so QEMU was ended at once; every "
                    "change that was acknowledged before is on disk. See to the disk of {}, then start it "
                    "with: bootseal vm start {}",
                    failure, paths_.guest_state().native(), this->record().assignment.name),
        now};
  }
  if (lost) {
    return {"GuestStateServiceEnded",
            "the process that holds the virtual machine's TPM and UEFI variables (guestd) ended, so QEMU was "
            "ended at once; every change that was acknowledged is on disk",
            now};
  }
  const Record record = this->record();
  // assign() ends the machine before the strand hears of the request.
  if (record.request && record.request->state == RequestState::running &&
      record.request->action == PowerAction::kill)
    return killed(now);
  const bool asked =
      record.request && record.request->state == RequestState::running &&
      (record.request->action == PowerAction::stop || record.request->action == PowerAction::restart);
  if (powered_off_by_guest_) {
    return asked ? Notice{"Stopped", "the guest powered off when it was asked to", now}
                 : Notice{"GuestPoweredOff", "the guest powered off by itself", now};
  }
  const std::string words = ended ? ended->last_words() : "";
  return {"HypervisorEnded",
          words.empty() ? "QEMU ended unexpectedly"
                        : fmt::format("QEMU ended unexpectedly; it said last: {}", words),
          now};
}

void Vm::on_machine_ended(std::uint64_t run) {
  if (run != run_ || !machine()) return;
  const Notice reason = reason_of_end();
  log::info("vm.ended",
            {{"vm", record().assignment.vm.to_string()}, {"code", reason.code}, {"reason", reason.message}});
  ++run_;
  end_run(reason);
  const Record now = record();
  if (now.deleting || !now.request || now.request->state != RequestState::running) return;
  if (now.request->action == PowerAction::stop || now.request->action == PowerAction::kill) {
    finish_request(now.request->id, nullptr);
  } else {
    act_on_request();  // the second half of a restart, or a start that came while the machine was ending
  }
}

void Vm::on_guest_ended(std::uint64_t run) {
  if (run != run_) return;
  log::error("vm.guest_state_service_ended", {{"vm", record().assignment.vm.to_string()}});
  const auto running = machine();
  if (!running) return;
  running->kill();
  if (running->wait_ended(std::chrono::seconds(10))) return on_machine_ended(run);
  // Its end is told by on_machine_ended, whenever that is: until then it is not stopped.
  log::error("vm.qemu_does_not_end",
             {{"vm", id_.to_string()}, {"pid", static_cast<std::int64_t>(running->process().pid)}});
  update([](Record& record) { record.power = PowerState::stopping; });
}

// QEMU is gone (or never came): guestd writes what is left and ends, the vault hears the last generation, the
// VM is stopped.
void Vm::end_run(const std::optional<Notice>& reason) {
  stop_watching_boot();
  stop_attesting();
  drop_timer(stop_timer_);
  drop_timer(button_timer_);
  {
    const std::lock_guard lock(mutex_);
    machine_.reset();
    active_run_ = 0;
  }
  if (guest_) {
    note_generation(guest_->shut_down(environment_.options.service_limit));
    guest_.reset();
  }
  struct stat status {};
  const bool has_state = ::stat(paths_.guest_state().c_str(), &status) == 0;
  update([&](Record& record) {
    record.power = PowerState::stopped;
    record.qemu.reset();
    record.guestd.reset();
    if (reason) record.stop_reason = *reason;
    if (record.boot.outcome == "Booting") record.boot = BootStatus{};
    if (has_state) record.guest_state_bytes = static_cast<std::uint64_t>(status.st_size);
  });
  tell_vault();
}

void Vm::note_generation(Generation generation) {
  wanted_generation_ = std::max(wanted_generation_, generation);
  if (record().generation < generation) {
    // Not worth a flush of the record each: the vault keeps the count.
    update([&](Record& record) { record.generation = generation; }, Persist::no);
  }
  if (tell_timer_ == 0) tell_vault();
}

void Vm::tell_vault() {
  drop_timer(tell_timer_);
  if (wanted_generation_ <= told_generation_) return;
  const Record now = record();
  if (now.deleting) return;
  const Generation wanted = wanted_generation_;
  const Status told = environment_.vault.tell_generation(now.assignment.vm, now.assignment.epoch, wanted);
  if (told || !is_passing(told.error())) {
    if (!told)
      log::error("vm.generation_refused", {{"vm", now.assignment.vm.to_string()},
                                           {"generation", wanted.value},
                                           {"reason", told.error().describe()}});
    told_generation_ = wanted;
    tell_retry_ = {};
    return;
  }
  tell_retry_ = tell_retry_.count() == 0 ? environment_.options.first_retry
                                         : std::min(tell_retry_ * 2, environment_.options.last_retry);
  tell_timer_ = post_after(tell_retry_, &Vm::tell_vault);
}

}  // namespace bootseal::host

// Power requests, the end of a run, and what the vault is told of it.
#include <fmt/format.h>
#include <sys/stat.h>

#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"

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
  static log::RateLimit limit(0.2, 20);
  std::uint64_t left_out = 0;
  if (limit.allow(left_out))
    log::info("vm.shutdown",
              {{"vm", id_.to_string()}, {"reason", reason}, {"byGuest", by_guest}, {"leftOut", left_out}});
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
  interrupt_command("it ended");
  drop_timer(stop_timer_);
  drop_timer(button_timer_);
  {
    const std::lock_guard lock(mutex_);
    machine_.reset();
    active_run_ = 0;
  }
  end_network();
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
    record.interfaces.clear();
    if (reason) record.stop_reason = *reason;
    if (record.boot.outcome == "Booting") record.boot = BootStatus{};
    if (has_state) record.guest_state_bytes = static_cast<std::uint64_t>(status.st_size);
  });
  tell_vault();
  sync_disks();
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

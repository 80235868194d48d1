// Finding a VM again after hostd was away.
#include <fmt/format.h>
#include <signal.h>

#include "accelerator_cache.h"
#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"
#include "process_watch.h"

namespace bootseal::host {

void Vm::recover(std::vector<ProcessIdentity> strays) {
  strand_->post([self = shared_from_this(), strays = std::move(strays)]() { self->recover_now(strays); });
}

void Vm::recover_now(const std::vector<ProcessIdentity>& strays) {
  const Record now = record();
  for (const ProcessIdentity& stray : strays) {
    if (stray == now.qemu || stray == now.guestd || stray == now.netd) continue;
    log::warning("vm.stray_process_ended",
                 {{"vm", now.assignment.vm.to_string()}, {"pid", static_cast<std::int64_t>(stray.pid)}});
    end_process(stray);
  }
  wanted_generation_ = now.generation;
  recover_processes();
  if (now.deleting) {
    remove_now([](const Status&) {});
    return;
  }
  reconcile();
}

void Vm::recover_processes() {
  const Record now = record();
  if (now.power == PowerState::stopped && !now.qemu && !now.guestd && !now.netd) return;
  // After a reboot of the machine pid and start time could meet by chance.
  const bool same_boot = now.boot_id == current_boot_id();
  const bool qemu = same_boot && now.qemu && is_running(*now.qemu);
  const bool guestd = same_boot && now.guestd && is_running(*now.guestd);
  const bool complete = qemu && (guestd || !now.assignment.trusted());
  std::optional<Notice> reason;
  const TimePoint time = environment_.clock.now();
  if (complete && now.power != PowerState::starting) {
    const Status attached = attach_all(now);
    if (attached) {
      log::info("vm.found_again",
                {{"vm", now.assignment.vm.to_string()}, {"qemu", static_cast<std::int64_t>(now.qemu->pid)}});
      return;
    }
    reason =
        Notice{"NotRecoverable",
               fmt::format("hostd was restarted and QEMU or guestd did not answer it, so both were ended: {}",
                           attached.error().describe()),
               time};
  } else if (complete) {
    // It was being started: that start begins again.
  } else if (qemu) {
    reason = Notice{"GuestStateServiceEnded",
                    "the process that holds the virtual machine's TPM and UEFI variables (guestd) ended "
                    "while hostd was away, so QEMU was ended; every change that was acknowledged is on disk",
                    time};
  } else if (now.power != PowerState::starting) {
    reason = same_boot ? Notice{"EndedWhileAway",
                                "the virtual machine ended (QEMU is gone) while hostd was away", time}
                       : Notice{"HostRestarted", "the machine that it ran on was restarted", time};
  }
  if (qemu) end_process(*now.qemu);
  if (guestd && !guest_) {
    Result<std::shared_ptr<GuestService>> service =
        environment_.guests.attach(guest_config(now), *now.guestd, {});
    if (service) {
      guest_ = *std::move(service);
    } else {
      static_cast<void>(signal_process(*now.guestd, SIGTERM));
      const Result<bool> ended = wait_for_end(*now.guestd, environment_.options.service_limit);
      if (!ended || !*ended) end_process(*now.guestd);
    }
  }
  ++run_;
  if (reason)
    log::warning(
        "vm.ended",
        {{"vm", now.assignment.vm.to_string()}, {"code", reason->code}, {"reason", reason->message}});
  end_run(reason);
}

Status Vm::attach_all(const Record& now) {
  const std::uint64_t run = ++run_;
  begin_run(run);
  if (now.assignment.trusted()) {
    BOOTSEAL_TRY(guest_, environment_.guests.attach(guest_config(now), *now.guestd, guest_events(run)));
  }
  BOOTSEAL_TRY(auto found,
               environment_.hypervisor.attach(machine_config(now), *now.qemu, machine_events(run)));
  {
    const std::lock_guard lock(mutex_);
    machine_ = std::move(found);
    if (guest_lost_) machine_->kill();
  }
  // A stop that was under way is asked for again by its request.
  update([](Record& record) { record.power = PowerState::running; });
  if (guest_) note_generation(guest_->generation());
  had_verdict_ = now.timings.start_to_verdict_ms.has_value();
  if (now.boot.outcome == "Booting") watch_boot();
  // Left paused by a diagnosis that was cut off, perhaps.
  BOOTSEAL_TRY_STATUS(machine()->resume());
  // Nobody saw whether the guest was reset meanwhile: what is known is about the boot before, perhaps.
  set_plain_verdict("Pending", "AwaitingEvidence", "info",
                    "hostd was restarted; what the virtual machine is now is not attested yet");
  // A guest that was still booting is asked when its agent says hello.
  if (now.boot.outcome == "Booted") {
    strand_->post([weak = weak_from_this()]() {
      if (const auto self = weak.lock(); self && self->machine()) self->attest_now(nullptr);
    });
  }
  return {};
}

}  // namespace bootseal::host

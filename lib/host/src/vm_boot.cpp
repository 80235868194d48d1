// Did it boot, and if not, why.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "bootseal/base/fds.h"
#include "bootseal/host/qemu_command.h"
#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"
#include "bootseal/sandbox/sandbox.h"
#include "bootseal/uefi/boot_diagnosis.h"
#include "display_text.h"
#include "run_events.h"

namespace bootseal::host {
namespace {

constexpr std::chrono::milliseconds kSerialCheckDelay{250};
// A guest decides how often it resets and how its boot looks, so hostd decides how often its memory is
// dumped.
constexpr std::chrono::seconds kDumpInterval{60};
constexpr std::chrono::seconds kDumpPatience{30};  // for the dump of another virtual machine
constexpr std::uint64_t kRoomToSpare = std::uint64_t{64} << 20;

// The guest's memory in the file that QEMU wrote. QEMU's uid owns the file and its folder and may still hold
// it open: only a plain file of that uid is taken, and it is read piece by piece, since a mapping would end
// hostd when somebody shortens the file.
class MemoryDump final : public uefi::GuestMemory {
 public:
  static Result<MemoryDump> open(const std::filesystem::path& path, uid_t uid, std::uint64_t size) {
    BOOTSEAL_TRY(UniqueFd fd, open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return fail_errno(errno, "looking at the memory dump");
    if (!S_ISREG(status.st_mode) || status.st_uid != uid)
      return fail(ErrorCode::corrupt, "the memory dump is no plain file of the virtual machine's uid");
    return MemoryDump(
        std::move(fd),
        std::min<std::uint64_t>(size, static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0))));
  }
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  [[nodiscard]] bool read(std::uint64_t address, MutableByteSpan out) const override {
    return read_exactly_at(fd_.get(), out, address).has_value();
  }

 private:
  MemoryDump(UniqueFd fd, std::uint64_t size) : fd_(std::move(fd)), size_(size) {}
  UniqueFd fd_;
  std::uint64_t size_;
};

// Also of a VM without a vTPM, which has no verdict.
bool is_pending(const json::Value& verdict) {
  const json::Object* object = verdict.if_object();
  const json::Value* status = object != nullptr ? object->if_contains("status") : nullptr;
  return object == nullptr || (status != nullptr && status->is_string() && status->get_string() == "Pending");
}

void keep(const std::filesystem::path& file, ByteSpan content) {
  if (const Status kept = replace_file(file, content); !kept)
    log::warning("boot_diagnostics.not_kept", {{"file", file.native()}, {"reason", kept.error().describe()}});
}

}  // namespace

void Vm::watch_boot() {
  stop_watching_boot();
  watching_boot_ = true;
  agent_spoke_ = false;
  boot_timer_ = post_after(environment_.options.boot_deadline, &Vm::diagnose);
}

void Vm::stop_watching_boot() {
  watching_boot_ = false;
  drop_timer(boot_timer_);
  drop_timer(serial_timer_);
}

void Vm::on_serial(std::uint64_t run) {
  if (run != run_ || !watching_boot_ || serial_timer_ != 0) return;
  serial_timer_ = post_after(kSerialCheckDelay, &Vm::check_serial);
}

void Vm::check_serial() {
  serial_timer_ = 0;
  const auto running = machine();
  if (!watching_boot_ || !running ||
      !uefi::serial_shows_end_of_boot(running->console().text_from(boot_mark_)))
    return;
  // The firmware may still be writing its tables, or find another boot device.
  drop_timer(boot_timer_);
  serial_timer_ = post_after(environment_.options.boot_settle, &Vm::diagnose);
}

void Vm::on_reset(std::uint64_t run) {
  const auto running = machine();
  if (run != run_ || !running || record().power == PowerState::starting) return;
  static log::RateLimit limit(0.2, 20);
  std::uint64_t left_out = 0;
  if (limit.allow(left_out))
    log::info("vm.reset", {{"vm", record().assignment.vm.to_string()}, {"leftOut", left_out}});
  boot_mark_ = running->console().end();
  interrupt_attestation("the virtual machine was reset before its evidence came");
  interrupt_command("it was reset");
  watch_boot();
  // A guest that resets again and again while it boots changes nothing that anybody is told or that is kept.
  const Record now = record();
  if (now.boot.outcome == "Booting" && !now.guest && !had_verdict_ && is_pending(now.attestation)) return;
  begin_attestation();
  update([&](Record& record) {
    record.boot = BootStatus{"Booting", "", "", "", environment_.clock.now()};
    record.guest.reset();
  });
}

void Vm::on_hello(std::uint64_t run, const AgentHello& hello) {
  if (run != run_ || !machine()) return;
  const Record now = record();
  static log::RateLimit limit(1, 20);
  std::uint64_t left_out = 0;
  if (limit.allow(left_out)) {
    log::info("agent.hello", {{"vm", now.assignment.vm.to_string()},
                              {"agentVersion", hello.agent_version},
                              {"kernelRelease", hello.kernel_release},
                              {"leftOut", left_out}});
  }
  // It says so when it starts: whatever it did before is lost.
  interrupt_command("its agent was started anew");
  agent_spoke_ = true;
  stop_watching_boot();
  if (now.boot.outcome != "Booted" || !now.guest) {
    update([&](Record& record) {
      record.guest = GuestSystem{hello.agent_version, hello.kernel_release, hello.os_name};
      record.boot = BootStatus{
          "Booted", "", "",
          fmt::format("the guest agent {} answered (kernel {})", hello.agent_version, hello.kernel_release),
          environment_.clock.now()};
    });
  }
  if (now.assignment.trusted() && now.assignment.vtpm) attest_after_hello();
}

bool Vm::has_room_for_dump(const Record& record) const {
  struct statvfs room {};
  if (::statvfs(paths_.run_folder.c_str(), &room) != 0) return false;
  return static_cast<std::uint64_t>(room.f_bavail) * room.f_frsize >=
         low_memory_bytes(record.assignment.memory_mib) + kRoomToSpare;
}

void Vm::diagnose() {
  const auto running = machine();
  if (!watching_boot_ || !running) return;
  // One dump at a time on this host: the room that was seen to be free is this one's.
  static std::mutex one_dump;
  std::unique_lock dumping(one_dump, std::try_to_lock);
  const auto moment = std::chrono::steady_clock::now();
  if (!dumping) {
    if (!run_events_->dump_waits_since) run_events_->dump_waits_since = moment;
    if (moment - *run_events_->dump_waits_since < kDumpPatience) {
      drop_timer(serial_timer_);
      serial_timer_ = post_after(kSerialCheckDelay, &Vm::diagnose);
      return;
    }
  }
  run_events_->dump_waits_since.reset();
  stop_watching_boot();
  const Record now = record();
  const std::filesystem::path dump_file = paths_.memory_dump();
  ::unlink(dump_file.c_str());
  const Status dumped = [&]() -> Status {
    if (!dumping)
      return fail(ErrorCode::exhausted, "the memory of another virtual machine is still being looked at");
    if (run_events_->last_dump && moment - *run_events_->last_dump < kDumpInterval)
      return fail(ErrorCode::exhausted,
                  fmt::format("its memory was looked at less than {} s ago", kDumpInterval.count()));
    if (!has_room_for_dump(now))
      return fail(ErrorCode::exhausted,
                  fmt::format("there is no room for a memory dump in {}", paths_.run_folder.native()));
    run_events_->last_dump = moment;
    BOOTSEAL_TRY_STATUS(running->pause());
    return running->dump_memory(dump_file);
  }();
  if (!dumped)
    log::warning("boot_diagnostics.no_memory",
                 {{"vm", now.assignment.vm.to_string()}, {"reason", dumped.error().describe()}});
  const std::string serial = running->console().text_from(boot_mark_);
  uefi::MemoryFindings findings;
  if (dumped) {
    const Result<MemoryDump> memory =
        MemoryDump::open(dump_file, sandbox::vm_uid(now.slot), low_memory_bytes(now.assignment.memory_mib));
    if (memory) {
      findings = uefi::scan_memory(*memory);
    } else {
      log::warning("boot_diagnostics.dump_not_taken",
                   {{"vm", now.assignment.vm.to_string()}, {"reason", memory.error().describe()}});
    }
  }
  ::unlink(dump_file.c_str());
  if (dumping) dumping.unlock();
  uefi::BootDiagnosis diagnosis = uefi::diagnose_boot(serial, findings, agent_spoke_);
  // Names of files come from the guest's memory and its console.
  diagnosis.file = display_text(diagnosis.file, 300);
  diagnosis.message = display_text(diagnosis.message, 1000);
  const std::string outcome(uefi::boot_outcome_name(diagnosis.outcome));
  const bool is_end = diagnosis.outcome == uefi::BootOutcome::refused ||
                      diagnosis.outcome == uefi::BootOutcome::nothing_to_boot;
  const TimePoint time = environment_.clock.now();
  log::info("vm.boot_diagnosed", {{"vm", now.assignment.vm.to_string()},
                                  {"outcome", outcome},
                                  {"file", diagnosis.file},
                                  {"message", diagnosis.message}});
  keep(paths_.boot_diagnostics() / "serial.txt", as_bytes(serial));
  keep(paths_.boot_diagnostics() / "event-log.bin", findings.event_log);
  update([&](Record& record) {
    // For a refusal the component is who refused, and the file what.
    record.boot =
        BootStatus{outcome, diagnosis.refused_by.empty() ? diagnosis.component : diagnosis.refused_by,
                   diagnosis.file, diagnosis.message, time};
  });
  if (is_end) {
    planned_end_ = Notice{diagnosis.outcome == uefi::BootOutcome::refused ? "BootRefused" : "NothingToBoot",
                          diagnosis.message, time};
    running->kill();
    return;
  }
  // The guest may still come: it goes on, and a later hello makes it Booted.
  if (const Status resumed = running->resume(); !resumed)
    log::warning("vm.not_resumed",
                 {{"vm", now.assignment.vm.to_string()}, {"reason", resumed.error().describe()}});
}

}  // namespace bootseal::host

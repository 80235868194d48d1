// The life of one VM on this host: made, started, watched, stopped, found again, removed.
//
// All work of one VM runs on its strand, one step at a time; assign(), status() and the other calls of the
// API may come from any thread. What must not wait for the strand is done at once: when guestd ends, QEMU is
// killed on the loop thread.
#pragma once

#include <functional>
#include <mutex>

#include "bootseal/base/paths.h"
#include "bootseal/host/disk_store.h"
#include "bootseal/host/executor.h"
#include "bootseal/host/hypervisor.h"
#include "bootseal/host/peers.h"
#include "bootseal/host/record.h"
#include "bootseal/host/run_command.h"

namespace bootseal::host {

struct VmOptions {
  std::chrono::milliseconds boot_deadline{
      180'000};  // without a word of the agent until then, the boot is diagnosed
  std::chrono::milliseconds boot_settle{3000};    // between a sign of the end of a boot and the diagnosis
  std::chrono::milliseconds stop_limit{120'000};  // for the guest to power off when asked
  std::chrono::milliseconds button_interval{
      15'000};  // the power button is pressed again while the guest does not react
  std::chrono::milliseconds evidence_limit{90'000};
  std::chrono::milliseconds hello_pause{
      5000};  // an agent that says hello more often is not asked for evidence each time
  std::chrono::milliseconds attest_interval{std::chrono::hours(8)};
  std::chrono::milliseconds first_retry{500}, last_retry{30'000};
  std::chrono::milliseconds patience{
      120'000};  // how long a daemon may be away before a creation or a start fails
  std::chrono::milliseconds manufacture_limit{60'000};
  std::chrono::milliseconds service_limit{15'000};  // for guestd to end in order
  std::chrono::milliseconds device_retry{5000};  // for a disk that could not be attached, a netd that ended
  std::chrono::milliseconds port_retry{30'000};  // for a port of the host that was taken
};

// What all VMs of a host share; outlives them.
struct VmEnvironment {
  Paths paths;
  Hypervisor& hypervisor;
  GuestServices& guests;
  Vault& vault;
  Attestor& attestor;
  Disks& disks;
  DiskStore& store;
  Networks& networks;
  const Clock& clock;
  VmOptions options;
  std::function<void(const VmId&)> changed;  // after each change of a status; any thread, must not block
  std::function<void(const VmId&)> removed;  // when nothing of the VM is left
  // Runs a task that may block, beside the strands.
  std::function<void(Task)> in_background;
};

class RunEvents;
struct WaitingEvents;

// True for errors that another try may get over: a daemon that is being restarted.
bool is_passing(const Error& error);

class Vm : public std::enable_shared_from_this<Vm> {
 public:
  // A VM of a new assignment. The record is on disk before this returns. Errors as replace_file.
  static Result<std::shared_ptr<Vm>> create(const VmEnvironment& environment,
                                            std::shared_ptr<Executor> strand, const Assignment& assignment,
                                            unsigned slot);
  // A VM that an earlier hostd knew; nothing happens before recover().
  static std::shared_ptr<Vm> known(const VmEnvironment& environment, std::shared_ptr<Executor> strand,
                                   Record record);

  // Finds the VM's processes again or cleans up after them, then goes on with what was under way. `strays`
  // are processes of this VM that are not in its record (hostd ended between starting and writing them down):
  // they are ended.
  void recover(std::vector<ProcessIdentity> strays);

  // conflict: an older epoch, a VM that is being deleted, an image or a security type other than the VM was
  // made with.
  Status assign(const Assignment& assignment);
  [[nodiscard]] Record record() const;
  // For events: grows with each change; given by `changed`'s receiver through set_revision().
  [[nodiscard]] json::Value status() const;
  [[nodiscard]] std::uint64_t revision() const;
  void set_revision(std::uint64_t revision);

  // `done` runs once, on any thread.
  void attest(std::function<void(Result<json::Value>)> done);
  void reset_guest_state(std::function<void(Status)> done);
  // Runs a script in the guest (RunCommand of run_command.h); {exitCode, stdout, stderr, startTime, endTime}.
  void run_command(const RunCommand& command, std::function<void(Result<json::Value>)> done);
  void remove(std::function<void(Status)> done);

  // The machine while it runs, for the console.
  [[nodiscard]] std::shared_ptr<Machine> machine() const;
  [[nodiscard]] std::string console_text() const;

 private:
  using AttestCallback = std::function<void(Result<json::Value>)>;

  Vm(const VmEnvironment& environment, std::shared_ptr<Executor> strand, Record record);

  // vm.cpp
  enum class Persist : std::uint8_t { yes, no };
  void update(const std::function<void(Record&)>& change, Persist persist = Persist::yes);
  Status write_record(const Record& record) const;
  // With mutex_ held: the record could not be written (the disk is full) and is written as soon as it can be.
  void write_record_later(const Error& reason);
  void post(void (Vm::*step)());
  TimerId post_after(std::chrono::milliseconds delay, void (Vm::*step)());
  void drop_timer(TimerId& timer);
  void reconcile();
  // Answers this request if it is still the newest and under way; success without an error.
  void finish_request(std::string id, const Error* error);
  std::chrono::milliseconds next_retry();
  [[nodiscard]] MachineConfig machine_config(const Record& record) const;
  // The same with the files of the store's disks.
  [[nodiscard]] Result<MachineConfig> start_config(const Record& record) const;
  [[nodiscard]] GuestServiceConfig guest_config(const Record& record) const;
  void remove_now(const std::function<void(Status)>& done);
  Status make_room_for_removal();
  void retry_removal(const Error& reason, const std::function<void(Status)>& done);

  // vm_provisioning.cpp
  bool provision();
  Status make_everything();
  Status make_guest_state(const Record& record, Generation after);
  Status name_guest_state();
  Result<crypto::Secret> key_for_manufacture(const Record& record);
  void reset_guest_state_now(const std::function<void(Status)>& done);

  // vm_power.cpp
  void act_on_request();
  void start();
  void request_stop();
  void press_button();
  void stop_timed_out();
  void request_kill();
  // The machine was sent its end and the processes are still to be waited for.
  [[nodiscard]] bool is_ending() const;
  void on_shutdown(std::uint64_t run, const std::string& reason, bool by_guest);
  void on_machine_ended(std::uint64_t run);
  void on_guest_ended(std::uint64_t run);
  void end_run(const std::optional<Notice>& reason);
  Notice reason_of_end() const;
  void tell_vault();
  void note_generation(Generation generation);

  // vm_start.cpp
  Status start_processes();
  Result<std::shared_ptr<GuestService>> start_guest(std::uint64_t run);
  Status seal_secure_boot(const Record& now);
  void begin_run(std::uint64_t run);
  MachineEvents machine_events(std::uint64_t run);
  // Any thread: one task that takes what the run's processes told until it runs.
  static void hear_later(const std::weak_ptr<Vm>& weak, Executor& strand, std::uint64_t run);
  void hear(std::uint64_t run, const WaitingEvents& events);
  GuestServiceEvents guest_events(std::uint64_t run);

  // vm_recovery.cpp
  void recover_now(const std::vector<ProcessIdentity>& strays);
  void recover_processes();
  Status attach_all(const Record& record);

  // vm_devices.cpp
  // What changes while a machine runs: its data disks, rules and public addresses. Nothing of it ends a run.
  void sync_disks();
  Status sync_disk(Machine& machine, const DataDisk& disk);
  // Gives back what neither the assignment nor a machine has.
  void release_disks(const std::vector<DiskId>& in_use);
  void sync_network();
  Status find_network();
  [[nodiscard]] std::vector<netd::Interface> current_interfaces() const;
  void end_network();

  // vm_command.cpp
  void run_command_now(const RunCommand& command, const std::function<void(Result<json::Value>)>& done);
  void finish_command(std::uint64_t number, const Result<json::Value>& answer);
  void interrupt_command(std::string_view why);

  // vm_boot.cpp
  void watch_boot();
  void stop_watching_boot();
  void on_serial(std::uint64_t run);
  void check_serial();
  void on_reset(std::uint64_t run);
  void on_hello(std::uint64_t run, const AgentHello& hello);
  void diagnose();
  [[nodiscard]] bool has_room_for_dump(const Record& record) const;

  // vm_attestation.cpp
  void begin_attestation();
  void attest_now(AttestCallback done);
  void attest_after_hello();
  // What attestd expects has changed: a verdict on what it expected before is none.
  void attest_anew();
  // Calls to attestd block, so they are made beside the strand; `then` runs on the strand if the question is
  // still open.
  template <typename T>
  void ask_attestor(std::function<Result<T>(Attestor&)> ask, void (Vm::*then)(const Result<T>&));
  void on_challenge(const Result<Challenge>& challenge);
  void on_verdict(const Result<json::Value>& verdict);
  void on_evidence(std::uint64_t run, const std::string& challenge_id, const Result<json::Value>& evidence);
  void attestation_failed(const Error& error);
  void stop_attesting();
  // Ends a question to the agent that is open; who waits for its verdict is told why.
  void interrupt_attestation(std::string_view why);
  void close_question();
  void answer_waiting(const Result<json::Value>& answer);
  // Sets a verdict of our own (Pending, Unknown), keeping the time of the last evidence.
  void set_plain_verdict(std::string_view status, std::string_view code, std::string_view severity,
                         const std::string& message);

  // Remembers whether the last refusal was only that the vault was away.
  template <typename T>
  Result<T> from_vault(Result<T> answer) {
    vault_away_ = !answer && is_passing(answer.error());
    return answer;
  }

  const VmEnvironment& environment_;
  const VmId id_;
  const std::shared_ptr<Executor> strand_;
  const VmPaths paths_;

  mutable std::mutex mutex_;
  Record record_;                     // guarded by mutex_
  bool record_waits_ = false;         // guarded by mutex_: a record that is to be written again
  std::uint64_t revision_ = 0;        // guarded by mutex_
  std::shared_ptr<Machine> machine_;  // guarded by mutex_; set while there is one
  std::uint64_t active_run_ = 0;      // guarded by mutex_: the run whose processes there are; 0 = none
  bool guest_lost_ = false;           // guarded by mutex_: guestd ended or failed while that run was on
  std::string guest_failure_;         // guarded by mutex_: what guestd said of its failure, if it did

  // Strand only.
  std::shared_ptr<GuestService> guest_;
  std::shared_ptr<VmNetwork> network_;
  TimerId disks_timer_ = 0, network_timer_ = 0;
  std::uint64_t command_number_ = 0;                       // counts scripts
  std::function<void(Result<json::Value>)> command_done_;  // while one runs
  TimePoint command_started_;
  std::uint64_t run_ = 0;                  // counts starts; events of an earlier run are ignored
  std::shared_ptr<RunEvents> run_events_;  // of that run
  std::optional<Notice> planned_end_;
  bool powered_off_by_guest_ = false;
  std::string acting_on_;         // the power request under way
  bool removal_written_ = false;  // the record says that the VM is being deleted
  bool vault_away_ = false;
  std::optional<std::chrono::steady_clock::time_point> patience_until_;
  std::chrono::milliseconds retry_{0};
  TimerId retry_timer_ = 0, stop_timer_ = 0, button_timer_ = 0;
  std::chrono::steady_clock::time_point run_started_;
  Generation wanted_generation_, told_generation_;
  TimerId tell_timer_ = 0;
  std::chrono::milliseconds tell_retry_{0};
  bool watching_boot_ = false;
  std::uint64_t boot_mark_ = 0;
  TimerId boot_timer_ = 0, serial_timer_ = 0;
  bool agent_spoke_ = false;
  std::uint64_t question_ = 0;  // counts questions for a verdict: answers to another one are dropped
  bool asking_ = false;         // from the challenge to the verdict
  std::string open_challenge_;  // the challenge whose evidence is waited for; empty = none
  bool had_verdict_ = false;
  std::vector<AttestCallback> waiting_for_verdict_;
  TimerId attest_timer_ = 0, hello_timer_ = 0;
  bool hello_again_ = false;
  std::chrono::milliseconds attest_retry_{0};
};

}  // namespace bootseal::host

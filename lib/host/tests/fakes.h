// Stand-ins for everything a VM touches, with a clock and an order that the test controls.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <deque>
#include <fstream>
#include <map>

#include "bootseal/base/fds.h"
#include "bootseal/host/vm.h"

namespace bootseal::host::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = "/tmp/bootseal-host-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
    std::filesystem::permissions(path_, std::filesystem::perms(0711));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Runs tasks when the test says so; time passes only by advance().
class ManualExecutor final : public Executor {
 public:
  void post(Task task) override { tasks_.push_back(std::move(task)); }
  TimerId post_after(std::chrono::milliseconds delay, Task task) override {
    timers_.emplace(next_, Timer{now_ + delay, std::move(task)});
    return next_++;
  }
  void cancel(TimerId timer) override { timers_.erase(timer); }

  void run() {
    while (!tasks_.empty()) {
      const Task task = std::move(tasks_.front());
      tasks_.pop_front();
      task();
    }
  }
  // Every timer that comes due on the way runs at its time.
  void advance(std::chrono::milliseconds by) {
    const auto end = now_ + by;
    for (;;) {
      run();
      const auto next =
          std::ranges::min_element(timers_, {}, [](const auto& entry) { return entry.second.due; });
      if (next == timers_.end() || next->second.due > end) break;
      now_ = next->second.due;
      tasks_.push_back(std::move(next->second.task));
      timers_.erase(next);
    }
    now_ = end;
  }
  [[nodiscard]] std::size_t waiting() const { return tasks_.size(); }
  // What a process that is killed leaves behind: nothing.
  void forget_everything() {
    tasks_.clear();
    timers_.clear();
  }

 private:
  struct Timer {
    std::chrono::milliseconds due;
    Task task;
  };
  std::deque<Task> tasks_;
  std::map<TimerId, Timer> timers_;
  TimerId next_ = 1;
  std::chrono::milliseconds now_{0};
};

// A real process that does nothing, for what is known by pid and start time. Ended with this object.
class IdleProcess {
 public:
  IdleProcess() {
    Command command;
    command.arguments = {"sleep", "600"};
    identity_ = spawn(command).value();
  }
  ~IdleProcess() { end(); }
  IdleProcess(const IdleProcess&) = delete;
  IdleProcess& operator=(const IdleProcess&) = delete;
  void end() {
    static_cast<void>(signal_process(identity_, SIGKILL));
    static_cast<void>(wait_for_end(identity_, std::nullopt));
  }
  [[nodiscard]] bool alive() const { return is_running(identity_); }
  [[nodiscard]] const ProcessIdentity& identity() const { return identity_; }

 private:
  ProcessIdentity identity_;
};

// The calls that reached the fakes, in order, and the errors that they are told to give.
struct Script {
  std::vector<std::string> calls;
  std::map<std::string, Error> errors;   // call -> error, until removed
  std::map<std::string, int> only_once;  // the error goes after so many calls

  Status enter(const std::string& call) {
    calls.push_back(call);
    const auto error = errors.find(call);
    if (error == errors.end()) return {};
    const Error result = error->second;
    if (const auto left = only_once.find(call); left != only_once.end() && --left->second <= 0)
      errors.erase(error);
    return tl::unexpected(result);
  }
  void fail_with(const std::string& call, ErrorCode code, int times = 1'000'000) {
    errors[call] = Error{code, "told to fail: " + call, nullptr};
    only_once[call] = times;
  }
  [[nodiscard]] long count(const std::string& call) const { return std::ranges::count(calls, call); }
};

class FakeMachine final : public Machine {
 public:
  FakeMachine(Script& script, ManualExecutor& executor, ProcessIdentity process, MachineEvents machine_events)
      : events(std::move(machine_events)), script_(script), executor_(executor), process_(process) {}
  [[nodiscard]] ProcessIdentity process() const override { return process_; }
  Status resume() override { return script_.enter("machine.resume"); }
  Status pause() override { return script_.enter("machine.pause"); }
  Status press_power_button() override { return script_.enter("machine.button"); }
  Status dump_memory(const std::filesystem::path& file) override {
    BOOTSEAL_TRY_STATUS(script_.enter("machine.dump"));
    return replace_file(file, as_bytes(std::string(4096, '\0')));
  }
  void kill() override {
    if (ended) return;
    script_.calls.emplace_back("machine.kill");
    if (!slow_to_end) end();
  }
  [[nodiscard]] bool wait_ended(std::chrono::milliseconds) override { return ended; }
  [[nodiscard]] std::string last_words() const override { return words; }
  [[nodiscard]] const ConsoleLog& console() const override { return log; }
  void type_on_console(std::string_view text) override { typed += text; }
  void ask_agent(std::string_view method, const json::Value& parameters, std::chrono::milliseconds,
                 std::function<void(Result<json::Value>)> done) override {
    script_.calls.push_back("agent." + std::string(method));
    asked = parameters;
    pending = std::move(done);
  }
  void greet_agent() override { script_.calls.emplace_back("agent.greet"); }
  Result<std::vector<DiskId>> disks() override { return attached; }
  Status attach_disk(const MachineDisk& disk) override {
    if (std::ranges::find(attached, disk.id) != attached.end()) return {};
    BOOTSEAL_TRY_STATUS(script_.enter("machine.attach"));
    attached.push_back(disk.id);
    return {};
  }
  Status detach_disk(const DiskId& disk) override {
    BOOTSEAL_TRY_STATUS(script_.enter("machine.detach"));
    std::erase(attached, disk);
    return {};
  }
  Status grow_disk(const DiskId&, std::uint64_t size) override {
    grown_to = size;
    return script_.enter("machine.grow");
  }
  Result<CopyWait> begin_copy(const DiskId&, const std::filesystem::path&) override {
    BOOTSEAL_TRY_STATUS(script_.enter("machine.copy"));
    return CopyWait([](const std::function<bool()>&) { return Status(); });
  }

  // As the process would end.
  void end() {
    if (ended) return;
    ended = true;
    executor_.post([callback = events.ended]() { callback(); });
  }
  void say(std::string_view text) {
    log.append(text);
    events.serial();
  }

  MachineEvents events;
  ConsoleLog log;
  bool ended = false;
  bool slow_to_end = false;  // SIGKILL ends it only when the test says end()
  std::vector<DiskId> attached;
  std::uint64_t grown_to = 0;
  std::string words, typed;
  json::Value asked;
  std::function<void(Result<json::Value>)> pending;

 private:
  Script& script_;
  ManualExecutor& executor_;
  ProcessIdentity process_;
};

class FakeHypervisor final : public Hypervisor {
 public:
  FakeHypervisor(Script& script, ManualExecutor& executor) : script_(script), executor_(executor) {
    facts_.machine_type = "pc-q35-7.2";
    facts_.firmware_package = "ovmf 2022.11-6+deb12u2";
  }
  [[nodiscard]] const HostFacts& facts() const override { return facts_; }
  Result<std::shared_ptr<Machine>> start(
      const MachineConfig& machine_config, MachineEvents events,
      const std::function<void(const ProcessIdentity&)>& started) override {
    config = machine_config;
    processes.push_back(std::make_unique<IdleProcess>());
    started(processes.back()->identity());
    if (const auto task = std::exchange(while_starting, nullptr)) task();
    if (const Status entered = script_.enter("hypervisor.start"); !entered) {
      processes.back()->end();
      return tl::unexpected(entered.error());
    }
    machine =
        std::make_shared<FakeMachine>(script_, executor_, processes.back()->identity(), std::move(events));
    for (const MachineDisk& disk : config.disks) machine->attached.push_back(disk.id);
    return std::shared_ptr<Machine>(machine);
  }
  Result<std::shared_ptr<Machine>> attach(const MachineConfig& machine_config, const ProcessIdentity& process,
                                          MachineEvents events) override {
    config = machine_config;
    BOOTSEAL_TRY_STATUS(script_.enter("hypervisor.attach"));
    machine = std::make_shared<FakeMachine>(script_, executor_, process, std::move(events));
    return std::shared_ptr<Machine>(machine);
  }

  MachineConfig config;
  std::shared_ptr<FakeMachine> machine;
  std::function<void()> while_starting;  // once, while the strand is busy with the start
  std::vector<std::unique_ptr<IdleProcess>> processes;

 private:
  Script& script_;
  ManualExecutor& executor_;
  HostFacts facts_;
};

class FakeGuest final : public GuestService {
 public:
  FakeGuest(Script& script, ProcessIdentity process, Generation generation, GuestServiceEvents guest_events)
      : events(std::move(guest_events)), now(generation), script_(script), process_(process) {}
  [[nodiscard]] ProcessIdentity process() const override { return process_; }
  [[nodiscard]] Generation generation() const override { return now; }
  Generation shut_down(std::chrono::milliseconds) override {
    script_.calls.emplace_back("guest.shutdown");
    static_cast<void>(signal_process(process_, SIGKILL));
    static_cast<void>(wait_for_end(process_, std::nullopt));
    now.value += 1;  // the last commit
    return now;
  }
  void commit() {
    now.value += 1;
    events.generation(now);
  }

  GuestServiceEvents events;
  Generation now;

 private:
  Script& script_;
  ProcessIdentity process_;
};

class FakeGuests final : public GuestServices {
 public:
  explicit FakeGuests(Script& script) : script_(script) {}
  Result<Generation> manufacture(const GuestServiceConfig& config, crypto::Secret key, Generation after,
                                 ByteSpan variables,
                                 const std::function<Result<TpmCertificates>(const TpmPublicKeys&)>& certify,
                                 std::chrono::milliseconds) override {
    EXPECT_EQ(key.size(), 32U);
    EXPECT_EQ(variables.size(), 540672U);
    BOOTSEAL_TRY_STATUS(script_.enter("guest.manufacture"));
    BOOTSEAL_TRY_STATUS(certify({to_bytes("rsa"), to_bytes("ecc"), to_bytes("ak")}));
    made_after = after;
    std::ofstream(config.guest_state) << "tpm " << ++made;
    return Generation{after.value + 4};
  }
  Result<Generation> set_secure_boot(const GuestServiceConfig&, crypto::Secret key, Generation minimum,
                                     bool value) override {
    EXPECT_EQ(key.size(), 32U);
    BOOTSEAL_TRY_STATUS(script_.enter("guest.secure-boot"));
    secure_boot = value;
    return Generation{minimum.value + 1};
  }
  Result<std::shared_ptr<GuestService>> serve(
      const GuestServiceConfig& config, crypto::Secret key, Generation minimum, GuestServiceEvents events,
      const std::function<void(const ProcessIdentity&)>& started) override {
    EXPECT_EQ(key.size(), 32U);
    EXPECT_TRUE(std::filesystem::exists(config.guest_state));
    BOOTSEAL_TRY_STATUS(script_.enter("guest.serve"));
    processes.push_back(std::make_unique<IdleProcess>());
    started(processes.back()->identity());
    guest = std::make_shared<FakeGuest>(script_, processes.back()->identity(), Generation{minimum.value + 1},
                                        std::move(events));
    return std::shared_ptr<GuestService>(guest);
  }
  Result<std::shared_ptr<GuestService>> attach(const GuestServiceConfig&, const ProcessIdentity& process,
                                               GuestServiceEvents events) override {
    BOOTSEAL_TRY_STATUS(script_.enter("guest.attach"));
    guest = std::make_shared<FakeGuest>(script_, process, Generation{50}, std::move(events));
    return std::shared_ptr<GuestService>(guest);
  }

  std::shared_ptr<FakeGuest> guest;
  std::vector<std::unique_ptr<IdleProcess>> processes;
  int made = 0;
  std::optional<bool> secure_boot;
  Generation made_after;

 private:
  Script& script_;
};

class FakeVault final : public Vault {
 public:
  FakeVault(Script& script, Bytes ca) : script_(script), ca_(std::move(ca)) {}
  Result<Bytes> ca_certificate_der() override {
    BOOTSEAL_TRY_STATUS(script_.enter("vault.ca"));
    return ca_;
  }
  Status create_key(const VmId& vm, Epoch) override {
    BOOTSEAL_TRY_STATUS(script_.enter("vault.create"));
    if (!generations.emplace(vm, Generation{}).second)
      return fail(ErrorCode::already_exists, "the key exists");
    return {};
  }
  Result<Generation> known_generation(const VmId& vm) override {
    BOOTSEAL_TRY_STATUS(script_.enter("vault.known"));
    return generations.at(vm);
  }
  Result<ReleasedKey> release(const VmId& vm, Epoch epoch) override {
    BOOTSEAL_TRY_STATUS(script_.enter("vault.release"));
    if (epoch < owner) return fail(ErrorCode::permission_denied, "this host does not own the epoch");
    return ReleasedKey{crypto::Secret(32), generations.at(vm)};
  }
  Status tell_generation(const VmId& vm, Epoch, Generation generation) override {
    BOOTSEAL_TRY_STATUS(script_.enter("vault.tell"));
    generations[vm] = std::max(generations[vm], generation);
    return {};
  }
  Status delete_key(const VmId& vm, Epoch epoch) override {
    BOOTSEAL_TRY_STATUS(script_.enter("vault.delete"));
    if (epoch < owner) return fail(ErrorCode::permission_denied, "this host does not own the epoch");
    generations.erase(vm);
    return {};
  }
  Result<TpmCertificates> certify_tpm(const VmId&, Epoch, std::string_view, const TpmPublicKeys&) override {
    BOOTSEAL_TRY_STATUS(script_.enter("vault.certify"));
    return TpmCertificates{ca_, ca_, ca_};
  }

  std::map<VmId, Generation> generations;
  Epoch owner{1};

 private:
  Script& script_;
  Bytes ca_;
};

class FakeAttestor final : public Attestor {
 public:
  FakeAttestor(Script& script, const Clock& clock) : script_(script), clock_(clock) {}
  Result<Challenge> challenge(const VmId&) override {
    BOOTSEAL_TRY_STATUS(script_.enter("attest.challenge"));
    open_challenge = "challenge-" + std::to_string(++challenges_);
    return Challenge{open_challenge,
                     json::Object{{"nonce", "bm9uY2U="}, {"pcrs", json::Array{0, 7}}, {"bank", "sha256"}}};
  }
  Result<json::Value> judge(const VmId&, const std::string& id, const json::Value& evidence) override {
    EXPECT_EQ(id, open_challenge);
    judged = evidence;
    BOOTSEAL_TRY_STATUS(script_.enter("attest.judge"));
    return json::Value(json::Object{{"status", "Healthy"},
                                    {"reasons", json::Array{}},
                                    {"evidenceTime", format_time(clock_.now())},
                                    {"firmwareVersion", measured_firmware}});
  }
  json::Value judged;
  std::string measured_firmware;
  std::string open_challenge;

 private:
  Script& script_;
  const Clock& clock_;
  unsigned challenges_ = 0;
};

class FakeNetwork final : public VmNetwork {
 public:
  FakeNetwork(Script& script, ProcessIdentity process, std::function<void()> told)
      : ended(std::move(told)), script_(script), process_(process) {}
  [[nodiscard]] ProcessIdentity process() const override { return process_; }
  Result<std::vector<InterfaceStatus>> apply(const std::vector<netd::Interface>& interfaces) override {
    BOOTSEAL_TRY_STATUS(script_.enter("network.apply"));
    applied = interfaces;
    std::vector<InterfaceStatus> status;
    for (const netd::Interface& interface : interfaces)
      status.push_back({interface.nic_id, "user", {}, {}, port_is_taken});
    return status;
  }
  void end() override {
    script_.calls.emplace_back("network.end");
    static_cast<void>(signal_process(process_, SIGKILL));
    static_cast<void>(wait_for_end(process_, std::nullopt));
  }

  std::function<void()> ended;
  std::vector<netd::Interface> applied;
  bool port_is_taken = false;

 private:
  Script& script_;
  ProcessIdentity process_;
};

class FakeNetworks final : public Networks {
 public:
  explicit FakeNetworks(Script& script) : script_(script) {}
  Result<std::shared_ptr<VmNetwork>> start(
      const NetworkConfig&, std::function<void()> ended,
      const std::function<void(const ProcessIdentity&)>& started) override {
    BOOTSEAL_TRY_STATUS(script_.enter("network.start"));
    processes.push_back(std::make_unique<IdleProcess>());
    started(processes.back()->identity());
    network = std::make_shared<FakeNetwork>(script_, processes.back()->identity(), std::move(ended));
    return std::shared_ptr<VmNetwork>(network);
  }
  Result<std::shared_ptr<VmNetwork>> attach(const NetworkConfig&, const ProcessIdentity& process,
                                            std::function<void()> ended) override {
    BOOTSEAL_TRY_STATUS(script_.enter("network.attach"));
    if (!is_running(process)) return fail(ErrorCode::not_found, "it has ended");
    network = std::make_shared<FakeNetwork>(script_, process, std::move(ended));
    return std::shared_ptr<VmNetwork>(network);
  }

  std::shared_ptr<FakeNetwork> network;
  std::vector<std::unique_ptr<IdleProcess>> processes;

 private:
  Script& script_;
};

class FakeDisks final : public Disks {
 public:
  FakeDisks(Script& script, Paths paths) : script_(script), paths_(std::move(paths)) {}
  Status make_folders(const Assignment& assignment, unsigned slot) override {
    BOOTSEAL_TRY_STATUS(script_.enter("disks.folders"));
    const VmPaths vm = of(assignment.vm);
    BOOTSEAL_TRY_STATUS(make_folder(vm.boot_diagnostics()));
    BOOTSEAL_TRY_STATUS(make_folder(vm.disk_folder));
    return make_run_folder(assignment.vm, slot);
  }
  Status make_run_folder(const VmId& vm, unsigned) override { return make_folder(of(vm).run_folder); }
  Status make_overlay(const Assignment& assignment, unsigned) override {
    BOOTSEAL_TRY_STATUS(script_.enter("disks.overlay"));
    return replace_file(of(assignment.vm).disk(), {});
  }
  Status make_seed(const Assignment&, unsigned) override { return script_.enter("disks.seed"); }
  Status make_standard_variables(const Assignment&, unsigned) override {
    return script_.enter("disks.variables");
  }
  Status remove(const VmId& vm) override {
    BOOTSEAL_TRY_STATUS(script_.enter("disks.remove"));
    for (const auto& folder : {of(vm).run_folder, of(vm).disk_folder, of(vm).private_folder})
      std::filesystem::remove_all(folder);
    return {};
  }

 private:
  [[nodiscard]] VmPaths of(const VmId& vm) const { return vm_paths(paths_.home, paths_.run, vm); }
  Script& script_;
  Paths paths_;
};

}  // namespace bootseal::host::test

// One VM with everything around it faked.
#pragma once

#include "accelerator_cache.h"
#include "bootseal/crypto/x509.h"
#include "fakes.h"

namespace bootseal::host::test {

inline Bytes test_ca() {
  static const Bytes certificate = []() {
    const crypto::PrivateKey key = crypto::PrivateKey::generate(crypto::KeyKind::ec_p256).value();
    const TimePoint now = Clock::system().now();
    return crypto::make_self_signed(key, crypto::site_ca_content("Test CA", now, std::chrono::days(2)))
        .value()
        .der();
  }();
  return certificate;
}

inline Assignment test_assignment() {
  Assignment assignment;
  assignment.vm = VmId::parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8").value();
  assignment.name = "web";
  assignment.epoch = Epoch{1};
  assignment.image_disk = "/images/base/disk.qcow2";
  assignment.memory_mib = 512;
  assignment.signature_template = "MicrosoftUefiCertificateAuthority";
  return assignment;
}

class VmTest : public testing::Test {
 protected:
  VmTest()
      : paths_{folder_.path(), folder_.path() / "run", "/usr/bin", "/usr/share"},
        executor_(std::make_shared<ManualExecutor>()),
        hypervisor_(script_, *executor_),
        guests_(script_),
        vault_(script_, test_ca()),
        attestor_(script_, clock_),
        disks_(script_, paths_),
        store_(paths_),
        networks_(script_),
        environment_{paths_,
                     hypervisor_,
                     guests_,
                     vault_,
                     attestor_,
                     disks_,
                     store_,
                     networks_,
                     clock_,
                     {},
                     [this](const VmId&) { ++changes_; },
                     [this](const VmId&) { removed_ = true; },
                     [this](Task task) { executor_->post(std::move(task)); }} {}

  // Assigns, as a PUT would: the first time makes the VM.
  void put(Assignment assignment) {
    if (!vm_) {
      vm_ = Vm::create(environment_, executor_, assignment, 3).value();
    } else {
      const Status assigned = vm_->assign(assignment);
      ASSERT_TRUE(assigned) << assigned.error().describe();
    }
    executor_->run();
  }
  void put(PowerAction action, const std::string& request_id) {
    Assignment assignment = vm_ ? vm_->record().assignment : test_assignment();
    assignment.action = action;
    assignment.request_id = request_id;
    put(assignment);
  }
  void start() {
    put(PowerAction::start, "start-1");
    ASSERT_EQ(record().power, PowerState::running);
  }
  [[nodiscard]] Record record() const { return vm_->record(); }
  [[nodiscard]] std::string outcome() const { return record().boot.outcome; }
  [[nodiscard]] std::string stop_code() const {
    return record().stop_reason ? record().stop_reason->code : "";
  }
  [[nodiscard]] std::string verdict() const {
    const Record now = record();
    return now.attestation.is_null() ? "" : std::string(now.attestation.at("status").as_string());
  }
  [[nodiscard]] RequestState request_state() const { return record().request->state; }
  [[nodiscard]] ErrorCode request_error() const {
    return record().request->error ? record().request->error->code : ErrorCode::internal;
  }
  FakeMachine& machine() { return *hypervisor_.machine; }
  FakeGuest& guest() { return *guests_.guest; }
  void hello() {
    machine().events.agent_hello({"1.0", "6.1.0", "Debian", "boot"});
    executor_->run();
  }
  // The agent answers the question it was asked.
  void answer(Result<json::Value> evidence) {
    ASSERT_TRUE(machine().pending);
    std::exchange(machine().pending, nullptr)(std::move(evidence));
    executor_->run();
  }
  void power_off_by_guest() {
    machine().events.shutdown("guest-shutdown", true);
    machine().end();
    executor_->run();
  }
  // hostd is killed and another one reads the record. Processes go on as they are.
  void restart_hostd(std::vector<ProcessIdentity> strays = {}) {
    const Bytes text =
        read_file(vm_paths(paths_.home, paths_.run, test_assignment().vm).record(), 1 << 20).value();
    vm_.reset();
    executor_->forget_everything();
    hypervisor_.machine.reset();
    guests_.guest.reset();
    vm_ = Vm::known(environment_, executor_, parse_record(as_text(text)).value());
    vm_->recover(std::move(strays));
    executor_->run();
  }
  [[nodiscard]] std::filesystem::path guest_state() const {
    return vm_paths(paths_.home, paths_.run, test_assignment().vm).guest_state();
  }

  TemporaryFolder folder_;
  Paths paths_;
  Script script_;
  FixedClock clock_{TimePoint(std::chrono::hours(500'000))};
  std::shared_ptr<ManualExecutor> executor_;
  FakeHypervisor hypervisor_;
  FakeGuests guests_;
  FakeVault vault_;
  FakeAttestor attestor_;
  FakeDisks disks_;
  DiskStore store_;
  FakeNetworks networks_;
  int changes_ = 0;
  bool removed_ = false;
  VmEnvironment environment_;
  std::shared_ptr<Vm> vm_;
};

}  // namespace bootseal::host::test

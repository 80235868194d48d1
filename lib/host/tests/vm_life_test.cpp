// Starting, stopping and removing, and everything that can go wrong on the way.
#include <set>

#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

TEST_F(VmTest, AMissingGuestStateStopsTheStartAndNamesTheRemedy) {
  start();
  power_off_by_guest();
  std::filesystem::remove(guest_state());
  put(PowerAction::start, "r2");
  EXPECT_EQ(request_error(), ErrorCode::guest_state_missing);
  EXPECT_NE(record().request->error->message.find("missing"), std::string::npos);
  EXPECT_NE(record().request->error->message.find("bootseal vm reset-guest-state web"), std::string::npos);
  EXPECT_EQ(guests_.made, 1);
  EXPECT_FALSE(std::filesystem::exists(guest_state()));
}

TEST_F(VmTest, TheRefusalsOfTheGuestStateComeThroughUnchanged) {
  start();
  power_off_by_guest();
  int number = 2;
  for (const ErrorCode code :
       {ErrorCode::guest_state_missing, ErrorCode::guest_state_foreign, ErrorCode::guest_state_wrong_key,
        ErrorCode::guest_state_damaged, ErrorCode::guest_state_stale}) {
    script_.fail_with("guest.serve", code);
    put(PowerAction::start, "r" + std::to_string(number++));
    EXPECT_EQ(request_state(), RequestState::failed);
    EXPECT_EQ(request_error(), code);
    EXPECT_EQ(record().power, PowerState::stopped);
    EXPECT_FALSE(record().qemu);
  }
  EXPECT_EQ(script_.count("hypervisor.start"), 1);
}

TEST_F(VmTest, AHypervisorThatDoesNotStartLeavesNothingRunning) {
  script_.fail_with("hypervisor.start", ErrorCode::unavailable);
  put(PowerAction::start, "r1");
  EXPECT_EQ(request_state(), RequestState::failed);
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(script_.count("guest.shutdown"), 1);
  EXPECT_FALSE(guests_.processes.back()->alive());
  EXPECT_FALSE(record().qemu || record().guestd);
  // It is not tried again by itself: only the vault's absence is ridden out.
  executor_->advance(std::chrono::minutes(10));
  EXPECT_EQ(script_.count("hypervisor.start"), 1);
}

TEST_F(VmTest, AMachineThatCannotBeResumedIsEnded) {
  script_.fail_with("machine.resume", ErrorCode::timeout);
  put(PowerAction::start, "r1");
  EXPECT_EQ(request_error(), ErrorCode::timeout);
  EXPECT_TRUE(machine().ended);
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(script_.count("guest.shutdown"), 1);
}

TEST_F(VmTest, AStartWaitsForTheVault) {
  start();
  power_off_by_guest();
  script_.fail_with("vault.release", ErrorCode::unavailable, 2);
  put(PowerAction::start, "r2");
  EXPECT_EQ(request_state(), RequestState::running);
  executor_->advance(std::chrono::seconds(10));
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(VmTest, TheDeathOfGuestdEndsTheMachineAtOnce) {
  start();
  // The strand has not run yet: it is the event itself that ends the machine.
  guest().events.ended();
  EXPECT_TRUE(machine().ended);
  executor_->run();
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(stop_code(), "GuestStateServiceEnded");
  EXPECT_NE(record().stop_reason->message.find("TPM"), std::string::npos);
  put(PowerAction::start, "r2");
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(VmTest, AGuestStateThatCannotBeWrittenEndsTheMachineAtOnce) {
  start();
  guest().events.tpm_failed("writing: No space left on device");
  EXPECT_TRUE(machine().ended);
  executor_->run();
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(stop_code(), "GuestStateWriteFailed");
  EXPECT_NE(record().stop_reason->message.find("No space left on device"), std::string::npos);
  put(PowerAction::start, "r2");
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(VmTest, TheDeathOfGuestdDuringTheStartFailsTheStart) {
  put(test_assignment());
  Assignment assignment = test_assignment();
  assignment.action = PowerAction::start;
  assignment.request_id = "r1";
  // The hypervisor comes up, but guestd ends in the meantime.
  struct Dying final : Hypervisor {
    Hypervisor& real;
    FakeGuests& guests;
    Dying(Hypervisor& hypervisor, FakeGuests& services) : real(hypervisor), guests(services) {}
    [[nodiscard]] const HostFacts& facts() const override { return real.facts(); }
    Result<std::shared_ptr<Machine>> start(
        const MachineConfig& config, MachineEvents events,
        const std::function<void(const ProcessIdentity&)>& started) override {
      guests.guest->events.ended();
      return real.start(config, std::move(events), started);
    }
    Result<std::shared_ptr<Machine>> attach(const MachineConfig& config, const ProcessIdentity& process,
                                            MachineEvents events) override {
      return real.attach(config, process, std::move(events));
    }
  } dying(hypervisor_, guests_);
  VmEnvironment environment{paths_, dying,     guests_, vault_, attestor_,          disks_,
                            store_, networks_, clock_,  {},     [](const VmId&) {}, [](const VmId&) {}};
  const auto vm = Vm::known(environment, executor_, record());
  ASSERT_TRUE(vm->assign(assignment));
  executor_->run();
  EXPECT_EQ(vm->record().power, PowerState::stopped);
  EXPECT_EQ(vm->record().request->state, RequestState::failed);
  EXPECT_NE(vm->record().request->error->message.find("guestd"), std::string::npos);
  EXPECT_TRUE(machine().ended);
}

TEST_F(VmTest, AGuestThatPowersOffIsStoppedWithThatReason) {
  start();
  power_off_by_guest();
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(stop_code(), "GuestPoweredOff");
  EXPECT_FALSE(record().qemu || record().guestd);
  EXPECT_EQ(script_.count("guest.shutdown"), 1);
  EXPECT_EQ(verdict(), "Unknown");
  // The last commit of guestd has reached the vault.
  EXPECT_EQ(vault_.generations.at(test_assignment().vm), guest().now);
}

TEST_F(VmTest, AMachineThatEndsByItselfIsReportedWithItsLastWords) {
  start();
  machine().words = "qemu: something broke";
  machine().end();
  executor_->run();
  EXPECT_EQ(stop_code(), "HypervisorEnded");
  EXPECT_NE(record().stop_reason->message.find("QEMU"), std::string::npos);
  EXPECT_NE(record().stop_reason->message.find("something broke"), std::string::npos);
}

TEST_F(VmTest, AStopPressesThePowerButtonUntilTheGuestIsOff) {
  start();
  put(PowerAction::stop, "stop-1");
  EXPECT_EQ(record().power, PowerState::stopping);
  executor_->advance(std::chrono::seconds(40));
  EXPECT_EQ(script_.count("machine.button"), 3);
  power_off_by_guest();
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(stop_code(), "Stopped");
  executor_->advance(std::chrono::minutes(10));
  EXPECT_EQ(script_.count("machine.button"), 3);
}

TEST_F(VmTest, AGuestThatIgnoresAStopIsNotKilled) {
  start();
  put(PowerAction::stop, "stop-1");
  executor_->advance(std::chrono::minutes(5));
  EXPECT_EQ(request_error(), ErrorCode::timeout);
  EXPECT_NE(record().request->error->message.find("bootseal vm kill web"), std::string::npos);
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_FALSE(machine().ended);
}

TEST_F(VmTest, AKillOvertakesAStop) {
  start();
  put(PowerAction::stop, "stop-1");
  put(PowerAction::kill, "kill-1");
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(stop_code(), "Killed");
  EXPECT_EQ(record().request->id, "kill-1");
  EXPECT_EQ(request_state(), RequestState::succeeded);
}

TEST_F(VmTest, ARestartStopsAndStarts) {
  start();
  const auto before = record().qemu;
  put(PowerAction::restart, "again");
  EXPECT_EQ(record().power, PowerState::stopping);
  EXPECT_EQ(request_state(), RequestState::running);
  power_off_by_guest();
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_NE(record().qemu, before);
  EXPECT_EQ(script_.count("guest.serve"), 2);
}

TEST_F(VmTest, ARestartOfAVmThatIsOffStartsIt) {
  put(PowerAction::restart, "r1");
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(VmTest, APowerRequestIsCarriedOutOnceForItsId) {
  start();
  power_off_by_guest();
  put(PowerAction::start, "start-1");
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(script_.count("hypervisor.start"), 1);
  put(PowerAction::start, "start-2");
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(VmTest, RequestsForWhatIsSoAlreadySucceed) {
  start();
  put(PowerAction::start, "start-2");
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(script_.count("hypervisor.start"), 1);
  put(PowerAction::kill, "kill-1");
  put(PowerAction::stop, "stop-1");
  EXPECT_EQ(request_state(), RequestState::succeeded);
  put(PowerAction::kill, "kill-2");
  EXPECT_EQ(request_state(), RequestState::succeeded);
}

TEST_F(VmTest, AnOlderEpochIsRefusedAndChangesNothing) {
  Assignment newer = test_assignment();
  newer.epoch = Epoch{5};
  put(newer);
  Assignment older = test_assignment();
  older.epoch = Epoch{4};
  older.action = PowerAction::start;
  older.request_id = "late";
  const Status refused = vm_->assign(older);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  executor_->run();
  EXPECT_EQ(record().assignment.epoch.value, 5U);
  EXPECT_FALSE(record().request);
}

TEST_F(VmTest, WhatTheGuestStateFixesCannotBeAssignedAnew) {
  put(test_assignment());
  for (const auto& change : std::vector<std::function<void(Assignment&)>>{
           [](Assignment& a) { a.image_disk = "/other"; },
           [](Assignment& a) { a.security = SecurityType::standard; },
           [](Assignment& a) { a.os_disk = DiskId::random(); },
           [](Assignment& a) { a.signature_template = "MicrosoftWindows"; }}) {
    Assignment changed = test_assignment();
    change(changed);
    const Status refused = vm_->assign(changed);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  }
  Assignment bigger = test_assignment();
  bigger.memory_mib = 1024;
  EXPECT_TRUE(vm_->assign(bigger));
}

TEST_F(VmTest, EachCommitIsToldToTheVault) {
  start();
  for (int i = 0; i < 3; ++i) {
    guest().commit();
    executor_->run();
  }
  EXPECT_EQ(vault_.generations.at(test_assignment().vm), guest().now);
  EXPECT_EQ(record().generation, guest().now);
}

TEST_F(VmTest, GenerationsReachTheVaultWhenItComesBack) {
  start();
  script_.fail_with("vault.tell", ErrorCode::unavailable);
  const Generation before = vault_.generations.at(test_assignment().vm);
  for (int i = 0; i < 100; ++i) guest().commit();
  executor_->run();
  EXPECT_EQ(vault_.generations.at(test_assignment().vm), before);
  // No storm of calls on a vault that is away.
  EXPECT_LT(script_.count("vault.tell"), 10);
  script_.errors.clear();
  executor_->advance(std::chrono::minutes(1));
  EXPECT_EQ(vault_.generations.at(test_assignment().vm), guest().now);
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(VmTest, AStandardVmNeedsNeitherVaultNorGuestd) {
  Assignment assignment = test_assignment();
  assignment.security = SecurityType::standard;
  assignment.secure_boot = assignment.vtpm = false;
  assignment.action = PowerAction::start;
  assignment.request_id = "r1";
  put(assignment);
  EXPECT_EQ(record().power, PowerState::running);
  for (const std::string& call : script_.calls)
    EXPECT_FALSE(call.starts_with("vault.") || call.starts_with("guest.")) << call;
  EXPECT_TRUE(record().attestation.is_null());
  EXPECT_FALSE(hypervisor_.config.trusted);
  EXPECT_FALSE(vm_->status().get_object().contains("guestState"));
}

TEST_F(VmTest, RemovingARunningVmLeavesNothing) {
  start();
  std::optional<Status> done;
  vm_->remove([&](Status status) { done = std::move(status); });
  executor_->run();
  ASSERT_TRUE(done && *done);
  EXPECT_TRUE(removed_);
  EXPECT_TRUE(machine().ended);
  EXPECT_EQ(script_.count("guest.shutdown"), 1);
  EXPECT_FALSE(vault_.generations.contains(test_assignment().vm));
  EXPECT_FALSE(std::filesystem::exists(guest_state().parent_path()));
}

TEST_F(VmTest, ARemovalIsFinishedWhenTheVaultComesBack) {
  start();
  script_.fail_with("vault.delete", ErrorCode::unavailable, 2);
  std::optional<Status> done;
  vm_->remove([&](Status status) { done = std::move(status); });
  executor_->run();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->error().code, ErrorCode::unavailable);
  EXPECT_FALSE(removed_);
  const Status refused = vm_->assign(test_assignment());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  executor_->advance(std::chrono::minutes(1));
  EXPECT_TRUE(removed_);
}

TEST_F(VmTest, AnInterruptedRemovalIsFinishedByTheNextHostd) {
  start();
  script_.fail_with("vault.delete", ErrorCode::unavailable);
  vm_->remove([](const Status&) {});
  executor_->run();
  script_.errors.clear();
  restart_hostd();
  EXPECT_TRUE(removed_);
  EXPECT_FALSE(std::filesystem::exists(guest_state().parent_path()));
}

TEST_F(VmTest, ANewGuestStateIsMadeOnRequestAndTheOldOneKept) {
  start();
  std::optional<Status> done;
  vm_->reset_guest_state([&](Status status) { done = std::move(status); });
  executor_->run();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->error().code, ErrorCode::conflict) << "it runs";
  power_off_by_guest();
  const Generation before = vault_.generations.at(test_assignment().vm);
  vm_->reset_guest_state([&](Status status) { done = std::move(status); });
  executor_->run();
  ASSERT_TRUE(*done) << done->error().describe();
  EXPECT_EQ(guests_.made, 2);
  EXPECT_EQ(guests_.made_after, before) << "generations go on where they were: the old file stays old";
  int kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(guest_state().parent_path()))
    kept += entry.path().native().find("guest-state.vmgs.replaced-") != std::string::npos;
  EXPECT_EQ(kept, 1);
  put(PowerAction::start, "r9");
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(VmTest, ANewGuestStateThatCannotBeMadeLeavesTheOldOneInItsPlace) {
  start();
  power_off_by_guest();
  const Bytes before = read_file(guest_state(), 1000).value();
  for (const char* step : {"vault.known", "vault.release", "guest.manufacture", "vault.certify"}) {
    script_.fail_with(step, ErrorCode::unavailable, 1);
    std::optional<Status> done;
    vm_->reset_guest_state([&](Status status) { done = std::move(status); });
    executor_->run();
    ASSERT_TRUE(done && !*done) << step;
    ASSERT_TRUE(std::filesystem::exists(guest_state())) << step;
    EXPECT_EQ(read_file(guest_state(), 1000).value(), before) << step;
  }
  for (const auto& entry : std::filesystem::directory_iterator(guest_state().parent_path()))
    EXPECT_EQ(entry.path().native().find("replaced"), std::string::npos) << entry.path();
}

TEST_F(VmTest, TwoNewGuestStatesInOneSecondKeepBothOldOnes) {
  start();
  power_off_by_guest();
  for (int i = 0; i < 2; ++i) {
    std::optional<Status> done;
    vm_->reset_guest_state([&](Status status) { done = std::move(status); });
    executor_->run();
    ASSERT_TRUE(done && *done);
  }
  std::set<std::string> kept;
  for (const auto& entry : std::filesystem::directory_iterator(guest_state().parent_path())) {
    if (entry.path().native().find("guest-state.vmgs.replaced-") != std::string::npos)
      kept.insert(std::string(as_text(read_file(entry.path(), 1000).value())));
  }
  EXPECT_EQ(kept, (std::set<std::string>{"tpm 1", "tpm 2"}));
  EXPECT_EQ(as_text(read_file(guest_state(), 1000).value()), "tpm 3");
}

}  // namespace
}  // namespace bootseal::host::test

// hostd ends at any moment, and the next one finds its VMs again.
#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

TEST_F(VmTest, ARunningVmIsFoundAgainWithTheSameProcesses) {
  start();
  hello();
  const Record before = record();
  restart_hostd();
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(record().qemu, before.qemu);
  EXPECT_EQ(record().guestd, before.guestd);
  EXPECT_EQ(outcome(), "Booted");
  EXPECT_EQ(script_.count("hypervisor.start"), 1);
  EXPECT_EQ(script_.count("guest.serve"), 1);
  EXPECT_TRUE(hypervisor_.processes.back()->alive());
  // And is in hand again.
  power_off_by_guest();
  EXPECT_EQ(stop_code(), "GuestPoweredOff");
}

// The guest may have been reset, into whatever, while nobody looked.
TEST_F(VmTest, AVerdictFromBeforeAReturnIsNotShownAndEvidenceIsAskedForAtOnce) {
  start();
  hello();
  answer(json::Object{{"quote", "cXVvdGU="}});
  ASSERT_EQ(verdict(), "Healthy");
  const std::string evidence_time(record().attestation.at("evidenceTime").as_string());
  restart_hostd();
  EXPECT_EQ(verdict(), "Pending");
  EXPECT_EQ(record().attestation.at("evidenceTime").as_string(), evidence_time);
  EXPECT_EQ(script_.count("agent.attest"), 2) << "without waiting for a hello";
  answer(json::Object{{"quote", "bmV3"}});
  EXPECT_EQ(verdict(), "Healthy");
}

TEST_F(VmTest, AnAgentThatIsSilentAfterAReturnIsNotHealthy) {
  start();
  hello();
  answer(json::Object{{"quote", "cXVvdGU="}});
  restart_hostd();
  answer(fail(ErrorCode::timeout, "no answer"));
  EXPECT_EQ(verdict(), "Unknown");
}

TEST_F(VmTest, TheDeathOfGuestdIsSeenAfterAReturnToo) {
  start();
  restart_hostd();
  guest().events.ended();
  EXPECT_TRUE(machine().ended);
  executor_->run();
  EXPECT_EQ(stop_code(), "GuestStateServiceEnded");
}

TEST_F(VmTest, ABootThatWasUnderWayIsWatchedAgain) {
  start();
  restart_hostd();
  EXPECT_EQ(outcome(), "Booting");
  executor_->advance(std::chrono::seconds(181));
  EXPECT_EQ(outcome(), "DidNotBoot");
}

TEST_F(VmTest, QemuWithoutGuestdIsEndedWithThatReason) {
  start();
  guests_.processes.back()->end();
  restart_hostd();
  EXPECT_FALSE(hypervisor_.processes.back()->alive());
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(stop_code(), "GuestStateServiceEnded");
  EXPECT_NE(record().stop_reason->message.find("TPM"), std::string::npos);
}

TEST_F(VmTest, GuestdWithoutQemuIsShutDownInOrder) {
  start();
  hypervisor_.processes.back()->end();
  restart_hostd();
  EXPECT_EQ(script_.count("guest.attach"), 1);
  EXPECT_EQ(script_.count("guest.shutdown"), 1);
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(stop_code(), "EndedWhileAway");
  EXPECT_NE(record().stop_reason->message.find("QEMU"), std::string::npos);
  EXPECT_EQ(vault_.generations.at(test_assignment().vm), guest().now);
}

TEST_F(VmTest, GuestdThatDoesNotAnswerIsEnded) {
  start();
  hypervisor_.processes.back()->end();
  script_.fail_with("guest.attach", ErrorCode::unavailable);
  restart_hostd();
  EXPECT_FALSE(guests_.processes.back()->alive());
  EXPECT_EQ(record().power, PowerState::stopped);
}

TEST_F(VmTest, AVmThatEndedMeanwhileIsStopped) {
  start();
  hypervisor_.processes.back()->end();
  guests_.processes.back()->end();
  restart_hostd();
  EXPECT_EQ(stop_code(), "EndedWhileAway");
  EXPECT_FALSE(record().qemu || record().guestd);
}

TEST_F(VmTest, AQemuThatDoesNotAnswerIsEndedRatherThanLeftAlone) {
  start();
  script_.fail_with("hypervisor.attach", ErrorCode::unavailable);
  restart_hostd();
  EXPECT_FALSE(hypervisor_.processes.back()->alive());
  EXPECT_EQ(script_.count("guest.shutdown"), 1);
  EXPECT_EQ(stop_code(), "NotRecoverable");
}

TEST_F(VmTest, ProcessesThatWereNotWrittenDownAreEnded) {
  put(test_assignment());
  IdleProcess stray;
  restart_hostd({stray.identity()});
  EXPECT_FALSE(stray.alive());
}

TEST_F(VmTest, AStopThatWasUnderWayIsAskedForAgain) {
  start();
  put(PowerAction::stop, "stop-1");
  restart_hostd();
  EXPECT_EQ(record().power, PowerState::stopping);
  EXPECT_EQ(script_.count("machine.button"), 2);
  power_off_by_guest();
  EXPECT_EQ(request_state(), RequestState::succeeded);
}

TEST_F(VmTest, ARestartThatWasCutOffBetweenItsHalvesIsFinished) {
  start();
  put(PowerAction::restart, "again");
  hypervisor_.processes.back()->end();
  guests_.processes.back()->end();
  restart_hostd();
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(script_.count("hypervisor.start"), 2);
}

TEST_F(VmTest, APidOfAnotherBootOfTheMachineIsNotTaken) {
  start();
  const auto file = vm_paths(paths_.home, paths_.run, test_assignment().vm).record();
  Record other = record();
  other.boot_id = "00000000-0000-0000-0000-000000000000";
  ASSERT_TRUE(replace_file(file, as_bytes(json::serialize(to_json(other)))));
  restart_hostd();
  EXPECT_EQ(stop_code(), "HostRestarted");
  EXPECT_TRUE(hypervisor_.processes.back()->alive()) << "it is some other process by now";
}

// Every state of the record that was ever on disk during a creation and a start is a place where hostd may
// have been killed: from each of them the VM comes to run, once, with one TPM.
TEST_F(VmTest, FromEveryCutACreationIsFinished) {
  std::vector<std::string> snapshots;
  const auto file = vm_paths(paths_.home, paths_.run, test_assignment().vm).record();
  environment_.changed = [&](const VmId&) {
    const Bytes text = read_file(file, 1 << 20).value();
    if (snapshots.empty() || snapshots.back() != as_text(text)) snapshots.emplace_back(as_text(text));
  };
  start();
  ASSERT_GT(snapshots.size(), 4U);
  environment_.changed = [](const VmId&) {};
  for (const std::string& snapshot : snapshots) {
    ASSERT_TRUE(replace_file(file, as_bytes(snapshot)));
    const Record cut = parse_record(snapshot).value();
    if (cut.provisioning == ProvisioningState::creating && cut.generation.value == 0) {
      // Before the guest state had its name; half of one may lie there, and the key may be made already.
      std::filesystem::remove(guest_state());
      std::ofstream(guest_state().native() + ".new") << "half";
      vault_.generations[test_assignment().vm] = Generation{0};
      guests_.made = 0;
    }
    const long starts = script_.count("hypervisor.start");
    restart_hostd();
    executor_->advance(std::chrono::seconds(5));
    EXPECT_EQ(record().provisioning, ProvisioningState::succeeded);
    if (cut.request->state == RequestState::succeeded) {
      // Its start was over, and the processes that it names have ended since.
      EXPECT_EQ(stop_code(), "EndedWhileAway");
    } else {
      EXPECT_EQ(record().power, PowerState::running) << snapshot;
    }
    EXPECT_EQ(request_state(), RequestState::succeeded);
    EXPECT_EQ(guests_.made, 1);
    EXPECT_LE(script_.count("hypervisor.start"), starts + 1);
    EXPECT_EQ(as_text(read_file(guest_state(), 100).value()), "tpm 1");
    int alive = 0;
    for (const auto& process : hypervisor_.processes) alive += process->alive();
    // What a snapshot does not name was started after it: hostd ends those as strays (find_vm_processes), the
    // test ends them here.
    for (const auto& process : hypervisor_.processes) {
      if (process->identity() != record().qemu) process->end();
    }
    for (const auto& process : guests_.processes) {
      if (process->identity() != record().guestd) process->end();
    }
    EXPECT_LE(alive, 2);
  }
}

}  // namespace
}  // namespace bootseal::host::test

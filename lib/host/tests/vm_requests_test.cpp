// Power requests that meet: each is answered, none is taken for another, and an end is an end.
#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

class VmRequests : public VmTest {
 protected:
  // As put(), from another thread while the strand is busy: what it posts runs later.
  void put_meanwhile(PowerAction action, const std::string& id) {
    Assignment assignment = vm_->record().assignment;
    assignment.action = action;
    assignment.request_id = id;
    ASSERT_TRUE(vm_->assign(assignment));
  }
  [[nodiscard]] PowerRequest earlier(const std::string& id) const {
    for (const PowerRequest& request : record().earlier_requests) {
      if (request.id == id) return request;
    }
    ADD_FAILURE() << id << " is not remembered";
    return {};
  }
};

TEST_F(VmRequests, AKillThatComesDuringAStartIsNotAnsweredByThatStart) {
  put(test_assignment());
  hypervisor_.while_starting = [&]() { put_meanwhile(PowerAction::kill, "kill-1"); };
  bool claimed_too_early = false;
  environment_.changed = [&](const VmId&) {
    const Record now = record();
    claimed_too_early |= now.request && now.request->id == "kill-1" &&
                         now.request->state == RequestState::succeeded && (now.qemu || now.guestd);
  };
  put(PowerAction::start, "start-1");
  environment_.changed = [](const VmId&) {};
  EXPECT_FALSE(claimed_too_early);
  EXPECT_TRUE(machine().ended);
  EXPECT_EQ(script_.count("guest.shutdown"), 1);
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(record().request->id, "kill-1");
  EXPECT_EQ(request_state(), RequestState::succeeded);
}

TEST_F(VmRequests, ARequestThatIsOvertakenIsAnswered) {
  start();
  put(PowerAction::stop, "stop-1");
  put(PowerAction::restart, "restart-1");
  put(PowerAction::kill, "kill-1");
  for (const char* id : {"stop-1", "restart-1"}) {
    const PowerRequest overtaken = earlier(id);
    EXPECT_EQ(overtaken.state, RequestState::failed) << id;
    ASSERT_TRUE(overtaken.error) << id;
    EXPECT_EQ(overtaken.error->code, ErrorCode::conflict);
    EXPECT_NE(overtaken.error->message.find("superseded"), std::string::npos);
  }
  EXPECT_NE(earlier("restart-1").error->message.find("kill web"), std::string::npos);
  EXPECT_EQ(earlier("start-1").state, RequestState::succeeded) << "it was over before";
  const json::Value status = vm_->status();
  EXPECT_EQ(status.at("powerRequest").at("requestId").as_string(), "kill-1");
  EXPECT_EQ(status.at("earlierRequests").at(1).at("error").at("code").as_string(), "Conflict");
}

TEST_F(VmRequests, ARequestIsNotCarriedOutAgainAfterALaterOne) {
  start();
  put(PowerAction::kill, "kill-1");
  put(PowerAction::start, "start-1");  // an answer was lost, so it is sent again
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(record().request->id, "kill-1");
  EXPECT_EQ(script_.count("hypervisor.start"), 1);
  restart_hostd();
  put(PowerAction::start, "start-1");
  EXPECT_EQ(script_.count("hypervisor.start"), 1) << "the next hostd knows it too";
}

TEST_F(VmRequests, WhatIsRememberedOfRequestsIsBounded) {
  start();
  for (int i = 0; i < 100; ++i) put(PowerAction::start, "again-" + std::to_string(i));
  EXPECT_EQ(record().earlier_requests.size(), kEarlierRequests);
  EXPECT_EQ(record().earlier_requests.back().id, "again-98");
}

TEST_F(VmRequests, AKillIsUnderWayUntilQemuHasEnded) {
  start();
  machine().slow_to_end = true;
  put(PowerAction::kill, "kill-1");
  executor_->advance(std::chrono::minutes(1));
  EXPECT_EQ(request_state(), RequestState::running);
  EXPECT_EQ(record().power, PowerState::stopping);
  EXPECT_TRUE(record().qemu);
  machine().end();
  executor_->run();
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(script_.count("guest.shutdown"), 1);
  EXPECT_EQ(stop_code(), "Killed");
}

TEST_F(VmRequests, AKillDoesNotWaitForTheStrand) {
  start();
  // The strand may be busy, with a memory dump for example: nothing that is posted runs.
  put_meanwhile(PowerAction::kill, "kill-1");
  EXPECT_TRUE(machine().ended);
  EXPECT_EQ(request_state(), RequestState::running);
  executor_->run();
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(stop_code(), "Killed");
}

TEST_F(VmRequests, AQemuThatOutlivesItsGuestdForAWhileIsNotCalledStopped) {
  start();
  machine().slow_to_end = true;
  guest().events.ended();
  executor_->run();
  EXPECT_NE(record().power, PowerState::stopped);
  EXPECT_TRUE(record().qemu);
  put(PowerAction::kill, "kill-1");
  EXPECT_EQ(request_state(), RequestState::running);
  machine().end();
  executor_->run();
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(stop_code(), "GuestStateServiceEnded") << "what ended it first";
}

TEST_F(VmRequests, AStartDuringAKillStartsAnewWhenQemuHasEnded) {
  start();
  machine().slow_to_end = true;
  const auto dying = hypervisor_.machine;
  put(PowerAction::kill, "kill-1");
  put(PowerAction::start, "start-2");
  EXPECT_EQ(request_state(), RequestState::running);
  EXPECT_EQ(script_.count("hypervisor.start"), 1);
  dying->end();
  executor_->run();
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(script_.count("hypervisor.start"), 2);
}

TEST_F(VmRequests, AStartDuringAStopStartsAnewWhenTheGuestIsOff) {
  start();
  put(PowerAction::stop, "stop-1");
  put(PowerAction::start, "start-2");
  EXPECT_EQ(request_state(), RequestState::running) << "the guest may power off any moment";
  power_off_by_guest();
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(script_.count("hypervisor.start"), 2);
}

TEST_F(VmRequests, AStartDuringAStopThatTheGuestIgnoresFindsItRunning) {
  start();
  put(PowerAction::stop, "stop-1");
  put(PowerAction::start, "start-2");
  executor_->advance(environment_.options.stop_limit);
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(script_.count("hypervisor.start"), 1);
}

TEST_F(VmRequests, AFailedStartDoesNotFailTheRequestThatCameMeanwhile) {
  put(test_assignment());
  hypervisor_.while_starting = [&]() { put_meanwhile(PowerAction::stop, "stop-1"); };
  script_.fail_with("hypervisor.start", ErrorCode::unavailable);
  put(PowerAction::start, "start-1");
  EXPECT_EQ(record().request->id, "stop-1");
  EXPECT_EQ(request_state(), RequestState::succeeded);
}

TEST_F(VmRequests, ARemovalWaitsForTheEndOfQemu) {
  start();
  machine().slow_to_end = true;
  std::optional<Status> done;
  vm_->remove([&](Status status) { done = std::move(status); });
  executor_->run();
  ASSERT_TRUE(done && !*done);
  EXPECT_EQ(done->error().code, ErrorCode::timeout);
  EXPECT_EQ(script_.count("disks.remove") + script_.count("vault.delete"), 0);
  machine().end();
  executor_->advance(std::chrono::minutes(1));
  EXPECT_TRUE(removed_);
}

// Nothing can be written where the record is, as on a full disk.
class RecordBlocked : public VmRequests {
 protected:
  [[nodiscard]] VmPaths paths() const { return vm_paths(paths_.home, paths_.run, test_assignment().vm); }
  void block() {
    std::filesystem::remove(paths().record());
    std::filesystem::create_directories(paths().record() / "in the way");
  }
  void unblock() { std::filesystem::remove_all(paths().record()); }
};

TEST_F(RecordBlocked, AKillEndsTheMachineAllTheSameAndIsWrittenDownLater) {
  start();
  block();
  put(PowerAction::kill, "kill-1");
  EXPECT_TRUE(machine().ended);
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(record().power, PowerState::stopped);
  unblock();
  executor_->advance(std::chrono::minutes(1));
  const Bytes text = read_file(paths().record(), 1 << 20).value();
  const Record written = parse_record(as_text(text)).value();
  EXPECT_EQ(written.power, PowerState::stopped);
  ASSERT_TRUE(written.request);
  EXPECT_EQ(written.request->id, "kill-1");
}

TEST_F(RecordBlocked, OtherRequestsAreRefused) {
  start();
  block();
  Assignment stop = vm_->record().assignment;
  stop.action = PowerAction::stop;
  stop.request_id = "stop-1";
  EXPECT_FALSE(vm_->assign(stop));
  EXPECT_EQ(record().request->id, "start-1");
}

TEST_F(RecordBlocked, ARemovalRemoves) {
  start();
  block();
  std::optional<Status> done;
  vm_->remove([&](Status status) { done = std::move(status); });
  executor_->run();
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().describe();
  EXPECT_TRUE(machine().ended);
  EXPECT_TRUE(removed_);
  EXPECT_FALSE(std::filesystem::exists(paths().disk_folder));
  EXPECT_FALSE(vault_.generations.contains(test_assignment().vm));
}

TEST_F(RecordBlocked, ARemovalIsWrittenDownAsSoonAsTheVmsDiskHasMadeRoom) {
  start();
  block();
  script_.fail_with("vault.delete", ErrorCode::unavailable);  // so that the removal does not end yet
  vm_->remove([](const Status&) {});
  executor_->run();
  EXPECT_FALSE(std::filesystem::exists(paths().disk()));
  unblock();
  executor_->advance(std::chrono::minutes(1));
  EXPECT_FALSE(removed_);
  const Bytes text = read_file(paths().record(), 1 << 20).value();
  EXPECT_TRUE(parse_record(as_text(text)).value().deleting);
}

}  // namespace
}  // namespace bootseal::host::test

// Boot outcomes and verdicts.
#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

constexpr std::string_view kAccessDenied =
    "BdsDxe: loading Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0)\r\n"
    "BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0): Access Denied\r\n"
    "BdsDxe: No bootable option or device was found.\r\n"
    "BdsDxe: Press any key to enter the Boot Manager Menu.\r\n";
constexpr std::string_view kNotFound =
    "BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0): Not Found\r\n"
    "BdsDxe: No bootable option or device was found.\r\n"
    "BdsDxe: Press any key to enter the Boot Manager Menu.\r\n";

json::Value evidence() {
  return json::Object{{"quote", "cXVvdGU="}};
}

TEST_F(VmTest, TheAgentsHelloIsTheProofOfABoot) {
  start();
  hello();
  EXPECT_EQ(outcome(), "Booted");
  executor_->advance(std::chrono::hours(1));
  EXPECT_EQ(outcome(), "Booted");
  EXPECT_EQ(script_.count("machine.pause"), 0) << "nothing is left to diagnose";
}

TEST_F(VmTest, ARefusedBootIsNamedAndTheVmPoweredOff) {
  start();
  machine().say(kAccessDenied);
  executor_->advance(std::chrono::seconds(10));
  EXPECT_EQ(outcome(), "Refused");
  EXPECT_EQ(record().boot.component, "firmware");
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(stop_code(), "BootRefused");
  EXPECT_EQ(record().stop_reason->message, record().boot.message);
  EXPECT_NE(verdict(), "Healthy");
  const VmPaths paths = vm_paths(paths_.home, paths_.run, test_assignment().vm);
  EXPECT_FALSE(std::filesystem::exists(paths.memory_dump())) << "guest memory must not stay";
  EXPECT_EQ(as_text(read_file(paths.boot_diagnostics() / "serial.txt", 1 << 20).value()), kAccessDenied);
}

TEST_F(VmTest, ADiskWithoutALoaderIsNothingToBoot) {
  start();
  machine().say(kNotFound);
  executor_->advance(std::chrono::seconds(10));
  EXPECT_EQ(outcome(), "NothingToBoot");
  EXPECT_EQ(stop_code(), "NothingToBoot");
  EXPECT_EQ(record().power, PowerState::stopped);
}

TEST_F(VmTest, SilenceUntilTheDeadlineIsDidNotBootAndTheVmGoesOn) {
  start();
  machine().say("Loading Linux 6.1 ...\r\n");
  executor_->advance(std::chrono::seconds(179));
  EXPECT_EQ(outcome(), "Booting");
  executor_->advance(std::chrono::seconds(2));
  EXPECT_EQ(outcome(), "DidNotBoot");
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(script_.count("machine.pause"), 1);
  EXPECT_EQ(script_.count("machine.resume"), 2);
  // Late is better than never.
  hello();
  EXPECT_EQ(outcome(), "Booted");
}

TEST_F(VmTest, AHelloBeatsASignOfRefusal) {
  start();
  machine().say(kAccessDenied);
  executor_->advance(std::chrono::milliseconds(400));
  hello();
  executor_->advance(std::chrono::seconds(10));
  EXPECT_EQ(outcome(), "Booted");
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(VmTest, ADumpThatFailsStillGivesADiagnosisFromTheText) {
  start();
  script_.fail_with("machine.dump", ErrorCode::timeout);
  machine().say(kNotFound);
  executor_->advance(std::chrono::seconds(10));
  EXPECT_EQ(outcome(), "NothingToBoot");
}

TEST_F(VmTest, ARebootIsWatchedLikeABoot) {
  start();
  hello();
  machine().events.reset();
  executor_->run();
  EXPECT_EQ(outcome(), "Booting");
  EXPECT_EQ(verdict(), "Pending") << "evidence of the boot before says nothing about this one";
  machine().say(kAccessDenied);
  executor_->advance(std::chrono::seconds(10));
  EXPECT_EQ(outcome(), "Refused");
}

TEST_F(VmTest, EvidenceOfTheBootBeforeAResetIsNotTakenForThisOne) {
  start();
  hello();
  const auto answer_of_the_boot_before = std::exchange(machine().pending, nullptr);
  machine().events.reset();
  executor_->run();
  executor_->advance(std::chrono::minutes(1));
  hello();
  ASSERT_TRUE(machine().pending) << "the new boot is asked";
  answer_of_the_boot_before(evidence());
  executor_->run();
  EXPECT_EQ(verdict(), "Pending");
  EXPECT_TRUE(attestor_.judged.is_null());
  answer(evidence());
  EXPECT_EQ(verdict(), "Healthy");
}

TEST_F(VmTest, WhatWasSaidBeforeARebootIsNotHeldAgainstIt) {
  start();
  machine().say(kNotFound);
  executor_->advance(std::chrono::milliseconds(100));
  machine().events.reset();
  executor_->advance(std::chrono::seconds(10));
  EXPECT_EQ(outcome(), "Booting");
}

TEST_F(VmTest, EvidenceOfTheAgentBecomesTheVerdictOfAttestd) {
  start();
  hello();
  EXPECT_EQ(machine().asked.at("nonce").as_string(), "bm9uY2U=");
  answer(evidence());
  EXPECT_EQ(verdict(), "Healthy");
  EXPECT_EQ(attestor_.judged, evidence());
  EXPECT_TRUE(record().timings.start_to_verdict_ms);
}

TEST_F(VmTest, AFirmwareThatMeasuresNoVersionIsNamedByItsPackage) {
  start();
  hello();
  answer(evidence());
  EXPECT_EQ(record().attestation.at("firmwareVersion").as_string(), "ovmf 2022.11-6+deb12u2");
  EXPECT_EQ(vm_->status().at("firmware").as_string(), "ovmf 2022.11-6+deb12u2");
  attestor_.measured_firmware = "edk2-stable202302";
  vm_->attest([](const Result<json::Value>&) {});
  executor_->run();
  answer(evidence());
  EXPECT_EQ(record().attestation.at("firmwareVersion").as_string(), "edk2-stable202302")
      << "what was measured counts for more";
}

TEST_F(VmTest, TheStatusTellsWhatTheGuestIsUntilItMayBeAnother) {
  start();
  EXPECT_FALSE(vm_->status().get_object().contains("guest"));
  machine().events.agent_hello({"1.0", "6.1.0-18-cloud-amd64", "Debian GNU/Linux 12 (bookworm)", "boot"});
  executor_->run();
  EXPECT_EQ(vm_->status().at("guest").at("osName").as_string(), "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(vm_->status().at("guest").at("kernelRelease").as_string(), "6.1.0-18-cloud-amd64");
  restart_hostd();
  EXPECT_EQ(vm_->status().at("guest").at("agentVersion").as_string(), "1.0");
  machine().events.reset();
  executor_->run();
  EXPECT_FALSE(vm_->status().get_object().contains("guest"));
}

TEST_F(VmTest, AVerdictIsRenewedEveryEightHours) {
  start();
  hello();
  answer(evidence());
  executor_->advance(std::chrono::hours(8) - std::chrono::minutes(1));
  EXPECT_EQ(script_.count("agent.attest"), 1);
  executor_->advance(std::chrono::minutes(2));
  EXPECT_EQ(script_.count("agent.attest"), 2);
}

TEST_F(VmTest, AStoppedVmIsNotHealthy) {
  start();
  hello();
  answer(evidence());
  power_off_by_guest();
  EXPECT_EQ(verdict(), "Unknown");
  EXPECT_EQ(record().attestation.at("evidenceTime").as_string(), format_time(clock_.now()));
  put(PowerAction::start, "r2");
  EXPECT_EQ(verdict(), "Pending");
}

TEST_F(VmTest, AnAgentThatRefusesIsUnknownAndAskedAgain) {
  start();
  hello();
  answer(evidence());
  std::optional<Result<json::Value>> verdict_or_error;
  vm_->attest([&](Result<json::Value> result) { verdict_or_error = std::move(result); });
  executor_->run();
  answer(fail(ErrorCode::timeout, "no answer"));
  EXPECT_EQ(verdict(), "Unknown");
  ASSERT_TRUE(verdict_or_error);
  EXPECT_EQ(verdict_or_error->error().code, ErrorCode::timeout);
  executor_->advance(std::chrono::seconds(5));
  EXPECT_EQ(script_.count("agent.attest"), 3);
  answer(evidence());
  EXPECT_EQ(verdict(), "Healthy");
}

TEST_F(VmTest, AnAgentThatKeepsSayingHelloIsAskedNowAndThen) {
  start();
  for (int i = 0; i < 50; ++i) {
    hello();
    if (machine().pending) answer(evidence());
  }
  EXPECT_EQ(script_.count("attest.challenge"), 1);
  executor_->advance(std::chrono::seconds(6));
  EXPECT_EQ(script_.count("attest.challenge"), 2);
}

TEST_F(VmTest, AttestdMayBeAway) {
  start();
  script_.fail_with("attest.challenge", ErrorCode::unavailable, 3);
  hello();
  EXPECT_EQ(verdict(), "Pending");
  executor_->advance(std::chrono::seconds(30));
  answer(evidence());
  EXPECT_EQ(verdict(), "Healthy");
}

TEST_F(VmTest, AVerdictThatCannotBeRenewedIsWithdrawn) {
  start();
  hello();
  answer(evidence());
  script_.fail_with("attest.challenge", ErrorCode::unavailable);
  clock_.advance(std::chrono::hours(8) + std::chrono::minutes(5));
  executor_->advance(std::chrono::hours(8) + std::chrono::minutes(5));
  EXPECT_EQ(verdict(), "Healthy") << "within the grace";
  clock_.advance(std::chrono::minutes(10));
  executor_->advance(std::chrono::minutes(1));
  EXPECT_EQ(verdict(), "Unknown");
}

TEST_F(VmTest, OneQuestionAtATimeServesEveryCaller) {
  start();
  int verdicts = 0;
  hello();
  for (int i = 0; i < 3; ++i)
    vm_->attest([&](const Result<json::Value>& result) { verdicts += result ? 1 : 0; });
  executor_->run();
  EXPECT_EQ(script_.count("agent.attest"), 1);
  answer(evidence());
  EXPECT_EQ(verdicts, 3);
}

TEST_F(VmTest, ACallerIsAnsweredWhenTheVmStops) {
  start();
  hello();
  std::optional<Result<json::Value>> result;
  vm_->attest([&](Result<json::Value> answered) { result = std::move(answered); });
  executor_->run();
  power_off_by_guest();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->error().code, ErrorCode::conflict);
  // The answer of the run before comes too late to matter.
  if (machine().pending) answer(evidence());
  EXPECT_EQ(verdict(), "Unknown");
}

// A silent agent holds up nobody.
class Interruption : public VmTest, public testing::WithParamInterface<PowerAction> {};

TEST_P(Interruption, AnswersWhoWaitsForEvidenceAtOnce) {
  start();
  hello();
  machine().slow_to_end = true;
  std::optional<Result<json::Value>> result;
  const auto ask = [&]() {
    result.reset();
    vm_->attest([&](Result<json::Value> answered) { result = std::move(answered); });
    executor_->run();
  };
  ask();
  ASSERT_FALSE(result) << "the agent has not answered";
  if (GetParam() == PowerAction::none) {
    vm_->remove([](const Status&) {});
    executor_->run();
  } else {
    put(GetParam(), "r2");
  }
  ASSERT_TRUE(result);
  EXPECT_EQ(result->error().code, ErrorCode::conflict);
  EXPECT_NE(result->error().message.find("the attestation was interrupted: the virtual machine is being"),
            std::string::npos)
      << result->error().message;
  // Nor is it asked anew, by whomever, while it is on its way down.
  const long asked = script_.count("agent.attest");
  hello();
  executor_->advance(std::chrono::seconds(20));
  ask();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->error().code, ErrorCode::conflict);
  EXPECT_EQ(script_.count("agent.attest"), asked);
}

INSTANTIATE_TEST_SUITE_P(EachRequest, Interruption,
                         testing::Values(PowerAction::stop, PowerAction::kill, PowerAction::restart,
                                         PowerAction::none),
                         [](const auto& action) {
                           return action.param == PowerAction::none
                                      ? std::string("remove")
                                      : std::string(power_action_name(action.param));
                         });

TEST_F(VmTest, AGuestThatIgnoresAStopIsAttestedAgain) {
  start();
  hello();
  put(PowerAction::stop, "stop-1");
  EXPECT_EQ(script_.count("agent.attest"), 1);
  executor_->advance(environment_.options.stop_limit);
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(script_.count("agent.attest"), 2);
  answer(evidence());
  EXPECT_EQ(verdict(), "Healthy");
}

TEST_F(VmTest, WhatCannotAttestSaysWhy) {
  put(test_assignment());
  std::optional<Result<json::Value>> result;
  const auto ask = [&]() {
    vm_->attest([&](Result<json::Value> answered) { result = std::move(answered); });
    executor_->run();
    return result->error();
  };
  EXPECT_EQ(ask().code, ErrorCode::conflict);
  EXPECT_NE(ask().message.find("bootseal vm start web"), std::string::npos);
  Assignment without = test_assignment();
  without.vtpm = false;
  put(without);
  EXPECT_NE(ask().message.find("no vTPM"), std::string::npos);
}

TEST_F(VmTest, AnAttestdThatIsSilentHoldsUpNeitherAKillNorADeletion) {
  start();
  std::deque<Task> silent;
  environment_.in_background = [&](Task task) { silent.push_back(std::move(task)); };
  hello();
  ASSERT_EQ(silent.size(), 1U) << "the challenge is asked for beside the strand";
  put(PowerAction::kill, "kill-1");
  EXPECT_EQ(request_state(), RequestState::succeeded);
  std::optional<Status> removed;
  vm_->remove([&](Status status) { removed = std::move(status); });
  executor_->run();
  EXPECT_TRUE(removed && *removed);
  while (!silent.empty()) {  // the late answer matters to nobody
    std::exchange(silent.front(), nullptr)();
    silent.pop_front();
  }
  executor_->run();
  EXPECT_EQ(script_.count("agent.attest"), 0);
}

TEST_F(VmTest, AVerdictThatComesAfterAResetIsDropped) {
  start();
  hello();
  std::deque<Task> silent;
  environment_.in_background = [&](Task task) { silent.push_back(std::move(task)); };
  answer(evidence());
  ASSERT_EQ(silent.size(), 1U);
  machine().events.reset();
  executor_->run();
  std::exchange(silent.front(), nullptr)();
  executor_->run();
  EXPECT_EQ(verdict(), "Pending") << "Healthy was said of the boot before";
}

TEST_F(VmTest, AnotherExpectationMakesAVerdictPendingAndAsksAtOnce) {
  start();
  hello();
  answer(evidence());
  ASSERT_EQ(verdict(), "Healthy");
  Assignment changed = record().assignment;
  changed.expectation_digest = std::string(64, 'a');
  put(changed);
  EXPECT_EQ(verdict(), "Pending");
  EXPECT_EQ(script_.count("agent.attest"), 2);
  answer(evidence());
  EXPECT_EQ(verdict(), "Healthy");
  put(changed);
  changed.expectation_digest.clear();  // of a control plane that does not tell it
  put(changed);
  EXPECT_EQ(verdict(), "Healthy") << "the same expectation asks nothing";
  EXPECT_EQ(script_.count("agent.attest"), 2);
}

TEST_F(VmTest, EvidenceThatWasAskedForBeforeTheExpectationChangedIsNotTaken) {
  start();
  hello();
  const auto before = std::exchange(machine().pending, nullptr);
  Assignment changed = record().assignment;
  changed.expectation_digest = std::string(64, 'b');
  put(changed);
  before(evidence());
  executor_->run();
  EXPECT_EQ(verdict(), "Pending");
  answer(evidence());
  EXPECT_EQ(verdict(), "Healthy");
}

TEST(Expectation, IsADigestThatARecordKeeps) {
  Assignment assignment = test_assignment();
  EXPECT_FALSE(to_json(assignment).get_object().contains("expectationDigest"));
  assignment.expectation_digest = std::string(64, 'c');
  EXPECT_EQ(parse_assignment(to_json(assignment)).value().expectation_digest, assignment.expectation_digest);
  assignment.expectation_digest = "../no-digest";
  EXPECT_EQ(parse_assignment(to_json(assignment)).error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace bootseal::host::test

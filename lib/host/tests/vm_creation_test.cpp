// Making a VM, step by step, and what goes wrong on the way.
#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

TEST_F(VmTest, IsMadeAndStartedInOneGo) {
  start();
  const Record now = record();
  EXPECT_EQ(now.provisioning, ProvisioningState::succeeded);
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(now.boot.outcome, "Booting");
  EXPECT_EQ(now.accelerator, "tcg");
  ASSERT_TRUE(now.qemu && now.guestd);
  EXPECT_TRUE(now.timings.create_to_running_ms);
  ASSERT_TRUE(now.tpm);
  EXPECT_EQ(now.tpm->ek_issuer, "CN=Test CA");
  EXPECT_EQ(now.tpm->ak_public_sha256, crypto::sha256(as_bytes("ak")).to_hex());
  EXPECT_EQ(verdict(), "Pending");
  EXPECT_EQ(now.generation.value, vault_.generations.at(now.assignment.vm).value);
  EXPECT_EQ(guests_.made, 1);
  EXPECT_EQ(hypervisor_.config.machine_type, "pc-q35-7.2");
}

TEST_F(VmTest, WithoutAPowerRequestItIsMadeAndStaysOff) {
  put(test_assignment());
  EXPECT_EQ(record().provisioning, ProvisioningState::succeeded);
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_FALSE(record().request);
  EXPECT_EQ(script_.count("hypervisor.start"), 0);
}

TEST_F(VmTest, NothingHappensBeforeTheKeyIsReleased) {
  vault_.owner = Epoch{2};
  put(PowerAction::start, "r1");
  EXPECT_EQ(record().provisioning, ProvisioningState::failed);
  EXPECT_EQ(record().provisioning_error->code, ErrorCode::permission_denied);
  EXPECT_EQ(request_state(), RequestState::failed);
  EXPECT_EQ(
      script_.count("guest.manufacture") + script_.count("guest.serve") + script_.count("hypervisor.start"),
      0);
}

struct FailingStep {
  const char* call;
  bool leaves_guest_state;
};
class CreationStep : public VmTest, public testing::WithParamInterface<FailingStep> {};

TEST_P(CreationStep, FailsTheCreationAndANextAssignmentGoesOn) {
  const auto [call, leaves_guest_state] = GetParam();
  script_.fail_with(call, ErrorCode::exhausted);
  put(PowerAction::start, "r1");
  EXPECT_EQ(record().provisioning, ProvisioningState::failed);
  EXPECT_EQ(record().provisioning_error->code, ErrorCode::exhausted);
  EXPECT_EQ(request_error(), ErrorCode::exhausted);
  EXPECT_EQ(record().power, PowerState::stopped);
  EXPECT_EQ(std::filesystem::exists(guest_state()), leaves_guest_state);
  EXPECT_EQ(script_.count("hypervisor.start"), 0);
  script_.errors.clear();
  put(PowerAction::start, "r2");
  EXPECT_EQ(record().provisioning, ProvisioningState::succeeded);
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(guests_.made, 1);
}

TEST_P(CreationStep, IsRepeatedWhileOnlyTheVaultIsAway) {
  const auto [call, leaves_guest_state] = GetParam();
  if (!std::string_view(call).starts_with("vault.")) return;
  script_.fail_with(call, ErrorCode::unavailable, 3);
  put(PowerAction::start, "r1");
  EXPECT_EQ(record().provisioning, ProvisioningState::creating);
  EXPECT_EQ(request_state(), RequestState::running);
  executor_->advance(std::chrono::seconds(20));
  EXPECT_EQ(record().provisioning, ProvisioningState::succeeded);
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(guests_.made, 1);
}

INSTANTIATE_TEST_SUITE_P(EachStep, CreationStep,
                         testing::Values(FailingStep{"disks.folders", false},
                                         FailingStep{"vault.create", false},
                                         FailingStep{"vault.release", false}, FailingStep{"vault.ca", false},
                                         FailingStep{"guest.manufacture", false},
                                         FailingStep{"vault.certify", false},
                                         FailingStep{"disks.overlay", true}, FailingStep{"disks.seed", true}),
                         [](const auto& step) {
                           std::string name = step.param.call;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

TEST_F(VmTest, TheVaultsAbsenceIsNotRiddenOutForEver) {
  environment_.options.patience = std::chrono::milliseconds(0);
  script_.fail_with("vault.create", ErrorCode::unavailable);
  put(PowerAction::start, "r1");
  EXPECT_EQ(record().provisioning, ProvisioningState::failed);
  EXPECT_EQ(request_error(), ErrorCode::unavailable);
}

TEST_F(VmTest, AKeyOfACreationThatWasCutOffIsUsed) {
  vault_.generations[test_assignment().vm] = Generation{0};
  start();
  EXPECT_EQ(guests_.made, 1);
}

TEST_F(VmTest, AVmWhoseGuestStateIsKnownToTheVaultNeverGetsANewTpmByItself) {
  vault_.generations[test_assignment().vm] = Generation{7};
  put(PowerAction::start, "r1");
  EXPECT_EQ(record().provisioning_error->code, ErrorCode::guest_state_missing);
  EXPECT_NE(record().provisioning_error->message.find("bootseal vm reset-guest-state web"),
            std::string::npos);
  EXPECT_EQ(guests_.made, 0);
}

}  // namespace
}  // namespace bootseal::host::test

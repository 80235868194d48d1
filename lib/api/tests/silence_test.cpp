// What goes on while another daemon does not answer, and what is shown then.
#include <gmock/gmock.h>

#include "bootseal/base/clock.h"
#include "bootseal/crypto/digest.h"
#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class SilenceTest : public SiteTest {
 protected:
  SilenceTest() {
    operation_limit_ = std::chrono::seconds(15);
    start();
  }

  json::Value verdict(const std::string& name) {
    const json::Value view = call("GET", vm(name) + "/instanceView").body;
    const json::Value* attestation = view.get_object().if_contains("attestation");
    return attestation == nullptr ? json::Value(json::Object{{"status", "none"}}) : *attestation;
  }
  std::string verdict_text(const std::string& name) {
    return std::string(verdict(name).at("status").get_string());
  }
  std::string reason(const std::string& name) {
    const json::Value first = verdict(name).at("reasons").at(0);
    return std::string(first.at("code").get_string()) + ": " + std::string(first.at("message").get_string());
  }
  void make_healthy(const std::string& name, const std::string& time) {
    host_.judge(vm_id(name), "Healthy", time);
    ASSERT_TRUE(until([&] { return verdict_text(name) != "none"; }));
  }
};

TEST_F(SilenceTest, StopsKillsAndDeallocationsReachTheHostWhileTheOthersAreAway) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string id = vm_id("vm1");
  const std::pair<const char*, const char*> ways[] = {
      {"/powerOff", "stop"}, {"/powerOff?skipShutdown=true", "kill"}, {"/deallocate", "stop"}};
  for (const auto& [path, action] : ways) {
    SCOPED_TRACE(path);
    if (host_.carried_out(id).back() != "start") {
      ASSERT_EQ(outcome(call("POST", vm("vm1") + "/start")), "Succeeded");
    }
    vault_.stop();
    attest_.stop();
    EXPECT_EQ(outcome(call("POST", vm("vm1") + path)), "Succeeded");
    EXPECT_EQ(host_.carried_out(id).back(), action);
    vault_.start();
    attest_.start();
  }
}

TEST_F(SilenceTest, AStartWaitsForThePlacementAndTheExpectation) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(outcome(call("POST", vm("vm1") + "/powerOff")), "Succeeded");
  attest_.silence(true);
  const Reply starting = call("POST", vm("vm1") + "/start");
  ASSERT_TRUE(until([&] { return attest_.unanswered() > 0; }));
  EXPECT_EQ(host_.carried_out(vm_id("vm1")).back(), "stop");
  attest_.silence(false);
  EXPECT_EQ(outcome(starting), "Succeeded");
}

TEST_F(SilenceTest, AKillDoesNotWaitForTheStepsThatAttestdHoldsUp) {
  ASSERT_EQ(outcome(put_vm("victim")), "Succeeded");
  attest_.silence(true);
  for (const char* name : {"a", "b", "c", "d", "e"}) ASSERT_EQ(put_vm(name).status, 201);
  // All the workers wait for attestd now.
  ASSERT_TRUE(until([&] { return attest_.unanswered() >= 4; }));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(outcome(call("POST", vm("victim") + "/powerOff?skipShutdown=true")), "Succeeded");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8)) << "attestd's limit is 10 s";
  EXPECT_EQ(host_.carried_out(vm_id("victim")).back(), "kill");
  attest_.silence(false);
}

TEST_F(SilenceTest, ADeletionEndsTheVmFirstAndRemovesItsKeyWhenTheVaultIsBack) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string id = vm_id("vm1");
  vault_.stop();
  const Reply deleting = call("DELETE", vm("vm1"));
  EXPECT_TRUE(until([&] { return host_.vms().empty(); }));
  EXPECT_EQ(call("GET", vm("vm1")).status, 200) << "its key is there still";
  vault_.start();
  EXPECT_EQ(outcome(deleting), "Succeeded");
  EXPECT_THAT(vault_.deleted_keys(), Contains(id));
}

TEST_F(SilenceTest, TheKeyIsKeptUntilTheHostHasDeletedWhatItOpens) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  host_.stop();
  const Reply deleting = call("DELETE", vm("vm1"));
  EXPECT_THAT(outcome(deleting), HasSubstr("Timeout"));
  EXPECT_TRUE(vault_.deleted_keys().empty());
  host_.start();
  EXPECT_TRUE(until([&] { return call("GET", vm("vm1")).status == 404; }));
  EXPECT_FALSE(vault_.deleted_keys().empty());
}

TEST_F(SilenceTest, AHealthyOfAHostThatIsSilentIsUnknown) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string time = format_time(Clock::system().now());
  make_healthy("vm1", time);
  EXPECT_EQ(verdict_text("vm1"), "Healthy");
  host_.stop();
  ASSERT_TRUE(until([&] { return verdict_text("vm1") == "Unknown"; }));
  EXPECT_THAT(reason("vm1"), HasSubstr("HostSilent: the host has not answered since 2"));
  EXPECT_THAT(reason("vm1"), HasSubstr("the last verdict was Healthy at " + time));
  EXPECT_EQ(states("vm1").back(), "PowerState/unknown");
  host_.start();
  EXPECT_TRUE(until([&] { return verdict_text("vm1") == "Healthy"; }));
}

TEST_F(SilenceTest, AHealthyOfYesterdayIsUnknown) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  make_healthy("vm1", format_time(Clock::system().now() - std::chrono::hours(25)));
  EXPECT_EQ(verdict_text("vm1"), "Unknown");
  EXPECT_THAT(reason("vm1"), HasSubstr("EvidenceStale: "));
}

TEST_F(SilenceTest, AHealthyIsPendingAsSoonAsTheVmShouldBeSomethingElse) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string id = vm_id("vm1");
  ASSERT_EQ(outcome(call("POST", vm("vm1") + "/deallocate")), "Succeeded");
  make_healthy("vm1", format_time(Clock::system().now()));
  const auto digest = [&] { return std::string(host_.assignment(id)->at("expectationDigest").get_string()); };
  const std::string before = digest();
  EXPECT_EQ(before, crypto::sha256(as_bytes(json::serialize(attest_.expectations().at(id)))).to_hex());
  attest_.silence(true);
  const json::Object settings{{"secureBootEnabled", true}, {"vTpmEnabled", false}};
  const Reply patched = call(
      "PATCH", vm("vm1"), json::Object{{"properties", {{"securityProfile", {{"uefiSettings", settings}}}}}});
  EXPECT_EQ(verdict_text("vm1"), "Pending");
  EXPECT_THAT(reason("vm1"), HasSubstr("ExpectationChanged: "));
  attest_.silence(false);
  EXPECT_EQ(outcome(patched), "Succeeded");
  EXPECT_NE(digest(), before) << "by this the host knows it too";
  EXPECT_EQ(verdict_text("vm1"), "Pending") << "the evidence is older than the change";
  host_.judge(id, "Healthy", format_time(Clock::system().now() + std::chrono::seconds(2)));
  EXPECT_TRUE(until([&] { return verdict_text("vm1") == "Healthy"; })) << "judged again";
}

TEST_F(SilenceTest, TheSystemIsCalledAsTheManifestCallsItUntilTheGuestSpeaks) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  EXPECT_EQ(call("GET", vm("vm1") + "/instanceView").body.at("osName").get_string(), "Debian GNU/Linux 12");
}

}  // namespace
}  // namespace bootseal::api::testing

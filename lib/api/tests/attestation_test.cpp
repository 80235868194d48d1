// Requests for evidence: what they answer, and what does not wait for them.
#include <gmock/gmock.h>

#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::HasSubstr;

class AttestationTest : public SiteTest {
 protected:
  AttestationTest() { start(); }
};

TEST_F(AttestationTest, AttestingWaitsForTheGuestAndAnswersTheVerdict) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const Reply attesting = call("POST", vm("vm1") + "/attest");
  EXPECT_EQ(attesting.status, 202);
  host_.set_boot(vm_id("vm1"), "Booted", "");
  const json::Value operation = wait(attesting);
  EXPECT_EQ(operation.at("properties").at("output").at("status").get_string(), "Healthy");
}

TEST_F(AttestationTest, WhatEndsTheBootDoesNotWaitForTheEvidenceOfAGuestThatIsSilent) {
  const struct {
    const char* method;
    const char* path;
    const char* message;
    const char* action;  // on the host; empty for a deletion
  } ways[] = {
      {"POST", "/powerOff", "The virtual machine was stopped while it was being attested.", "stop"},
      {"POST", "/powerOff?skipShutdown=true", "The virtual machine was stopped while it was being attested.",
       "kill"},
      {"POST", "/restart", "The virtual machine was restarted while it was being attested.", "restart"},
      {"POST", "/deallocate", "The virtual machine was deallocated while it was being attested.", "stop"},
      {"DELETE", "", "The virtual machine was deleted while it was being attested.", ""}};
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string id = vm_id("vm1");
  for (const auto& way : ways) {
    SCOPED_TRACE(way.method + std::string(way.path));
    if (host_.carried_out(id).back() != "start") {
      ASSERT_EQ(outcome(call("POST", vm("vm1") + "/start")), "Succeeded");
    }
    host_.set_boot(id, "Booted", "");
    const std::size_t asked = host_.evidence_requests();
    host_.hold_evidence(true);
    const Reply attesting = call("POST", vm("vm1") + "/attest");
    ASSERT_TRUE(until([&] { return host_.evidence_requests() > asked; }));
    EXPECT_EQ(call("POST", vm("vm1") + "/start").status, 409);

    const Reply ending = call(way.method, vm("vm1") + way.path);
    EXPECT_EQ(ending.status, 202) << ending.text;
    EXPECT_EQ(outcome(attesting), "Failed OperationPreempted: " + std::string(way.message));
    EXPECT_EQ(outcome(ending), "Succeeded") << "the guest is silent still";
    if (*way.action != '\0') {
      EXPECT_EQ(host_.carried_out(id).back(), way.action);
    }
    host_.hold_evidence(false);
  }
  EXPECT_TRUE(host_.vms().empty());
}

TEST_F(AttestationTest, DeletingAGroupDoesNotWaitForTheEvidenceOfItsVms) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  host_.set_boot(vm_id("vm1"), "Booted", "");
  host_.hold_evidence(true);
  const Reply attesting = call("POST", vm("vm1") + "/attest");
  ASSERT_TRUE(until([&] { return host_.evidence_requests() > 0; }));
  EXPECT_EQ(outcome(call("DELETE", group())), "Succeeded");
  EXPECT_THAT(outcome(attesting), HasSubstr("was deleted while it was being attested"));
}

TEST_F(AttestationTest, AttestingWhatDidNotBootSaysWhy) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  host_.set_boot(vm_id("vm1"), "Refused", "shim refused grubx64.efi");
  EXPECT_THAT(outcome(call("POST", vm("vm1") + "/attest")), HasSubstr("shim refused grubx64.efi"));
  ASSERT_EQ(outcome(call("POST", vm("vm1") + "/powerOff")), "Succeeded");
  EXPECT_THAT(outcome(call("POST", vm("vm1") + "/attest")), HasSubstr("is not running"));
}

}  // namespace
}  // namespace bootseal::api::testing

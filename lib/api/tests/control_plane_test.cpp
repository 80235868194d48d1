#include <gmock/gmock.h>

#include "bootseal/base/fds.h"
#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ControlPlaneTest : public SiteTest {
 protected:
  ControlPlaneTest() { start(); }
};

TEST_F(ControlPlaneTest, CreatingAVmMakesAndStartsItAndTellsEveryDaemon) {
  const Reply created = put_vm("vm1");
  ASSERT_EQ(created.status, 201) << created.text;
  EXPECT_EQ(created.body.at("properties").at("provisioningState").get_string(), "Creating");
  EXPECT_EQ(created.header("Retry-After"), "1");
  EXPECT_EQ(outcome(created), "Succeeded");
  const std::string id = vm_id("vm1");
  const json::Object assignment = host_.assignment(id).value();
  EXPECT_EQ(assignment.at("epoch").to_number<int>(), 1);
  EXPECT_EQ(assignment.at("hardware").at("memoryMiB").to_number<int>(), 512);
  EXPECT_EQ(
      json::serialize(assignment.at("security")),
      R"({"type":"TrustedLaunch","secureBoot":true,"vtpm":true,"template":"MicrosoftUefiCertificateAuthority"})");
  EXPECT_EQ(assignment.at("image").at("disk").get_string(),
            (folder_ / "images/mini/1.0.0/disk.qcow2").string());
  EXPECT_EQ(json::serialize(vault_.placements().at(id)), R"({"hostId":"host-1","epoch":1})");
  const json::Object expectation = attest_.expectations().at(id);
  EXPECT_EQ(expectation.at("secureBoot").get_bool(), true);
  EXPECT_EQ(expectation.at("baseline").at("components").at(0).at("role").get_string(), "shim");
  const json::Value& measured = expectation.at("baseline").at("measuredBoot");
  EXPECT_TRUE(measured.at("immutable").get_bool());
  EXPECT_EQ(measured.at("files").at(0).at("file").get_string(), "/initrd.gz");
  EXPECT_EQ(measured.at("kernelCommandLine").get_string(), "/vmlinuz ro");
  EXPECT_THAT(host_.carried_out(id), ElementsAre("start"));
  const Reply got = call("GET", vm("vm1") + "?$expand=instanceView");
  EXPECT_EQ(got.body.at("properties").at("provisioningState").get_string(), "Succeeded");
  EXPECT_EQ(got.body.at("properties").at("instanceView").at("guestState").at("keyName").get_string(), id);
  EXPECT_THAT(states("vm1"), ElementsAre("ProvisioningState/succeeded", "PowerState/running"));
}

TEST_F(ControlPlaneTest, PathsAreComparedWithoutRegardToCase) {
  ASSERT_EQ(outcome(put_vm("Vm1")), "Succeeded");
  const Reply got = call("GET", "/SUBSCRIPTIONS/" + subscription_ +
                                    "/resourcegroups/RG1/providers/microsoft.compute/virtualmachines/vM1");
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body.at("name").get_string(), "Vm1");
}

TEST_F(ControlPlaneTest, ACreationThatFailsOnTheHostEndsFailedWithItsReasonAndCanBeTriedAgain) {
  host_.fail_creation("Exhausted", "no space left for the disk");
  EXPECT_EQ(outcome(put_vm("vm1")), "Failed Exhausted: no space left for the disk");
  EXPECT_EQ(call("GET", vm("vm1")).body.at("properties").at("provisioningState").get_string(), "Failed");
  const std::string id = vm_id("vm1");
  host_.behave();
  EXPECT_EQ(outcome(put_vm("vm1")), "Succeeded");
  EXPECT_EQ(vm_id("vm1"), id);
}

TEST_F(ControlPlaneTest, AStartThatTheHostRefusesEndsFailedWithTheUnchangedCode) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(outcome(call("POST", vm("vm1") + "/powerOff")), "Succeeded");
  host_.fail_power("GuestStateStale", "the guest state is older than generation 9");
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/start")),
            "Failed GuestStateStale: the guest state is older than generation 9");
  EXPECT_EQ(call("GET", vm("vm1")).body.at("properties").at("provisioningState").get_string(), "Succeeded");
  host_.behave();
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/start")), "Succeeded");
}

TEST_F(ControlPlaneTest, AVaultThatRefusesFailsTheCreationAndNothingReachesTheHost) {
  vault_.refuse(true);
  EXPECT_EQ(outcome(put_vm("vm1")), "Failed PermissionDenied: vaultd: the vault is sealed by its operator");
  EXPECT_EQ(host_.assignments(), 0U);
}

TEST_F(ControlPlaneTest, AVmIsMadeWhenTheHostComesBack) {
  host_.stop();
  const Reply created = put_vm("vm1");
  EXPECT_EQ(created.status, 201);
  host_.start();
  EXPECT_EQ(outcome(created), "Succeeded");
}

TEST_F(ControlPlaneTest, PowerOperationsAreCarriedOutOnceEachAndShownAsAzureDoes) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string id = vm_id("vm1");
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/powerOff?skipShutdown=false")), "Succeeded");
  EXPECT_THAT(states("vm1"), Contains("PowerState/stopped"));
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/start")), "Succeeded");
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/restart")), "Succeeded");
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/deallocate")), "Succeeded");
  EXPECT_THAT(states("vm1"), Contains("PowerState/deallocated"));
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/start")), "Succeeded");
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/powerOff?skipShutdown=true")), "Succeeded");
  EXPECT_THAT(host_.carried_out(id),
              ElementsAre("start", "stop", "start", "restart", "stop", "start", "kill"));
  EXPECT_THAT(states("vm1"), Contains("PowerState/stopped"));
}

TEST_F(ControlPlaneTest, WhatTheHostSaysLaterIsSeen) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  host_.power_off_by_guest(vm_id("vm1"));
  EXPECT_TRUE(until([&] { return states("vm1").back() == "PowerState/stopped"; }));
  host_.stop();
  EXPECT_TRUE(until([&] { return states("vm1").back() == "PowerState/unknown"; }));
  host_.start();
  EXPECT_TRUE(until([&] { return states("vm1").back() == "PowerState/stopped"; }));
}

TEST_F(ControlPlaneTest, ARepeatedRequestJoinsTheOperationThatIsGoingOn) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(outcome(call("POST", vm("vm1") + "/powerOff")), "Succeeded");
  host_.hold(true);
  const Reply first = call("POST", vm("vm1") + "/start");
  const Reply second = call("POST", vm("vm1") + "/start");
  EXPECT_EQ(first.header("Azure-AsyncOperation"), second.header("Azure-AsyncOperation"));
  const Reply other = call("POST", vm("vm1") + "/restart");
  EXPECT_EQ(other.status, 409);
  EXPECT_THAT(other.error(), HasSubstr("Another operation (start) is going on"));
  const Reply kill = call("POST", vm("vm1") + "/powerOff?skipShutdown=true");
  EXPECT_EQ(kill.status, 202);
  EXPECT_THAT(outcome(first), HasSubstr("OperationPreempted"));
  host_.hold(false);
  EXPECT_EQ(outcome(kill), "Succeeded");
}

TEST_F(ControlPlaneTest, DeletingRemovesEverythingEverywhere) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string id = vm_id("vm1");
  EXPECT_EQ(outcome(call("DELETE", vm("vm1"))), "Succeeded");
  EXPECT_EQ(call("GET", vm("vm1")).status, 404);
  EXPECT_EQ(call("DELETE", vm("vm1")).status, 204);
  EXPECT_TRUE(host_.vms().empty());
  EXPECT_TRUE(vault_.placements().empty());
  EXPECT_TRUE(vault_.deleted_keys().contains(id));
  EXPECT_TRUE(attest_.expectations().empty());
  crash();
  const auto store = store::open_sqlite_store(folder_ / "store.sqlite");
  ASSERT_TRUE(store);
  for (const char* prefix : {"vms", "vm-index", "placements"})
    EXPECT_TRUE((*store)->list_all(prefix).value().empty()) << prefix;
}

TEST_F(ControlPlaneTest, ADeletionWaitsForADaemonThatIsAway) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  attest_.stop();
  const Reply deleting = call("DELETE", vm("vm1"));
  ASSERT_TRUE(until([&] { return host_.vms().empty(); }));
  EXPECT_EQ(call("GET", vm("vm1")).body.at("properties").at("provisioningState").get_string(), "Deleting");
  attest_.start();
  EXPECT_EQ(outcome(deleting), "Succeeded");
}

TEST_F(ControlPlaneTest, DeletingAGroupDeletesItsVmsAndRefusesNewOnes) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(outcome(put_vm("vm2")), "Succeeded");
  vault_.stop();
  const Reply deleting = call("DELETE", group());
  ASSERT_EQ(deleting.status, 202);
  EXPECT_EQ(put_vm("vm3").status, 409);
  vault_.start();
  EXPECT_EQ(outcome(deleting), "Succeeded");
  EXPECT_EQ(call("GET", group()).status, 404);
  EXPECT_TRUE(host_.vms().empty());
}

TEST_F(ControlPlaneTest, AHostThatLostAVmIsNotAskedToMakeItAnew) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  host_.lose(vm_id("vm1"));
  EXPECT_THAT(outcome(call("POST", vm("vm1") + "/start")),
              HasSubstr("Failed GuestStateMissing: the host does not have the VM 'vm1' any more"));
  EXPECT_TRUE(host_.vms().empty());
}

TEST_F(ControlPlaneTest, GuestStateIsResetOnlyForAStoppedVmAndWithItsId) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  const std::string id = vm_id("vm1");
  EXPECT_EQ(call("POST", vm("vm1") + "/resetGuestState", json::Object{{"confirm", "vm1"}}).status, 400);
  EXPECT_EQ(call("POST", vm("vm1") + "/resetGuestState", json::Object{{"confirm", id}}).status, 409);
  ASSERT_EQ(outcome(call("POST", vm("vm1") + "/powerOff")), "Succeeded");
  EXPECT_EQ(outcome(call("POST", vm("vm1") + "/resetGuestState", json::Object{{"confirm", id}})),
            "Succeeded");
}

TEST_F(ControlPlaneTest, WrongRequestsAreRefusedAndChangeNothing) {
  make_image(folder_ / "images", "gen1", "Standard");
  make_image(folder_ / "images", "large", "TrustedLaunchSupported", 4096);
  EXPECT_THAT(put_vm("vm1", "nothing").error(), HasSubstr("'nothing' is not available"));
  EXPECT_THAT(put_vm("vm1", "gen1").error(),
              HasSubstr("Use of TrustedLaunch setting is not supported for the provided image 'gen1'"));
  EXPECT_THAT(put_vm("vm1", "large").error(), HasSubstr("needs at least 4096 MiB"));
  EXPECT_THAT(put_vm("-vm1-").error(), HasSubstr("InvalidResourceName"));
  EXPECT_EQ(call("PUT", vm("vm1"), json::Object{{"location", "local"}, {"sizes", 1}}).error().substr(0, 21),
            "InvalidRequestContent");
  EXPECT_EQ(call("PUT",
                 "/subscriptions/" + subscription_ +
                     "/resourceGroups/none/providers/Microsoft.Compute/virtualMachines/vm1",
                 json::Object())
                .error()
                .substr(0, 21),
            "ResourceGroupNotFound");
  EXPECT_EQ(call("GET", "/subscriptions/other/resourceGroups").error().substr(0, 20), "SubscriptionNotFound");
  EXPECT_EQ(call("GET", vm("vm1")).error().substr(0, 16), "ResourceNotFound");
  EXPECT_EQ(call("POST", vm("vm1") + "/powerOff?skipShutdown=maybe").status, 400);
  EXPECT_EQ(host_.assignments(), 0U);
  EXPECT_EQ(call("GET", group() + "/providers/Microsoft.Compute/virtualMachines")
                .body.at("value")
                .get_array()
                .size(),
            0U);
  EXPECT_EQ(put_vm("vm1", "gen1", json::Object{{"securityType", "Standard"}}).status, 201);
}

TEST_F(ControlPlaneTest, ListsWhatIsThere) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  EXPECT_EQ(call("GET", "/subscriptions/" + subscription_ +
                            "/providers/Microsoft.Compute/virtualMachines?$expand=instanceView")
                .body.at("value")
                .at(0)
                .at("name")
                .get_string(),
            "vm1");
  EXPECT_EQ(call("GET", "/subscriptions/" + subscription_ + "/resourceGroups")
                .body.at("value")
                .at(0)
                .at("name")
                .get_string(),
            "rg1");
  EXPECT_EQ(call("GET", "/subscriptions/" + subscription_ + "/providers/Bootseal.Gallery/images")
                .body.at("value")
                .at(0)
                .at("name")
                .get_string(),
            "mini");
  EXPECT_EQ(
      call("GET", "/subscriptions/" + subscription_ + "/providers/Bootseal.Gallery/images/mini:1.0.0").status,
      200);
  EXPECT_GT(
      call("GET", "/subscriptions/" + subscription_ + "/providers/Microsoft.Compute/locations/local/vmSizes")
          .body.at("value")
          .get_array()
          .size(),
      10U);
  EXPECT_EQ(call("HEAD", group()).status, 204);
  const Reply status = call("GET", "/bootseal/status");
  EXPECT_EQ(status.body.at("daemons").get_array().size(), 4U);
  EXPECT_EQ(status.body.at("missingProtections").at(0).get_string(), "none really");
}

TEST_F(ControlPlaneTest, StatusSaysWhichDaemonIsSilent) {
  vault_.stop();
  const Reply status = call("GET", "/bootseal/status");
  ASSERT_EQ(status.status, 200);
  for (const json::Value& daemon : status.body.at("daemons").get_array()) {
    EXPECT_EQ(daemon.at("answers").get_bool(), daemon.at("name").get_string() != "vaultd")
        << json::serialize(daemon);
  }
}

TEST_F(ControlPlaneTest, EveryAnswerNamesItselfAndEchoesTheClientsId) {
  const Reply reply = call("GET", "/subscriptions", nullptr, {{"x-ms-client-request-id", "abc"}});
  EXPECT_EQ(reply.header("x-ms-client-request-id"), "abc");
  EXPECT_EQ(reply.header("x-ms-correlation-request-id").size(), 36U);
}

TEST_F(ControlPlaneTest, AnApiVersionIsRequired) {
  net::Peer peer;
  peer.kind = net::Peer::Kind::certificate;
  peer.certificate_name = "admin";
  EXPECT_THAT(call_as(peer, "GET", "/subscriptions").error(), HasSubstr("MissingApiVersionParameter"));
  EXPECT_THAT(call_as(peer, "GET", "/subscriptions?api-version=soon").error(),
              HasSubstr("InvalidApiVersionParameter"));
}

TEST_F(ControlPlaneTest, NothingIsOpenWithoutACredential) {
  const net::Peer stranger;
  for (const char* path : {"/subscriptions?api-version=2022-12-01", "/bootseal/status", "/openapi.json",
                           "/nothing", "/v1/bootstrap"}) {
    for (const net::HeaderList& headers :
         std::vector<net::HeaderList>{{},
                                      {{"Authorization", "Bearer wrong"}},
                                      {{"Authorization", "Basic YWRtaW46YWRtaW4="}},
                                      {{"Authorization", "Bearer " + std::string(5000, 'x')}}}) {
      const Reply reply = call_as(stranger, "GET", path, headers);
      EXPECT_EQ(reply.status, 401) << path;
      EXPECT_THAT(reply.header("WWW-Authenticate"), HasSubstr("Bearer"));
    }
  }
}

TEST_F(ControlPlaneTest, BootstrapMakesATokenThatLetsInAndIsStoredAsItsHashOnly) {
  net::Peer owner;
  owner.kind = net::Peer::Kind::unix_process;
  const Reply made = call_as(owner, "POST", "/v1/bootstrap", {}, R"({"name":"admin","csrPem":"CSR"})");
  ASSERT_EQ(made.status, 200) << made.text;
  EXPECT_EQ(made.body.at("clientCertificatePem").get_string(), "CLIENT");
  EXPECT_EQ(made.body.at("caPem").get_string(), "CA");
  const std::string token(made.body.at("token").get_string());
  EXPECT_GE(token.size(), 43U);
  EXPECT_EQ(
      call_as({}, "GET", "/subscriptions?api-version=2022-12-01", {{"Authorization", "Bearer " + token}})
          .status,
      200);
  std::string other = token;
  other.back() = other.back() == 'A' ? 'B' : 'A';
  EXPECT_EQ(
      call_as({}, "GET", "/subscriptions?api-version=2022-12-01", {{"Authorization", "Bearer " + other}})
          .status,
      401);
  crash();
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    if (!file.is_regular_file()) continue;
    const auto content = read_file(file.path(), std::size_t{16} << 20);
    EXPECT_THAT(std::string(as_text(*content)), Not(HasSubstr(token))) << file.path();
  }
}

TEST_F(ControlPlaneTest, BootstrapIsForTheOwnerOfTheSocketOnly) {
  net::Peer admin;
  admin.kind = net::Peer::Kind::certificate;
  admin.certificate_name = "admin";
  EXPECT_EQ(call_as(admin, "POST", "/v1/bootstrap", {}, R"({"name":"admin"})").status, 404);
  net::Peer other;
  other.kind = net::Peer::Kind::unix_process;
  other.uid = 12345;
  EXPECT_EQ(call_as(other, "POST", "/v1/bootstrap", {}, R"({"name":"admin"})").status, 403);
}

TEST_F(ControlPlaneTest, TheLinkToTheSerialLogWorksWithoutATokenAndCannotBeBent) {
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  ASSERT_EQ(outcome(put_vm("vm2")), "Succeeded");
  const Reply answer = call("POST", vm("vm1") + "/retrieveBootDiagnosticsData");
  const std::string link(answer.body.at("serialConsoleLogBlobUri").get_string());
  const std::string target = link.substr(link.find("/subscriptions"));
  const Reply log = call_as({}, "GET", target);
  EXPECT_EQ(log.status, 200);
  EXPECT_EQ(log.text, "login: ");
  std::string other_vm = target;
  other_vm.replace(other_vm.find("vm1"), 3, "vm2");
  EXPECT_EQ(call_as({}, "GET", other_vm).status, 401);
  EXPECT_EQ(call_as({}, "DELETE", target).status, 401);
  EXPECT_EQ(call_as({}, "GET", target + "x").status, 401);
  EXPECT_EQ(call_as({}, "GET", vm("vm1") + "?expires=2099-01-01T00:00:00Z&signature=").status, 401);
}

}  // namespace
}  // namespace bootseal::api::testing

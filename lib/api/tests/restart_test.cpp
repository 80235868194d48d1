// Restarts of everything at every moment: work goes on where it stopped.
#include <gmock/gmock.h>

#include <csignal>

#include "bootseal/base/subprocess.h"
#include "bootseal/net/client.h"
#include "site.h"

namespace bootseal::api::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RestartTest : public SiteTest {};

TEST_F(RestartTest, ACreationGoesOnAfterARestartOfTheControlPlane) {
  start();
  host_.hold(true);
  const Reply created = put_vm("vm1");
  ASSERT_TRUE(host_.wait_for_assignments(1));
  crash();
  host_.hold(false);
  start();
  EXPECT_EQ(outcome(created), "Succeeded");
  EXPECT_THAT(host_.carried_out(vm_id("vm1")), ElementsAre("start"));
}

TEST_F(RestartTest, ARequestThatWasAcceptedBeforeAnyDaemonHeardOfItIsCarriedOut) {
  host_.stop();
  vault_.stop();
  start();
  const Reply created = put_vm("vm1");
  ASSERT_EQ(created.status, 201);
  crash();
  host_.start();
  vault_.start();
  start();
  EXPECT_EQ(outcome(created), "Succeeded");
}

TEST_F(RestartTest, ADeletionGoesOnAfterARestart) {
  start();
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  vault_.stop();
  const Reply deleting = call("DELETE", vm("vm1"));
  ASSERT_TRUE(until([&] { return host_.vms().empty(); }));
  crash();
  vault_.start();
  start();
  EXPECT_EQ(outcome(deleting), "Succeeded");
  EXPECT_TRUE(vault_.placements().empty());
}

TEST_F(RestartTest, AStoppedVmStaysStoppedThroughRestartsOfBothSides) {
  start();
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  host_.power_off_by_guest(vm_id("vm1"));
  const std::string id = vm_id("vm1");
  crash();
  host_.stop();
  host_.start();
  start();
  EXPECT_TRUE(until([&] { return host_.assignments() >= 2; }));
  EXPECT_TRUE(until([&] { return states("vm1").back() == "PowerState/stopped"; }));
  EXPECT_THAT(host_.carried_out(id), ElementsAre("start"));
}

TEST_F(RestartTest, AnOperationThatNobodyCanCarryOutEndsFailedInTime) {
  operation_limit_ = std::chrono::milliseconds(300);
  start();
  host_.stop();
  const std::string ended = outcome(put_vm("vm1"));
  EXPECT_THAT(ended, HasSubstr("Failed Timeout: The operation 'create' did not end in time"));
  EXPECT_THAT(ended, HasSubstr("hostd.sock"));
  EXPECT_EQ(call("GET", vm("vm1")).body.at("properties").at("provisioningState").get_string(), "Failed");
}

TEST_F(RestartTest, ADeletionThatRanOutOfTimeIsCarriedOutAllTheSame) {
  operation_limit_ = std::chrono::milliseconds(300);
  start();
  ASSERT_EQ(outcome(put_vm("vm1")), "Succeeded");
  host_.stop();
  EXPECT_THAT(outcome(call("DELETE", vm("vm1"))), HasSubstr("The deletion goes on"));
  host_.start();
  EXPECT_TRUE(until([&] { return call("GET", vm("vm1")).status == 404; }));
  EXPECT_TRUE(host_.vms().empty());
}

// -- SIGKILL of a whole process --

class KillTest : public SiteTest {
 protected:
  void spawn_child() {
    Command command;
    command.arguments = {BOOTSEAL_API_CHILD, folder_.string()};
    auto child = spawn(command);
    ASSERT_TRUE(child) << child.error().message;
    child_ = *child;
    net::ClientOptions options;
    options.unix_socket = folder_ / "controld.sock";
    options.base_url = "http://daemon";
    auto client = net::Client::create(std::move(options));
    ASSERT_TRUE(client);
    client_ = *std::move(client);
    ASSERT_TRUE(until(
        [&] { return client_->call_json("GET", "/subscriptions?api-version=2024-07-01").has_value(); }));
    subscription_ = client_->call_json("GET", "/subscriptions?api-version=2024-07-01")
                        .value()
                        .at("value")
                        .at(0)
                        .at("subscriptionId")
                        .get_string();
  }

  void kill_child() {
    ASSERT_TRUE(signal_process(child_, SIGKILL));
    ASSERT_TRUE(wait_for_end(child_, std::nullopt).value());
  }

  ~KillTest() override {
    if (child_.pid == 0 || !signal_process(child_, SIGKILL)) return;
    EXPECT_TRUE(wait_for_end(child_, std::nullopt));
  }

  json::Value ask(const std::string& method, const std::string& path, const json::Value& body = nullptr) {
    const auto answer = client_->call_json(method, path + "?api-version=2024-07-01", body);
    EXPECT_TRUE(answer) << path << ": " << answer.error().message;
    return answer ? *answer : json::Value();
  }

  ProcessIdentity child_{};
  std::unique_ptr<net::Client> client_;
};

TEST_F(KillTest, WhatWasAcknowledgedSurvivesSigkillAtAnyMoment) {
  spawn_child();
  ask("PUT", group(), json::Object{{"location", "local"}});
  const json::Object body{{"location", "local"},
                          {"properties",
                           {{"hardwareProfile", {{"vmSize", "Bootseal_Mini"}}},
                            {"storageProfile", {{"imageReference", {{"offer", "mini"}}}}}}}};
  constexpr int kRounds = 8;
  for (int round = 0; round < kRounds; ++round) {
    const std::string name = "vm" + std::to_string(round);
    const json::Value created = ask("PUT", vm(name), body);
    // Each round dies at another point of the work: before the host hears of it, while it works, after it has
    // answered.
    if (round % 2 == 1) {
      ASSERT_TRUE(host_.wait_for_assignments(static_cast<std::size_t>(round)));
    }
    kill_child();
    spawn_child();
    ASSERT_TRUE(until([&] {
      return ask("GET", vm(name)).at("properties").at("provisioningState").get_string() == "Succeeded";
    })) << name;
    const std::string id(ask("GET", vm(name)).at("properties").at("vmId").get_string());
    EXPECT_EQ(id, std::string(created.at("properties").at("vmId").get_string()));
    EXPECT_THAT(host_.carried_out(id), ElementsAre("start")) << name;
  }
  EXPECT_EQ(host_.vms().size(), static_cast<std::size_t>(kRounds));
}

}  // namespace
}  // namespace bootseal::api::testing

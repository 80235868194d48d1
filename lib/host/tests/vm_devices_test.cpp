// Disks, networks, scripts and Secure Boot of a VM while it lives.
#include <gmock/gmock.h>

#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

using testing::HasSubstr;

class DevicesTest : public VmTest {
 protected:
  DevicesTest() { EXPECT_TRUE(store_.recover()); }
  DiskId disk() {
    const DiskId id = DiskId::random();
    EXPECT_TRUE(store_.put(id, {1 << 20, DiskSource{}}));
    EXPECT_TRUE(store_.claim(test_assignment().vm, {id}));
    return id;
  }
  // The present assignment with these data disks.
  void put_disks(std::vector<DataDisk> disks) {
    Assignment assignment = vm_ ? vm_->record().assignment : test_assignment();
    assignment.disks = std::move(disks);
    put(assignment);
  }
  static netd::Interface nic(std::string_view id = "/n") {
    const json::Value value =
        json::parse(
            R"({"nicId":")" + std::string(id) +
            R"(","mac":"00:0d:3a:00:00:01","networkId":"/v","subnet":"10.0.0.0/24","address":"10.0.0.4",
        "gateway":"10.0.0.1","inbound":[],"outbound":[]})")
            .value();
    json::Reader reader = json::Reader::object(value, "nic").value();
    return netd::parse_interface(reader).value();
  }
  void put_network(std::vector<netd::Interface> interfaces) {
    Assignment assignment = vm_ ? vm_->record().assignment : test_assignment();
    assignment.network = std::move(interfaces);
    put(assignment);
  }
  [[nodiscard]] bool is_attached(std::size_t index = 0) const { return record().disks.at(index).attached; }
};

TEST_F(DevicesTest, DisksAreThereFromTheStart) {
  const DiskId id = disk();
  put_disks({{id, 3, false, Caching::none}});
  start();
  ASSERT_EQ(hypervisor_.config.disks.size(), 1U);
  EXPECT_EQ(hypervisor_.config.disks[0].lun, 3U);
  EXPECT_TRUE(is_attached());
  power_off_by_guest();
  EXPECT_FALSE(is_attached());
  EXPECT_EQ(store_.disks_of(test_assignment().vm).size(), 1U);
}

TEST_F(DevicesTest, DisksComeAndGoWhileTheVmRuns) {
  start();
  const DiskId id = disk();
  put_disks({{id, 0, false, Caching::none}});
  EXPECT_EQ(machine().attached, std::vector{id});
  EXPECT_TRUE(is_attached());
  put_disks({});
  EXPECT_TRUE(machine().attached.empty());
  EXPECT_TRUE(store_.disks_of(test_assignment().vm).empty());
}

TEST_F(DevicesTest, ADiskThatMovesToAnotherLunIsDetachedFirst) {
  start();
  const DiskId id = disk();
  put_disks({{id, 0, false, Caching::none}});
  put_disks({{id, 1, false, Caching::none}});
  EXPECT_EQ(script_.count("machine.detach"), 1);
  EXPECT_EQ(script_.count("machine.attach"), 2);
  EXPECT_EQ(record().disks.at(0).lun, 1U);
}

TEST_F(DevicesTest, ADiskThatCannotBeAttachedIsToldAndTriedAgain) {
  start();
  script_.fail_with("machine.attach", ErrorCode::conflict, 1);
  const DiskId id = disk();
  put_disks({{id, 0, false, Caching::none}});
  EXPECT_FALSE(is_attached());
  EXPECT_THAT(record().disks.at(0).problem, HasSubstr("told to fail"));
  executor_->advance(environment_.options.device_retry);
  EXPECT_TRUE(is_attached());
  EXPECT_EQ(record().power, PowerState::running);
}

TEST_F(DevicesTest, ADiskThatQemuStillHoldsIsNotGivenBack) {
  start();
  const DiskId id = disk();
  put_disks({{id, 0, false, Caching::none}});
  script_.fail_with("machine.detach", ErrorCode::conflict, 1);
  put_disks({});
  EXPECT_EQ(store_.disks_of(test_assignment().vm), std::vector{id});
  executor_->advance(environment_.options.device_retry);
  EXPECT_TRUE(store_.disks_of(test_assignment().vm).empty());
}

TEST_F(DevicesTest, AnAssignmentThatSaysNothingOfDisksKeepsThem) {
  const DiskId id = disk();
  put_disks({{id, 0, false, Caching::none}});
  start();
  Assignment silent = record().assignment;
  silent.disks.reset();
  put(silent);
  EXPECT_TRUE(is_attached());
  restart_hostd();
  EXPECT_EQ(record().assignment.data_disks().size(), 1U);
}

TEST_F(DevicesTest, AnOsDiskOfTheStoreTakesThePlaceOfTheOverlay) {
  Assignment assignment = test_assignment();
  assignment.os_disk = disk();
  assignment.image_disk.clear();
  put(assignment);
  start();
  EXPECT_EQ(script_.count("disks.overlay"), 0);
  EXPECT_EQ(hypervisor_.config.os_disk_id, assignment.os_disk);
  assignment = record().assignment;
  assignment.os_disk = disk();
  EXPECT_EQ(vm_->assign(assignment).error().code, ErrorCode::conflict);
  vm_->remove([](const Status& removed) { EXPECT_TRUE(removed); });
  executor_->run();
  EXPECT_TRUE(store_.disks_of(test_assignment().vm).size() <= 1);  // the one that was never taken
}

TEST_F(DevicesTest, TheNetworkIsThereBeforeTheVmIsSaidToRun) {
  put_network({nic()});
  start();
  EXPECT_EQ(hypervisor_.config.interfaces.size(), 1U);
  EXPECT_GE(script_.count("network.apply"), 1);
  EXPECT_TRUE(record().netd.has_value());
  EXPECT_EQ(record().network.at(0).nic_id, "/n");
  power_off_by_guest();
  EXPECT_EQ(script_.count("network.end"), 1);
  EXPECT_FALSE(record().netd.has_value());
  EXPECT_FALSE(networks_.processes[0]->alive());
}

TEST_F(DevicesTest, RulesChangeWhileTheVmRunsAndHardwareDoesNot) {
  put_network({nic()});
  start();
  netd::Interface changed = nic();
  changed.public_address = netd::Ipv4Address::parse("127.64.0.9").value();
  changed.address = netd::Ipv4Address::parse("10.0.0.9").value();
  put_network({changed});
  EXPECT_EQ(networks_.network->applied.at(0).public_address->to_string(), "127.64.0.9");
  EXPECT_EQ(networks_.network->applied.at(0).address.to_string(), "10.0.0.4");
  put_network({});
  const netd::Interface& shut = networks_.network->applied.at(0);
  EXPECT_FALSE(shut.public_address);
  EXPECT_FALSE(netd::outbound_allowed(shut, netd::Protocol::tcp, {0x08080808}, 443));
}

TEST_F(DevicesTest, ANetdThatEndedIsReplacedAndTheVmRunsOn) {
  put_network({nic()});
  start();
  networks_.processes[0]->end();
  networks_.network->ended();
  executor_->advance(environment_.options.first_retry);
  EXPECT_EQ(script_.count("network.start"), 2);
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(script_.count("machine.kill"), 0);
}

TEST_F(DevicesTest, ANetworkThatCannotBeMadeIsAProblemAndNotTheEnd) {
  script_.fail_with("network.start", ErrorCode::unavailable, 2);  // at the start, and just after it
  put_network({nic()});
  start();
  EXPECT_THAT(record().network.at(0).problems.at(0), HasSubstr("told to fail"));
  executor_->advance(environment_.options.device_retry);
  EXPECT_TRUE(record().network.at(0).problems.empty());
}

TEST_F(DevicesTest, APortThatIsTakenIsTriedAgain) {
  put_network({nic()});
  start();
  networks_.network->port_is_taken = true;
  put_network({nic()});
  const long before = script_.count("network.apply");
  executor_->advance(environment_.options.port_retry);
  EXPECT_EQ(script_.count("network.apply"), before + 1);
}

TEST_F(DevicesTest, ARestartedHostdFindsTheNetworkAgain) {
  put_network({nic()});
  start();
  restart_hostd();
  EXPECT_EQ(script_.count("network.attach"), 1);
  EXPECT_EQ(script_.count("network.start"), 1);
  EXPECT_EQ(record().network.at(0).mode, "user");
}

TEST_F(DevicesTest, SecureBootOfAStoppedVmIsSealedAtItsNextStart) {
  put(PowerAction::none, "");
  Assignment assignment = record().assignment;
  assignment.secure_boot = false;
  put(assignment);
  start();
  EXPECT_EQ(guests_.secure_boot, false);
  EXPECT_EQ(record().sealed_secure_boot, false);
  assignment = record().assignment;
  assignment.secure_boot = true;
  const Status running = vm_->assign(assignment);
  ASSERT_FALSE(running);
  EXPECT_THAT(running.error().message, HasSubstr("while it is stopped"));
  put(PowerAction::kill, "k");
  put(PowerAction::start, "start-2");
  EXPECT_EQ(record().power, PowerState::running);
  EXPECT_EQ(script_.count("guest.secure-boot"), 1);
}

class CommandTest : public DevicesTest {
 protected:
  void run(std::string script = "true") {
    vm_->run_command({std::move(script), "/bin/sh", {}, std::chrono::seconds(10)},
                     [this](Result<json::Value> result) { result_ = std::move(result); });
    executor_->run();
  }
  [[nodiscard]] ErrorCode error() const {
    return result_ && !*result_ ? result_->error().code : ErrorCode::internal;
  }
  std::optional<Result<json::Value>> result_;
};

TEST_F(CommandTest, AScriptIsAnsweredWithItsTimes) {
  start();
  hello();
  answer(json::Value(json::Object{}));  // the evidence
  run();
  EXPECT_EQ(machine().asked.at("script").as_string(), "true");
  answer(json::Value(json::Object{{"exitCode", 3}, {"stdout", "a"}, {"stderr", ""}}));
  ASSERT_TRUE(result_ && *result_);
  EXPECT_EQ((*result_)->at("exitCode").to_number<std::int64_t>(), 3);
  EXPECT_TRUE((*result_)->as_object().contains("startTime"));
}

TEST_F(CommandTest, NoScriptRunsWithoutAnAgent) {
  put(PowerAction::none, "");
  run();
  EXPECT_EQ(error(), ErrorCode::conflict);
  start();
  result_.reset();
  run();
  EXPECT_EQ(error(), ErrorCode::conflict);
}

TEST_F(CommandTest, AnAgentThatStartsAnewOrAGuestThatEndsLeavesNobodyWaiting) {
  start();
  hello();
  answer(json::Value(json::Object{}));
  run();
  EXPECT_FALSE(result_);
  hello();
  EXPECT_EQ(error(), ErrorCode::conflict);
  EXPECT_THAT(result_->error().message, HasSubstr("started anew"));
}

TEST_F(CommandTest, AnAnswerThatNoAgentGivesIsRefused) {
  for (const char* wrong :
       {R"({"exitCode":0,"stdout":1,"stderr":""})", R"({"exitCode":256,"stdout":"","stderr":""})", R"([])",
        R"({"exitCode":0,"stdout":""})"})
    EXPECT_EQ(parse_command_result(json::parse(wrong).value()).error().code, ErrorCode::corrupt) << wrong;
  json::Object large{{"exitCode", 0}, {"stdout", std::string(20000, 'x')}, {"stderr", ""}};
  EXPECT_FALSE(parse_command_result(large));
}

TEST(RunCommandJson, IsReadWithItsBounds) {
  const RunCommand command =
      parse_run_command(
          json::parse(R"({"script":"x","parameters":[{"name":"a_1","value":"v"}],"timeoutSeconds":7})")
              .value())
          .value();
  EXPECT_EQ(command.shell, "/bin/sh");
  EXPECT_EQ(command.timeout.count(), 7);
  for (const char* wrong :
       {R"({})", R"({"script":"x","shell":"sh"})", R"({"script":"x","timeoutSeconds":5401})",
        R"({"script":"x","timeoutSeconds":0})", R"({"script":"x","parameters":[{"name":"1a","value":"v"}]})",
        R"({"script":"x","parameters":[{"name":"a=b","value":"v"}]})", R"({"script":"x","surplus":1})"})
    EXPECT_EQ(parse_run_command(json::parse(wrong).value()).error().code, ErrorCode::invalid_argument)
        << wrong;
}

}  // namespace
}  // namespace bootseal::host::test

// QEMU and guestd that were taken over by their guest: however much they tell, hostd's memory, its records
// and its answers stay as they are.
#include <gmock/gmock.h>
#include <sys/socket.h>

#include "bootseal/host/guestd_services.h"
#include "qemu_machine.h"
#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

constexpr int kMany = 10'000;

TEST_F(VmTest, AFloodOfEventsLeavesOneTaskOnTheStrand) {
  start();
  const std::size_t before = executor_->waiting();
  for (int i = 0; i < kMany; ++i) {
    machine().events.reset();
    machine().events.serial();
    machine().events.shutdown("guest-reset", true);
    machine().events.agent_hello({"1.0", "6.1.0", "Debian", "boot"});
    guest().events.generation(Generation{static_cast<std::uint64_t>(100 + i)});
  }
  EXPECT_LE(executor_->waiting(), before + 1);
  executor_->run();
  EXPECT_EQ(record().generation.value, 100U + kMany - 1) << "the newest counts";
  EXPECT_EQ(outcome(), "Booted") << "the hello came after the last reset";
}

TEST_F(VmTest, AHelloOfTheBootBeforeAResetIsNotHeard) {
  start();
  machine().events.agent_hello({"1.0", "6.1.0", "Debian", "boot"});
  machine().events.reset();
  executor_->run();
  EXPECT_EQ(outcome(), "Booting");
}

TEST_F(VmTest, AMachineThatResetsForEverIsWrittenDownOnce) {
  start();
  hello();
  machine().events.reset();
  executor_->run();
  const int before = changes_;
  for (int i = 0; i < 100; ++i) {
    machine().events.reset();
    executor_->run();
  }
  EXPECT_EQ(changes_, before) << "no record is written, no reader of events is woken";
  EXPECT_EQ(outcome(), "Booting");
  EXPECT_EQ(verdict(), "Pending");
}

TEST_F(VmTest, WhatAMachineToldBeforeItsEndDoesNotHoldUpTheAnswerToItsKill) {
  start();
  hello();
  machine().events.reset();
  machine().events.shutdown("host-signal", false);
  put(PowerAction::kill, "kill-1");
  EXPECT_EQ(request_state(), RequestState::succeeded);
  EXPECT_EQ(stop_code(), "Killed");
  // The run is over: nothing that its machine still says is kept or heard.
  const std::size_t waiting = executor_->waiting();
  const int changes = changes_;
  for (int i = 0; i < kMany; ++i) machine().events.reset();
  EXPECT_EQ(executor_->waiting(), waiting);
  EXPECT_EQ(changes_, changes);
}

TEST_F(VmTest, AGuestThatResetsAfterEachDiagnosisIsDumpedOnceInAWhile) {
  start();
  for (int i = 0; i < 5; ++i) {
    executor_->advance(environment_.options.boot_deadline);
    ASSERT_EQ(outcome(), "DidNotBoot");
    machine().events.reset();
    executor_->run();
  }
  EXPECT_EQ(script_.count("machine.dump"), 1);
  EXPECT_EQ(record().power, PowerState::running);
}

// The far end of a Unix socket in a run folder.
class Flood : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = EventLoop::start().value();
    pool_ = std::make_unique<WorkerPool>(2);
  }
  // Sends the line until nobody takes it any more, at most so many bytes. Returns what was taken.
  std::size_t flood(int socket, const std::string& line) {
    std::string block;
    while (block.size() < 65536) block += line;
    const timeval limit{.tv_sec = 0, .tv_usec = 500'000};
    EXPECT_EQ(::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
    std::size_t sent = 0;
    ssize_t done = 0;
    while (sent < kFlood && (done = ::send(socket, block.data(), block.size(), MSG_NOSIGNAL)) > 0)
      sent += static_cast<std::size_t>(done);
    return sent;
  }
  static UniqueFd accept_one(const UniqueFd& listener) {
    return UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  static std::string hear(int socket) {
    std::string line;
    for (char letter = 0; ::recv(socket, &letter, 1, 0) == 1 && letter != '\n';) line += letter;
    return line;
  }
  static void say(int socket, std::string_view text) { ASSERT_TRUE(write_all(socket, as_bytes(text))); }

  static constexpr std::size_t kFlood = std::size_t{16} << 20;
  TemporaryFolder folder_;
  IdleProcess process_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<WorkerPool> pool_;
};

TEST_F(Flood, OfResetsIsNotReadForLong) {
  const UniqueFd qmp = listen_unix(folder_.path() / "qmp.sock").value();
  const UniqueFd serial = listen_unix(folder_.path() / "serial.sock").value();
  const UniqueFd agent = listen_unix(folder_.path() / "agent.sock").value();
  UniqueFd connection;
  std::thread qemu([&]() {
    connection = accept_one(qmp);
    say(connection.get(), "{\"QMP\":{}}\r\n");
    hear(connection.get());
    say(connection.get(), "{\"return\":{},\"id\":1}\r\n");
  });
  MachineConfig config;
  config.vm = VmId::random();
  config.uid = ::geteuid();
  config.run_folder = folder_.path();
  config.serial_log = folder_.path() / "serial.log";
  config.hypervisor_log = folder_.path() / "qemu.log";
  std::atomic<int> resets = 0;
  MachineEvents events;
  events.reset = [&]() { ++resets; };
  {
    const auto machine = QemuMachine::create(config, process_.identity(), std::move(events), *loop_, *pool_);
    const Status connected = machine->connect(std::chrono::seconds(20), true);
    qemu.join();
    ASSERT_TRUE(connected) << connected.error().describe();
    EXPECT_LT(flood(connection.get(), "{\"event\":\"RESET\",\"data\":{\"guest\":true}}\r\n"), kFlood / 4);
    EXPECT_GT(resets, 0);
  }
  loop_->run([]() {});
}

TEST_F(Flood, OfGenerationsIsNotReadForLong) {
  const UniqueFd management = listen_unix(folder_.path() / "guestd.sock").value();
  GuestServiceConfig config;
  config.vm = VmId::random();
  config.name = "web";
  config.run_folder = folder_.path();
  UniqueFd connection;
  std::thread guestd([&]() {
    connection = accept_one(management);
    hear(connection.get());
    say(connection.get(),
        "{\"id\":1,\"result\":{\"vmId\":\"" + config.vm.to_string() + "\",\"generation\":7}}\n");
  });
  const auto services = create_guestd_services(
      {Paths{folder_.path(), folder_.path(), "/usr/bin", "/usr/share"}, {}, std::chrono::seconds(20)},
      *loop_);
  std::atomic<int> told = 0;
  GuestServiceEvents events;
  events.generation = [&](Generation) { ++told; };
  {
    const auto service = services->attach(config, process_.identity(), std::move(events));
    guestd.join();
    ASSERT_TRUE(service) << service.error().describe();
    EXPECT_LT(flood(connection.get(), "{\"event\":\"generation\",\"generation\":9}\n"), kFlood / 4);
    EXPECT_GT(told, 0);
  }
  loop_->run([]() {});
}

}  // namespace
}  // namespace bootseal::host::test

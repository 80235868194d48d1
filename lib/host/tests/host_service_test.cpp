// Many VMs, events, and the HTTP interface over them.
#include "bootseal/host/host_service.h"

#include <gmock/gmock.h>

#include <thread>

#include "bootseal/host/api.h"
#include "bootseal/net/client.h"
#include "bootseal/sandbox/sandbox.h"
#include "vm_fixture.h"

namespace bootseal::host::test {
namespace {

class HostTest : public VmTest {
 protected:
  HostTest() { renew(); }
  void renew() {
    service_ =
        std::make_unique<HostService>(HostParts{paths_,
                                                hypervisor_,
                                                guests_,
                                                vault_,
                                                attestor_,
                                                disks_,
                                                store_,
                                                networks_,
                                                clock_,
                                                {},
                                                [this]() { return executor_; },
                                                [this](Task task) { executor_->post(std::move(task)); }});
    ASSERT_TRUE(service_->recover());
    router_ = make_router(*service_, {4711});
    executor_->run();
  }
  net::Response call(std::string method, std::string path, std::string body = "", uid_t uid = 4711) {
    net::Request request;
    request.method = std::move(method);
    const std::size_t mark = path.find('?');
    request.target = path;
    request.path = path.substr(0, mark);
    for (std::string query = mark == std::string::npos ? "" : path.substr(mark + 1); !query.empty();) {
      const std::string part = query.substr(0, query.find('&'));
      query.erase(0, part.size() + 1);
      request.query.emplace(part.substr(0, part.find('=')), part.substr(part.find('=') + 1));
    }
    request.body = std::move(body);
    request.peer.kind = net::Peer::Kind::unix_process;
    request.peer.uid = uid;
    net::Response response = router_.handle(request);
    executor_->run();
    return response;
  }
  json::Value get(const std::string& path) { return json::parse(call("GET", path).body).value(); }
  static std::string body(const Assignment& assignment) { return json::serialize(to_json(assignment)); }
  static Assignment numbered(int number) {
    Assignment assignment = test_assignment();
    assignment.vm = VmId::random();
    assignment.name = "vm" + std::to_string(number);
    return assignment;
  }
  static std::string path_of(const Assignment& assignment) { return "/v1/vms/" + assignment.vm.to_string(); }

  std::unique_ptr<HostService> service_;
  net::Router router_;
};

TEST_F(HostTest, OnlyTheControlPlaneRootAndThisUserMayCall) {
  EXPECT_EQ(call("GET", "/v1/host").status, 200);
  EXPECT_EQ(call("GET", "/v1/host", "", 0).status, 200);
  EXPECT_EQ(call("GET", "/v1/host", "", 4712).status, 403);
  EXPECT_EQ(call("GET", "/v1/nowhere", "", 4712).status, 403) << "a stranger learns nothing";
  EXPECT_EQ(call("GET", "/v1/nowhere").status, 404);
  EXPECT_EQ(call("POST", "/v1/host").status, 405);
}

TEST_F(HostTest, VmsAreAssignedListedAndShown) {
  const Assignment one = numbered(1), two = numbered(2);
  EXPECT_EQ(call("PUT", path_of(one), body(one)).status, 200);
  EXPECT_EQ(call("PUT", path_of(two), body(two)).status, 200);
  EXPECT_EQ(get("/v1/vms").at("value").as_array().size(), 2U);
  EXPECT_EQ(get(path_of(one)).at("name").as_string(), "vm1");
  EXPECT_EQ(get(path_of(one)).at("provisioning").at("state").as_string(), "Succeeded");
  EXPECT_NE(service_->find(one.vm).value()->record().slot, service_->find(two.vm).value()->record().slot)
      << "each has a uid of its own";
}

TEST_F(HostTest, BadRequestsAreRefusedWithAReason) {
  const Assignment one = numbered(1);
  EXPECT_EQ(call("PUT", path_of(one), "{").status, 400);
  EXPECT_EQ(call("PUT", "/v1/vms/nonsense", body(one)).status, 400);
  EXPECT_EQ(call("PUT", path_of(numbered(2)), body(one)).status, 400) << "path and body differ";
  EXPECT_EQ(call("GET", path_of(one)).status, 404);
  EXPECT_EQ(call("GET", "/v1/events?since=x").status, 400);
  EXPECT_EQ(call("POST", path_of(one) + "/attest").status, 404);
  EXPECT_TRUE(get("/v1/vms").at("value").as_array().empty());
}

TEST_F(HostTest, EventsTellWhatChangedAndWhatIsGone) {
  const Assignment one = numbered(1), two = numbered(2);
  call("PUT", path_of(one), body(one));
  call("PUT", path_of(two), body(two));
  const json::Value everything = get("/v1/events?since=0");
  EXPECT_EQ(everything.at("vms").as_array().size(), 2U);
  const std::string revision = std::to_string(everything.at("revision").to_number<std::int64_t>());
  EXPECT_TRUE(get("/v1/events?since=" + revision + "&waitSeconds=0").at("vms").as_array().empty());
  Assignment bigger = one;
  bigger.memory_mib = 2048;
  call("PUT", path_of(one), body(bigger));
  const json::Value changed = get("/v1/events?since=" + revision);
  ASSERT_EQ(changed.at("vms").as_array().size(), 1U);
  EXPECT_EQ(changed.at("vms").at(0).at("name").as_string(), "vm1");
  std::optional<Status> removed;
  service_->find(two.vm).value()->remove([&](Status status) { removed = std::move(status); });
  executor_->run();
  ASSERT_TRUE(removed && *removed);
  EXPECT_THAT(get("/v1/events?since=" + revision).at("gone").as_array(),
              testing::ElementsAre(json::Value(two.vm.to_string())));
}

TEST_F(HostTest, ALongPollEndsWithTheChange) {
  const json::Value before = service_->events(0, std::chrono::milliseconds(0));
  const auto revision = before.at("revision").to_number<std::uint64_t>();
  std::thread change([&]() { static_cast<void>(service_->assign(numbered(1))); });
  const json::Value after = service_->events(revision, std::chrono::minutes(5));
  change.join();
  EXPECT_EQ(after.at("vms").as_array().size(), 1U);
}

TEST_F(HostTest, AReaderFromBeforeARestartGetsEverything) {
  const Assignment one = numbered(1);
  call("PUT", path_of(one), body(one));
  const std::string revision =
      std::to_string(get("/v1/events?since=0").at("revision").to_number<std::int64_t>());
  clock_.advance(std::chrono::seconds(5));
  renew();
  EXPECT_EQ(get("/v1/events?since=" + revision + "&waitSeconds=60").at("vms").as_array().size(), 1U);
  EXPECT_EQ(get("/v1/events?since=9000000000000000000&waitSeconds=60").at("vms").as_array().size(), 1U)
      << "from a clock that was ahead";
}

TEST_F(HostTest, KnownVmsComeBackAndADamagedRecordIsLeftAlone) {
  const Assignment one = numbered(1), two = numbered(2);
  call("PUT", path_of(one), body(one));
  call("PUT", path_of(two), body(two));
  const auto damaged = vm_paths(paths_.home, paths_.run, two.vm).record();
  ASSERT_TRUE(replace_file(damaged, as_bytes("{")));
  renew();
  EXPECT_EQ(get("/v1/vms").at("value").as_array().size(), 1U);
  EXPECT_TRUE(std::filesystem::exists(vm_paths(paths_.home, paths_.run, two.vm).guest_state()));
}

TEST_F(HostTest, RemovingAnUnknownVmRemovesItsFilesAndLeavesItsKeyToWhoKnowsTheEpoch) {
  const VmId lost = VmId::random();
  vault_.generations[lost] = Generation{3};
  const VmPaths left = vm_paths(paths_.home, paths_.run, lost);
  ASSERT_TRUE(make_folder(left.disk_folder));
  EXPECT_EQ(call("DELETE", "/v1/vms/" + lost.to_string()).status, 204);
  EXPECT_FALSE(std::filesystem::exists(left.disk_folder));
  EXPECT_TRUE(vault_.generations.contains(lost)) << "it may be placed elsewhere by now";
}

TEST_F(HostTest, ANewGuestStateNeedsTheIdAgain) {
  const Assignment one = numbered(1);
  call("PUT", path_of(one), body(one));
  EXPECT_EQ(call("POST", path_of(one) + "/reset-guest-state", R"({"confirm":"yes"})").status, 400);
  EXPECT_EQ(call("POST", path_of(one) + "/reset-guest-state", R"({})").status, 400);
  EXPECT_EQ(guests_.made, 1);
}

TEST_F(HostTest, TheConsolesLogIsText) {
  Assignment one = numbered(1);
  one.action = PowerAction::start;
  one.request_id = "r";
  call("PUT", path_of(one), body(one));
  machine().say("Welcome\r\n<script>");
  const net::Response response = call("GET", path_of(one) + "/console/log");
  EXPECT_EQ(response.body, "Welcome\r\n<script>");
  EXPECT_THAT(response.headers, testing::Contains(std::pair<std::string, std::string>(
                                    "Content-Type", "text/plain; charset=utf-8")));
}

// Reads from the console until it has said so many bytes.
std::string hear(net::WebSocket& socket, std::size_t bytes) {
  std::string heard;
  while (heard.size() < bytes) {
    const Result<std::string> message = socket.receive(std::chrono::seconds(20));
    if (!message) {
      ADD_FAILURE() << message.error().describe() << " after " << heard.size() << " bytes";
      break;
    }
    heard += *message;
  }
  return heard;
}

TEST_F(HostTest, TheConsoleFirstRepeatsWhatItSaidAndThenGoesOn) {
  Assignment one = numbered(1);
  one.action = PowerAction::start;
  one.request_id = "r";
  call("PUT", path_of(one), body(one));
  std::string said;
  const auto say = [&](const std::string& text) {
    machine().log.append(text);
    said += text;
  };
  for (int i = 0; i < 20'000; ++i) say("line " + std::to_string(i) + "\r\n");
  net::ServerOptions options;
  options.unix_listener = listen_unix(folder_.path() / "hostd.sock").value();
  auto server = net::Server::start(std::move(options), make_router(*service_, {})).value();
  const auto client = net::Client::create({.unix_socket = folder_.path() / "hostd.sock"}).value();
  auto socket = client->open_websocket(path_of(one) + "/console").value();
  EXPECT_EQ(hear(*socket, said.size()), said);
  const std::size_t before = said.size();
  for (int i = 0; i < 100; ++i) say("more " + std::to_string(i) + "\r\n");
  EXPECT_EQ(hear(*socket, said.size() - before), said.substr(before)) << "nothing is lost or comes twice";
  socket->close();
  server->stop(std::chrono::seconds(5));
}

// A process with a VM's id in its command line, that waits for its end.
class Named {
 public:
  Named(const VmId& vm, const std::string& name, bool copy = true) {
    const std::filesystem::path program = folder_.path() / name;
    if (copy) {
      std::filesystem::copy_file("/bin/bash", program);
    } else {
      std::filesystem::create_symlink("/bin/bash", program);
    }
    Command command;
    command.arguments = {program.native(), "-c", "read", "--vm-id", vm.to_string()};
    command.fds = {{0, input_.read_end.get()}};
    identity_ = spawn(command).value();
  }
  ~Named() { end(); }
  Named(const Named&) = delete;
  Named& operator=(const Named&) = delete;
  void end() {
    static_cast<void>(signal_process(identity_, SIGKILL));
    static_cast<void>(wait_for_end(identity_, std::nullopt));
  }
  [[nodiscard]] const ProcessIdentity& identity() const { return identity_; }

 private:
  TemporaryFolder folder_;
  Pipe input_ = make_pipe().value();
  ProcessIdentity identity_;
};

TEST(VmProcesses, AreFoundByTheIdInTheirCommandLineAndTellTheirUid) {
  const VmId vm = VmId::random();
  Named process(vm, "guestd-stand-in");
  const auto processes = find_vm_processes();
  ASSERT_TRUE(processes.contains(vm));
  ASSERT_EQ(processes.at(vm).size(), 1U);
  EXPECT_EQ(processes.at(vm)[0].identity, process.identity());
  EXPECT_EQ(processes.at(vm)[0].uid, ::geteuid());
  process.end();
  EXPECT_FALSE(find_vm_processes().contains(vm));
}

TEST(VmProcesses, AreNotThoseThatOnlyCallThemselvesSo) {
  const VmId vm = VmId::random();
  const Named process(vm, "guestd-stand-in", false);
  EXPECT_FALSE(find_vm_processes().contains(vm)) << "its program is bash, whatever its command line says";
}

TEST_F(HostTest, AProcessOfAnotherUidIsNotEndedForWhatItsCommandLineSays) {
  const Assignment one = numbered(1);
  call("PUT", path_of(one), body(one));
  const Named stranger(one.vm, "guestd-stand-in");
  renew();
  const uid_t uid_of_vm = sandbox::vm_uid(service_->find(one.vm).value()->record().slot);
  EXPECT_EQ(is_running(stranger.identity()), uid_of_vm != ::geteuid());
}

}  // namespace
}  // namespace bootseal::host::test

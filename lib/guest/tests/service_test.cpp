// guestd behind its sockets, with the clients that others wrote: swtpm, libnbd, qemu-io, QEMU.
#include <gmock/gmock.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <set>

#include "support.h"

namespace bootseal::guest {
namespace {

using namespace std::chrono_literals;
using test::ControlClient;
using test::kNvIndex;
using test::kNvNoLockout;
using test::MemoryStore;
using test::RunningService;
using test::Socket;
using testing::HasSubstr;

const tpm::PcrSelection kPcr16{tpm::Algorithm::sha256, 1U << 16};

std::string run(std::vector<std::string> arguments) {
  auto output = run_checked({.arguments = std::move(arguments)}, {}, 120s);
  EXPECT_TRUE(output) << output.error().describe();
  return output.value_or("");
}

std::string nbd_uri(const RunningService& service) {
  return "nbd+unix:///variables?socket=" + service.nbd().native();
}

void announce(Socket& management, std::string_view direction) {
  const json::Value answer = manage(management, "migration", {{"direction", direction}});
  EXPECT_EQ(json::serialize(answer.at("result").at("direction")), '"' + std::string(direction) + '"');
}

// swtpm of the distribution, with an empty state.
class Swtpm {
 public:
  Swtpm() {
    Command command;
    command.arguments = {"swtpm",
                         "socket",
                         "--tpm2",
                         "--tpmstate",
                         "dir=" + (folder_ / "").native(),
                         "--ctrl",
                         "type=unixio,path=" + control().native()};
    process_ = spawn(command).value();
  }
  ~Swtpm() {
    static_cast<void>(signal_process(process_, 9));
    static_cast<void>(wait_for_end(process_, 10s));
  }
  [[nodiscard]] std::filesystem::path control() const { return folder_ / "ctrl.sock"; }

 private:
  test::TemporaryFolder folder_;
  ProcessIdentity process_;
};

TEST(Service, LetsATpmLiveThroughMigrationFromSwtpmAndBack) {
  Bytes permanent;
  Bytes volatile_state;
  Bytes pcr;
  {
    Swtpm swtpm;
    ControlClient control(swtpm.control());
    Socket data = control.open_data_channel();
    test::SocketTransport transport(data);
    tpm::Client client(transport);
    ASSERT_EQ(control.init(), 0U);
    ASSERT_TRUE(client.startup());
    ASSERT_TRUE(client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout, 5));
    ASSERT_TRUE(client.nv_write(kNvIndex, kNvIndex, as_bytes("swtpm")));
    ASSERT_TRUE(client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, std::byte{1})));
    pcr = client.pcr_read(kPcr16).value().at(0).digest;
    permanent = control.get_state(1);
    volatile_state = control.get_state(2);
    EXPECT_TRUE(control.get_state(3).empty());
  }
  auto store = test::new_store();
  {
    RunningService service(store);
    Socket management = Socket::connect(service.management());
    ControlClient control(service.tpm());
    Socket data = control.open_data_channel();
    test::SocketTransport transport(data);
    tpm::Client client(transport);
    EXPECT_EQ(control.set_state(1, permanent), 8U) << "nobody has announced it";
    announce(management, "incoming");
    ASSERT_EQ(control.set_state(1, permanent), 0U);
    ASSERT_EQ(control.set_state(2, volatile_state), 0U);
    ASSERT_EQ(control.call(0x02, {1}, 1).at(0), 0U);
    EXPECT_EQ(client.pcr_read(kPcr16).value().at(0).digest, pcr) << "the same boot goes on";
    EXPECT_EQ(as_text(client.nv_read(kNvIndex, kNvIndex).value()), "swtpm");
    ASSERT_TRUE(client.nv_write(kNvIndex, kNvIndex, as_bytes("guest")));
    ASSERT_TRUE(client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, std::byte{2})));
    pcr = client.pcr_read(kPcr16).value().at(0).digest;
    EXPECT_TRUE(control.get_state(1).empty()) << "nobody has announced it";
    announce(management, "outgoing");
    permanent = control.get_state(1);
    volatile_state = control.get_state(2);
    EXPECT_TRUE(control.get_state(3).empty());
    EXPECT_TRUE(service.stop());
  }
  Swtpm swtpm;
  ControlClient control(swtpm.control());
  Socket data = control.open_data_channel();
  test::SocketTransport transport(data);
  tpm::Client client(transport);
  ASSERT_EQ(control.set_state(1, permanent), 0U);
  ASSERT_EQ(control.set_state(2, volatile_state), 0U);
  ASSERT_EQ(control.call(0x02, {1}, 1).at(0), 0U);
  EXPECT_EQ(client.pcr_read(kPcr16).value().at(0).digest, pcr);
  EXPECT_EQ(as_text(client.nv_read(kNvIndex, kNvIndex).value()), "guest");
}

TEST(Service, TakesOneStateForEachIncomingMigrationThatIsAnnounced) {
  auto store = test::new_store();
  RunningService service(store);
  Socket management = Socket::connect(service.management());
  const auto direction = [&] {
    return std::string(manage(management, "status").at("result").at("migration").as_string());
  };
  ControlClient control(service.tpm());
  ASSERT_EQ(control.init(), 0U);
  EXPECT_EQ(direction(), "none");
  EXPECT_EQ(manage(management, "migration", {{"direction", "incoming"}}).at("error").at("code").as_string(),
            "Conflict")
      << "the TPM is running";
  announce(management, "outgoing");
  const Bytes earlier = control.get_state(1);
  ASSERT_FALSE(earlier.empty());
  ASSERT_EQ(control.call(0x0E, {}, 1).at(0), 0U);
  EXPECT_EQ(control.set_state(1, earlier), 8U) << "an outgoing migration lets nothing in";
  announce(management, "incoming");
  ASSERT_EQ(control.set_state(1, earlier), 0U);
  ASSERT_EQ(control.init(), 0U);
  EXPECT_EQ(direction(), "none") << "the announcement is used up";
  EXPECT_TRUE(control.get_state(1).empty());
  ASSERT_EQ(control.call(0x0E, {}, 1).at(0), 0U);
  EXPECT_EQ(control.set_state(1, earlier), 8U);
  announce(management, "incoming");
  announce(management, "none");
  EXPECT_EQ(control.set_state(1, earlier), 8U);
  for (const json::Object& wrong :
       {json::Object{}, json::Object{{"direction", "sideways"}}, json::Object{{"direction", 1}},
        json::Object{{"direction", "none"}, {"force", true}}}) {
    EXPECT_EQ(manage(management, "migration", wrong).at("error").at("code").as_string(), "InvalidArgument");
  }
}

TEST(Service, AnswersSwtpmIoctl) {
  RunningService service(test::new_store());
  Socket management = Socket::connect(service.management());
  announce(management, "outgoing");
  const std::string socket = service.tpm().native();
  EXPECT_THAT(run({"swtpm_ioctl", "--unix", socket, "-c"}), HasSubstr("0x17fff"));
  run({"swtpm_ioctl", "--unix", socket, "-i"});
  EXPECT_THAT(run({"swtpm_ioctl", "--unix", socket, "-e"}), HasSubstr("0"));
  run({"swtpm_ioctl", "--unix", socket, "-l", "3"});
  run({"swtpm_ioctl", "--unix", socket, "-h", "data to hash"});
  EXPECT_THAT(run({"swtpm_ioctl", "--unix", socket, "-g"}), HasSubstr("0x1"));
  EXPECT_THAT(run({"swtpm_ioctl", "--unix", socket, "--info", "1"}), HasSubstr("TPMSpecification"));
  run({"swtpm_ioctl", "--unix", socket, "-b", "4096"});
  run({"swtpm_ioctl", "--unix", socket, "-C"});
  run({"swtpm_ioctl", "--unix", socket, "-v"});
  const std::string saved = service.tpm().native() + ".saved";
  run({"swtpm_ioctl", "--unix", socket, "--save", "permanent", saved});
  run({"swtpm_ioctl", "--unix", socket, "--stop"});
  announce(management, "incoming");
  run({"swtpm_ioctl", "--unix", socket, "--load", "permanent", saved});
  run({"swtpm_ioctl", "--unix", socket, "-i"});
  run({"swtpm_ioctl", "--unix", socket, "-s"});
}

TEST(Service, ReplacesADeadDataChannelAndRefusesToReplaceALiveOne) {
  RunningService service(test::new_store());
  ControlClient control(service.tpm());
  Socket data = control.open_data_channel();
  EXPECT_ANY_THROW(control.open_data_channel());
  data.close();
  Socket next = control.open_data_channel();
  test::SocketTransport transport(next);
  tpm::Client client(transport);
  ASSERT_EQ(control.init(), 0U);
  EXPECT_TRUE(client.startup());
}

TEST(Service, TurnsASecondControlClientAwayAtOnce) {
  RunningService service(test::new_store());
  ControlClient first(service.tpm());
  EXPECT_EQ(first.call(0x01, {}, 2).at(1), 0x17FFFU);
  Socket second = Socket::connect(service.tpm());
  EXPECT_TRUE(second.at_end());
  EXPECT_EQ(first.init(), 0U);
}

TEST(Service, GoesOnWhenQemuIsReplaced) {
  RunningService service(test::new_store());
  for (int i = 0; i < 5; ++i) {
    ControlClient control(service.tpm());
    Socket data = control.open_data_channel();
    test::SocketTransport transport(data);
    tpm::Client client(transport);
    ASSERT_EQ(control.init(), 0U);
    ASSERT_TRUE(client.startup());
    if (i % 2 == 0) {
      EXPECT_EQ(control.call(0x03, {}, 1).at(0), 0U);
    }
  }
}

TEST(Service, ShutsTheTpmDownOrderlyWhenQemuDies) {
  auto store = test::new_store();
  RunningService service(store);
  {
    ControlClient control(service.tpm());
    Socket data = control.open_data_channel();
    test::SocketTransport transport(data);
    tpm::Client client(transport);
    ASSERT_EQ(control.init(), 0U);
    ASSERT_TRUE(client.startup());
    ASSERT_TRUE(client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32)));
  }
  Socket management = Socket::connect(service.management());
  // TPM2_Startup and the TPM2_Shutdown of guestd both commit.
  for (std::uint64_t commits = 0; commits < 2;) {
    commits = manage(management, "status").at("result").at("tpm").at("commits").to_number<std::uint64_t>();
  }
  EXPECT_TRUE(service.stop());
}

TEST(Service, ServesTheVariablesToLibnbd) {
  auto store = test::new_store();
  RunningService service(store);
  const std::string uri = nbd_uri(service);
  EXPECT_EQ(run({"nbdinfo", "--size", uri}), "540672\n");
  EXPECT_EQ(run({"nbdinfo", "--size", "nbd+unix:///?socket=" + service.nbd().native()}), "540672\n");
  const std::string list = run({"nbdinfo", "--list", "--json", uri});
  EXPECT_THAT(list, HasSubstr("\"export-name\": \"variables\""));
  EXPECT_THAT(list, HasSubstr("\"can_fua\": true"));
  EXPECT_THAT(list, HasSubstr("\"can_flush\": true"));
  EXPECT_THAT(list, HasSubstr("\"is_read_only\": false"));

  test::TemporaryFolder folder;
  Bytes content(kVariableFlashSize);
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 7 + i / 4096);
  ASSERT_TRUE(replace_file(folder / "in", content));
  run({"nbdcopy", "--flush", (folder / "in").native(), uri});
  run({"nbdcopy", uri, (folder / "out").native()});
  EXPECT_EQ(read_file(folder / "out", 1 << 20).value(), content);
  EXPECT_TRUE(service.stop());
  EXPECT_EQ(store->blobs[Blob::uefi_flash], content);
}

TEST(Service, ServesTheVariablesToQemuIo) {
  auto store = test::new_store();
  RunningService service(store);
  const std::string output = run({"qemu-io",
                                  "-f",
                                  "raw",
                                  "-c",
                                  "write -P 0x5a 512 1024",
                                  "-c",
                                  "read -P 0x5a 512 1024",
                                  "-c",
                                  "read -P 0xff 0 512",
                                  "-c",
                                  "write -f -P 0x11 540160 512",
                                  "-c",
                                  "flush",
                                  "-c",
                                  "write -z 4096 4096",
                                  "-c",
                                  "read -P 0 4096 4096",
                                  "-c",
                                  "aio_write -P 1 8192 512",
                                  "-c",
                                  "aio_write -P 2 8704 512",
                                  "-c",
                                  "aio_flush",
                                  "-c",
                                  "read -P 2 8704 512",
                                  nbd_uri(service)});
  EXPECT_THAT(output, testing::Not(HasSubstr("error")));
  EXPECT_THAT(output, testing::Not(HasSubstr("failed")));
  EXPECT_TRUE(service.stop());
  EXPECT_EQ(store->blobs[Blob::uefi_flash][540671], std::byte{0x11});
  EXPECT_EQ(store->blobs[Blob::uefi_flash][8704], std::byte{2});
}

TEST(Service, CommitsQuietWritesByItselfAndWhenTheirClientGoes) {
  auto store = test::new_store();
  RunningService service(store);
  const auto commits = [&](Socket& management) {
    return manage(management, "status").at("result").at("variables").at("commits").to_number<std::uint64_t>();
  };
  Socket management = Socket::connect(service.management());
  run({"qemu-io", "-f", "raw", "-c", "write -P 1 0 512", nbd_uri(service)});
  EXPECT_GE(commits(management), 1U);
  Socket raw = Socket::connect(service.nbd());
  ByteWriter handshake;  // EXPORT_NAME, then a WRITE of one byte, and no FLUSH
  handshake.be32(3)
      .text("IHAVEOPT")
      .be32(1)
      .be32(0)
      .be32(0x25609513)
      .be16(0)
      .be16(1)
      .be64(9)
      .be64(77)
      .be32(1)
      .u8(42);
  raw.receive(18);
  raw.send(handshake.view());
  raw.receive(10 + 16);
  const std::uint64_t before = commits(management);
  while (commits(management) == before && before < 2) std::this_thread::yield();
  EXPECT_TRUE(service.stop());
  EXPECT_EQ(store->blobs[Blob::uefi_flash][77], std::byte{42});
}

TEST(Service, TellsItsStatusAndRefusesUnknownMethodsAndMalformedLines) {
  auto store = test::new_store();
  store->blobs[Blob::description] = to_bytes(R"({"formatVersion":1})");
  RunningService service(store);
  Socket management = Socket::connect(service.management());
  const json::Value status = manage(management, "status").at("result");
  EXPECT_EQ(status.at("generation").to_number<std::uint64_t>(), store->generation);
  EXPECT_EQ(status.at("tpm").at("running").as_bool(), false);
  EXPECT_EQ(json::serialize(status.at("description")), R"({"formatVersion":1})");
  EXPECT_EQ(manage(management, "format-disk").at("error").at("code").as_string(), "NotFound");
  management.send(as_bytes("this is no JSON\n"));
  EXPECT_THAT(management.receive_line(), HasSubstr("InvalidArgument"));
  EXPECT_EQ(manage(management, "status").at("id").to_number<int>(), 7);
}

TEST(Service, AnnouncesGenerationsAtMostFiveTimesASecondAndAlwaysTheLast) {
  auto store = test::new_store();
  RunningService service(store);
  Socket management = Socket::connect(service.management());
  manage(management, "status");
  ControlClient control(service.tpm());
  Socket data = control.open_data_channel();
  test::SocketTransport transport(data);
  tpm::Client client(transport);
  ASSERT_EQ(control.init(), 0U);
  ASSERT_TRUE(client.startup());
  ASSERT_TRUE(client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout, 8));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 1; i <= 300; ++i) {
    Bytes value(8);
    store_be64(value, 0, static_cast<std::uint64_t>(i));
    ASSERT_TRUE(client.nv_write(kNvIndex, kNvIndex, value));
  }
  management.send(as_bytes("{\"id\":1,\"method\":\"shutdown\"}\n"));
  const auto took = std::chrono::steady_clock::now() - start;
  std::vector<std::uint64_t> generations;
  std::uint64_t at_shutdown = 0;
  while (!management.at_end()) {
    const json::Value line = json::parse(management.receive_line()).value();
    if (const auto* result = line.as_object().if_contains("result")) {
      at_shutdown = result->at("generation").to_number<std::uint64_t>();
    } else {
      generations.push_back(line.at("generation").to_number<std::uint64_t>());
    }
  }
  EXPECT_TRUE(service.wait());
  ASSERT_FALSE(generations.empty());
  EXPECT_TRUE(std::is_sorted(generations.begin(), generations.end()));
  EXPECT_EQ(generations.back(), store->generation);
  EXPECT_EQ(at_shutdown, store->generation);
  EXPECT_LE(generations.size(), 3U + static_cast<std::size_t>(took / 200ms));
}

TEST(Service, ReportsAFailedCommitAndEndsWithIt) {
  auto store = test::new_store();
  RunningService service(store);
  Socket management = Socket::connect(service.management());
  manage(management, "status");
  ControlClient control(service.tpm());
  Socket data = control.open_data_channel();
  test::SocketTransport transport(data);
  tpm::Client client(transport);
  ASSERT_EQ(control.init(), 0U);
  ASSERT_TRUE(client.startup());
  store->commit_error = ErrorCode::exhausted;
  EXPECT_FALSE(client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout, 8));
  std::string line;
  do {
    line = management.receive_line();
  } while (line.find("tpm.failed") == std::string::npos);
  EXPECT_THAT(line, HasSubstr("committing was made to fail"));
  EXPECT_EQ(manage(management, "shutdown").at("error").at("code").as_string(), "Exhausted");
  EXPECT_EQ(service.wait().error().code, ErrorCode::exhausted);
}

TEST(Service, DropsAManagementClientThatDoesNotRead) {
  RunningService service(test::new_store());
  Socket lazy = Socket::connect(service.management());
  bool dropped = false;
  try {
    const std::string requests = [] {
      std::string text;
      for (int i = 0; i < 1000; ++i) text += "{\"id\":1,\"method\":\"status\"}\n";
      return text;
    }();
    for (int i = 0; i < 100; ++i) lazy.send(as_bytes(requests));
  } catch (const std::exception&) {
    dropped = true;
  }
  EXPECT_TRUE(dropped);
  Socket other = Socket::connect(service.management());
  EXPECT_EQ(manage(other, "status").at("id").to_number<int>(), 7);
}

TEST(Service, DropsAManagementClientWithAnEndlessLine) {
  RunningService service(test::new_store());
  Socket client = Socket::connect(service.management());
  const Bytes piece(1 << 16, std::byte{'x'});
  EXPECT_ANY_THROW({
    for (int i = 0; i < 64; ++i) client.send(piece);
  });
}

TEST(Service, RefusesAStateThatWasNotManufacturedToTheEnd) {
  for (const Blob missing : {Blob::tpm_permanent, Blob::uefi_flash}) {
    auto store = test::new_store();
    store->blobs.erase(missing);
    const std::uint64_t generation = store->generation;
    RunningService service(store);
    EXPECT_EQ(service.wait().error().code, ErrorCode::guest_state_missing);
    EXPECT_EQ(store->generation, generation) << "nothing was written";
  }
}

}  // namespace
}  // namespace bootseal::guest

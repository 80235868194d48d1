// bootseal-swtpm beside swtpm on the same channels: the same answers, and state that goes from one to the
// other.
#include <gmock/gmock.h>
#include <sys/socket.h>

#include <csignal>

#include "vtpm_process.h"

namespace bootseal::swtpm {
namespace {

using guest::test::control_request;
using test::kNvIndex;
using test::kNvNoLockout;
using test::kOurs;
using test::kTheirs;
using test::run_program;
using test::Session;
using test::TemporaryFolder;
using test::VtpmProcess;
using testing::HasSubstr;

const tpm::PcrSelection kPcr16{tpm::Algorithm::sha256, 1U << 16};
const Bytes kStartup = from_hex("80010000000c000001440000").value();
const Bytes kReadPcr16 = from_hex("8001000000140000017e00000001000b03000001").value();

// The answers to one script of requests, on both channels.
std::vector<std::string> answers_of(const std::string& program) {
  const TemporaryFolder folder;
  VtpmProcess process(program, folder / "", {"--locality", "reject-locality-4"});
  test::ControlClient control(process.control());
  test::Socket data = control.open_data_channel();
  std::vector<std::string> answers;
  const auto ask = [&](test::Socket& socket, ByteSpan request, std::size_t size) {
    socket.send(request);
    answers.push_back(to_hex(request) + " -> " + to_hex(socket.receive(size)));
  };
  const auto control_answer = [&](ByteSpan request, std::size_t size = 4) {
    ask(control.socket(), request, size);
  };
  const Bytes probe = from_hex("80010000000a00000181").value();
  ask(data, probe, 10);                            // QEMU's, before INIT
  control_answer(control_request(0x06));           // HASH_START
  control_answer(control_request(0x0A));           // STORE_VOLATILE
  control_answer(control_request(0x09));           // CANCEL
  control_answer(control_request(0x0F), 8);        // GET_CONFIG
  control_answer(control_request(0x0E));           // STOP
  control_answer(control_request(0x11, {0}), 16);  // SET_BUFFERSIZE, query
  control_answer(control_request(0x11, {0xF80}), 16);
  control_answer(control_request(0x02, {0}));            // INIT
  control_answer(control_request(0x04), 8);              // GET_TPMESTABLISHED
  control_answer(from_hex("0000000500000000").value());  // SET_LOCALITY, as QEMU sends it
  ask(data, kStartup, 10);
  ask(data, kStartup, 10);  // again: TPM_RC_INITIALIZE
  ask(data, kReadPcr16, 62);
  control_answer(from_hex("0000000504000000").value());  // rejected by the option
  control_answer(from_hex("0000000505000000").value());  // no such locality
  control_answer(control_request(0x0D, {0, 1, 0}));      // SET_STATEBLOB while it runs
  for (int i = 0; i < 3; ++i) {                          // one reset of QEMU
    control_answer(control_request(0x0E));
    control_answer(control_request(0x11, {0}), 16);
    control_answer(control_request(0x0E));
    control_answer(control_request(0x11, {0xF80}), 16);
    control_answer(control_request(0x02, {0}));
  }
  ask(data, kStartup, 10);
  // TCG's framing: locality 0, and the same command.
  ByteWriter framed;
  framed.be32(8).u8(0).be32(static_cast<std::uint32_t>(kReadPcr16.size())).bytes(kReadPcr16);
  ask(data, framed.view(), 4 + 62 + 4);
  // Not its update counter: a TPM that was shut down before its reset goes on counting.
  answers.back().replace(answers.back().find(" -> ") + 4 + 2 * (4 + 10), 8, "(counter)");
  ask(data, from_hex("80010000000b2000100001").value(), 10);  // TPM2_CC_SET_LOCALITY, not allowed here
  control_answer(control_request(0x06));
  Bytes hash = control_request(0x07, {3});
  append(hash, as_bytes("abc"));
  control_answer(hash);
  control_answer(control_request(0x08));
  control_answer(control_request(0x04), 8);
  control_answer(from_hex("0000000b03000000").value());  // RESET_TPMESTABLISHED
  control_answer(control_request(0x04), 8);
  control_answer(control_request(0x0C, {1, 3, 0}), 16);  // no such state
  control_answer(control_request(0xFF));
  control_answer(control_request(0x03));  // SHUTDOWN
  answers.push_back("exit " + std::to_string(process.wait()));
  return answers;
}

TEST(Protocol, AnswersAsSwtpmDoes) {
  const std::vector<std::string> ours = answers_of(kOurs);
  const std::vector<std::string> theirs = answers_of(kTheirs);
  ASSERT_EQ(ours.size(), theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(ours[i], theirs[i]) << "request " << i;
}

TEST(Protocol, OffersWhatSwtpmOffersAndALockOfTheStorage) {
  const TemporaryFolder folder;
  VtpmProcess process(kOurs, folder / "");
  test::ControlClient control(process.control());
  const auto capabilities = control.call(0x01, {}, 2);
  EXPECT_EQ(capabilities.at(0), 0U);
  EXPECT_EQ(capabilities.at(1), 0x1FFFFU);
  EXPECT_EQ(control.call(0x13, {300}, 1).at(0), 0U);
}

struct Keys {
  std::string file;
  std::string migration;
};

// Both ways, in the clear and with each kind of key, as swtpm_ioctl and QEMU move it.
TEST(Protocol, MovesARunningTpmToSwtpmAndBack) {
  const TemporaryFolder folder;
  test::write_text(folder / "k16", "00112233445566778899aabbccddeeff");
  test::write_text(folder / "k32", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
  test::write_text(folder / "other", "ffeeddccbbaa99887766554433221100");
  // (swtpm fails with two keys of different lengths: it keeps one vector for both.)
  const std::string other = "file=" + (folder / "other").native();
  const std::string small = "file=" + (folder / "k16").native();
  const std::string large = "file=" + (folder / "k32").native() + ",mode=aes-256-cbc";
  int number = 0;
  for (const Keys& keys : {Keys{"", ""}, Keys{small, ""}, Keys{"", large}, Keys{small, other}}) {
    std::vector<std::string> options;
    if (!keys.file.empty()) options.insert(options.end(), {"--key", keys.file});
    if (!keys.migration.empty()) options.insert(options.end(), {"--migration-key", keys.migration});
    Bytes permanent;
    Bytes volatile_state;
    Bytes pcr;
    std::string content;
    for (const std::string& program : {kTheirs, kOurs, kTheirs, kOurs}) {
      const auto state = folder / ("state" + std::to_string(number++));
      std::filesystem::create_directory(state);
      VtpmProcess process(program, state, options);
      Session session(process);
      if (permanent.empty()) {
        ASSERT_EQ(session.control.init(), 0U);
        ASSERT_TRUE(session.client.startup());
        ASSERT_TRUE(session.client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout, 5));
      } else {
        ASSERT_EQ(session.control.set_state(1, permanent), 0U) << process.output();
        ASSERT_EQ(session.control.set_state(2, volatile_state), 0U) << process.output();
        ASSERT_EQ(session.control.call(0x02, {1}, 1).at(0), 0U) << process.output();
        EXPECT_EQ(session.client.pcr_read(kPcr16).value().at(0).digest, pcr) << "the same boot goes on";
        EXPECT_EQ(as_text(session.client.nv_read(kNvIndex, kNvIndex).value()), content);
      }
      content = "in-" + std::to_string(number % 10) + "!";
      ASSERT_TRUE(session.client.nv_write(kNvIndex, kNvIndex, as_bytes(content)));
      ASSERT_TRUE(session.client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, std::byte{1})));
      pcr = session.client.pcr_read(kPcr16).value().at(0).digest;
      permanent = session.control.get_state(1);
      volatile_state = session.control.get_state(2);
      ASSERT_FALSE(permanent.empty());
      const bool sealed = !keys.migration.empty();
      EXPECT_EQ(as_text(permanent).find(content) == std::string_view::npos, sealed);
      if (sealed && number % 4 == 0) {
        const auto plain = folder / "plain";
        std::filesystem::create_directories(plain);
        VtpmProcess without(kOurs, plain);
        test::ControlClient control(without.control());
        EXPECT_EQ(control.set_state(1, permanent), 0x0DU) << "the migration key is missing";
      }
    }
  }
}

TEST(Protocol, EncryptsWithTheFileKeyWhenNotAskedToDecrypt) {
  const TemporaryFolder folder;
  test::write_text(folder / "key", "00112233445566778899aabbccddeeff");
  const std::vector<std::string> key{"--key", "file=" + (folder / "key").native()};
  std::filesystem::create_directory(folder / "ours");
  std::filesystem::create_directory(folder / "theirs");
  VtpmProcess ours(kOurs, folder / "ours", key);
  test::ControlClient control(ours.control());
  ASSERT_EQ(control.init(), 0U);
  const auto head = control.call(0x0C, {0, 1, 0}, 4);
  ASSERT_EQ(head.at(0), 0U);
  EXPECT_EQ(head.at(1), 2U) << "PTM_STATE_FLAG_ENCRYPTED";
  const Bytes blob = control.socket().receive(head.at(3));
  VtpmProcess theirs(kTheirs, folder / "theirs", key);
  test::ControlClient other(theirs.control());
  EXPECT_EQ(other.set_state(1, blob), 0U) << "swtpm opens it with the same key";
  EXPECT_EQ(other.init(), 0U);
}

TEST(Protocol, IsDrivenBySwtpmIoctlAndSwtpmBios) {
  const TemporaryFolder folder;
  const std::string data = (folder / "data").native();
  VtpmProcess process(kOurs, folder / "", {"--server", "type=unixio,path=" + data + ",mode=0600,disconnect"});
  static_cast<void>(test::Socket::connect(process.control()));  // it listens
  const std::string control = process.control().native();
  const auto ioctl = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"swtpm_ioctl", "--unix", control});
    const CommandOutput output = run_program(arguments);
    EXPECT_EQ(output.exit_code, 0) << testing::PrintToString(arguments) << output.standard_error;
    return output.standard_output;
  };
  EXPECT_THAT(ioctl({"-c"}), HasSubstr("0x1ffff"));
  ioctl({"-i"});
  const CommandOutput bios = run_program({"swtpm_bios", "--tpm2", "-n", "--unix", data});
  EXPECT_EQ(bios.exit_code, 0) << bios.standard_error;
  EXPECT_THAT(ioctl({"--info", "1"}), HasSubstr("TPMSpecification"));
  EXPECT_THAT(ioctl({"-g"}), HasSubstr("0x0"));
  ioctl({"--save", "permanent", (folder / "saved").native()});
  ioctl({"--stop"});
  ioctl({"--load", "permanent", (folder / "saved").native()});
  ioctl({"-i"});
  ioctl({"-s"});
  EXPECT_EQ(process.wait(), 0);
}

TEST(Protocol, EndsWithItsDataClientWhenToldTo) {
  const TemporaryFolder folder;
  VtpmProcess process(kOurs, folder / "", {"--terminate", "--pid", "file=" + (folder / "pid").native()});
  {
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U);
    EXPECT_GT(std::stoi(std::string(as_text(read_file(folder / "pid", 64).value()))), 1);
  }
  EXPECT_EQ(process.wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(folder / "pid"));
  EXPECT_FALSE(std::filesystem::exists(process.control()));
}

TEST(Protocol, StartsInTheBackgroundAndIsReadyWhenTheStarterEnds) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "state");
  const auto control_path = folder / "control";
  const CommandOutput started =
      run_program({kOurs, "socket", "--tpm2", "--daemon", "--tpmstate", "dir=" + (folder / "state").native(),
                   "--ctrl", "type=unixio,path=" + control_path.native() + ",mode=0600", "--pid",
                   "file=" + (folder / "pid").native()});
  ASSERT_EQ(started.exit_code, 0) << started.standard_error;
  test::ControlClient control(control_path);
  EXPECT_EQ(control.init(), 0U);
  EXPECT_EQ(control.call(0x03, {}, 1).at(0), 0U);
  EXPECT_TRUE(control.socket().at_end());
}

TEST(CommandLine, HasSwtpmsExitCodesAndPrintsItsCapabilities) {
  const TemporaryFolder folder;
  const auto both = [&](std::vector<std::string> arguments) {
    std::vector<std::string> theirs = arguments;
    arguments.insert(arguments.begin(), kOurs);
    theirs.insert(theirs.begin(), kTheirs);
    const CommandOutput ours = run_program(arguments);
    EXPECT_EQ(ours.exit_code, run_program(theirs).exit_code) << testing::PrintToString(arguments);
    return ours;
  };
  EXPECT_EQ(both({"--version"}).exit_code, 0);
  EXPECT_EQ(both({"socket", "--help"}).exit_code, 0);
  EXPECT_EQ(both({}).exit_code, 1);
  EXPECT_EQ(both({"foo"}).exit_code, 1);
  EXPECT_EQ(both({"socket", "--nonsense"}).exit_code, 1);
  EXPECT_EQ(both({"socket", "--tpm2", "left over"}).exit_code, 1);
  EXPECT_EQ(both({"socket", "--tpm2", "--ctrl", "type=pigeon"}).exit_code, 1);
  EXPECT_EQ(both({"socket", "--tpm2", "--ctrl", "type=unixio"}).exit_code, 1);
  EXPECT_EQ(both({"socket", "--tpm2", "-p", "70000"}).exit_code, 1);
  EXPECT_EQ(both({"socket", "--tpm2", "--key", "file=/does/not/exist"}).exit_code, 1);
  EXPECT_EQ(both({"socket", "--tpm2", "--print-states"}).exit_code, 1);
  EXPECT_EQ(both({"socket", "--tpm2", "--flags", "not-need-init"}).exit_code, 1) << "no place for the state";
  EXPECT_EQ(both({"socket", "--tpm2", "--print-states", "--tpmstate", "dir=" + (folder / "").native()})
                .standard_output,
            R"({ "type": "swtpm", "states": [] })");
  const std::string capabilities = both({"socket", "--tpm2", "--print-capabilities"}).standard_output;
  EXPECT_EQ(capabilities, run_program({kTheirs, "socket", "--tpm2", "--print-capabilities"}).standard_output);
  EXPECT_EQ(run_program({kOurs, "socket", "--print-capabilities"}).standard_output,
            run_program({kTheirs, "socket", "--print-capabilities"}).standard_output);
  EXPECT_THAT(run_program({kOurs, "cuse"}).standard_error, HasSubstr("CUSE"));
}

}  // namespace
}  // namespace bootseal::swtpm

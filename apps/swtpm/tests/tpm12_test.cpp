// bootseal-swtpm as a TPM 1.2, beside swtpm: the same answers, the same TPM from the setup, state that is
// kept, moves and is taken over. Ordinals and structures: TCG TPM Main Specification, Parts 2 and 3.
#include <gmock/gmock.h>

#include <csignal>

#include "bootseal/crypto/digest.h"
#include "vtpm_process.h"

namespace bootseal::swtpm {
namespace {

using guest::test::control_request;
using test::kOurs;
using test::kOurSetup;
using test::kTheirs;
using test::run_program;
using test::Session;
using test::TemporaryFolder;
using test::TpmVersion;
using test::VtpmProcess;
using testing::HasSubstr;

constexpr std::uint32_t kExtend = 0x14, kPcrRead = 0x15, kGetCapability = 0x65, kReadPubEk = 0x7C,
                        kSaveState = 0x98, kStartup = 0x99, kNvDefine = 0xCC, kNvWrite = 0xCD, kNvRead = 0xCF;
constexpr std::string_view kDone = "00000000 ";
constexpr std::string_view kPcr10 = "0000000a";

VtpmProcess start(const std::string& program, const std::filesystem::path& folder,
                  std::vector<std::string> more = {}) {
  return VtpmProcess(program, folder, std::move(more), TpmVersion::v1_2);
}

std::filesystem::path make_folder_in(const TemporaryFolder& parent, std::string_view name) {
  std::filesystem::create_directory(parent / name);
  return parent / name;
}

std::string extend(Session& session, char digit) {
  return session.tpm12(kExtend, std::string(kPcr10) + std::string(40, digit));
}

// INIT's result, and the program's words.
std::pair<std::uint32_t, std::string> open_state(const std::filesystem::path& folder, TpmVersion version) {
  VtpmProcess process(kOurs, folder, {}, version);
  test::ControlClient control(process.control());
  const std::uint32_t result = control.init();
  process.kill(SIGTERM);
  return {result, process.output()};
}

// The answers to one script of requests, on both channels.
std::vector<std::string> answers_of(const std::string& program) {
  const TemporaryFolder folder;
  VtpmProcess process = start(program, folder / "", {"--locality", "reject-locality-4"});
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
  const auto tpm = [&](std::string_view hex, std::size_t size) { ask(data, from_hex(hex).value(), size); };
  control_answer(control_request(0x01), 8);        // GET_CAPABILITY
  tpm("80010000000a00000181", 10);                 // QEMU's probe, before INIT
  tpm("00c10000000c000000990001", 10);             // TPM_Startup, before INIT
  control_answer(control_request(0x0A));           // STORE_VOLATILE
  control_answer(control_request(0x0F), 8);        // GET_CONFIG
  control_answer(control_request(0x11, {0}), 16);  // SET_BUFFERSIZE, query
  control_answer(control_request(0x02, {0}));      // INIT
  control_answer(control_request(0x04), 8);        // GET_TPMESTABLISHED
  tpm("00c10000000e000000150000000a", 10);         // TPM_PCRRead before TPM_Startup
  tpm("00c10000000c000000990001", 10);
  tpm("00c10000000c000000990001", 10);  // again
  tpm("00c10000000e000000150000000a", 30);
  tpm("00c1000000160000006500000005000000040000010a", 18);  // TPM_GetCapability: PCRs
  tpm("00c1000000160000006500000006000000040000010a", 10);  // of a version that takes no parameter
  control_answer(control_request(0x0C, {1, 3, 0}), 16);     // nothing is saved
  tpm("00c10000000a00000098", 10);                          // TPM_SaveState
  tpm("00c10000000b2000100001", 10);                        // TPM_ORD_SET_LOCALITY, not allowed here
  control_answer(control_request(0x06));                    // the hash channel
  Bytes hash = control_request(0x07, {3});
  append(hash, as_bytes("abc"));
  control_answer(hash);
  control_answer(control_request(0x08));
  tpm("00c10000000e0000001500000011", 30);  // PCR 17
  control_answer(control_request(0x04), 8);
  control_answer(from_hex("0000000b03000000").value());  // RESET_TPMESTABLISHED
  control_answer(control_request(0x04), 8);
  control_answer(control_request(0x0E));
  control_answer(control_request(0x02, {0}));
  tpm("00c10000000c000000990002", 10);  // TPM_Startup(STATE), and nothing is saved
  tpm("00c10000000c000000990001", 10);
  control_answer(control_request(0x03));
  answers.push_back("exit " + std::to_string(process.wait()));
  return answers;
}

TEST(Tpm12, AnswersAsSwtpmDoes) {
  const std::vector<std::string> ours = answers_of(kOurs);
  const std::vector<std::string> theirs = answers_of(kTheirs);
  ASSERT_EQ(ours.size(), theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(ours[i], theirs[i]) << "request " << i;
}

TEST(Tpm12, StartsAsItsFlagsSay) {
  const TemporaryFolder folder;
  for (const std::string flag : {"startup-clear", "startup-deactivated"}) {
    VtpmProcess process = start(kOurs, make_folder_in(folder, flag), {"--flags", flag});
    Session session(process);
    EXPECT_EQ(session.tpm12(kStartup, "0001").substr(0, 8), "00000026")
        << "it is started: TPM_INVALID_POSTINIT";
  }
}

// Killed without a word after its answer.
TEST(Tpm12, KeepsWhatItSavedThroughAKillAndUsesItOnce) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  std::string value;
  {
    VtpmProcess process = start(kOurs, state);
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U) << process.output();
    ASSERT_EQ(session.tpm12(kStartup, "0001"), kDone);
    ASSERT_THAT(extend(session, '7'), HasSubstr(std::string(kDone)));
    value = session.tpm12(kPcrRead, kPcr10);
    ASSERT_EQ(session.tpm12(kSaveState), kDone);
    process.kill(SIGKILL);
  }
  const auto states = [&] {
    return run_program({kOurs, "socket", "--print-states", "--tpmstate", "dir=" + state.native()})
        .standard_output;
  };
  EXPECT_THAT(states(), HasSubstr("savestate"));
  {
    VtpmProcess process = start(kOurs, state);
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U) << process.output();
    ASSERT_EQ(session.tpm12(kStartup, "0002"), kDone);
    EXPECT_EQ(session.tpm12(kPcrRead, kPcr10), value);
    process.kill(SIGKILL);
  }
  EXPECT_THAT(states(), testing::Not(HasSubstr("savestate")));
  VtpmProcess process = start(kOurs, state);
  Session session(process);
  ASSERT_EQ(session.control.init(), 0U);
  EXPECT_EQ(session.tpm12(kStartup, "0002"), "0000001c ") << "TPM_FAILEDSELFTEST";
}

TEST(Tpm12, RefusesADirectoryAndAFileOfATpm20AndTheOtherWayRound) {
  const TemporaryFolder folder;
  for (const TpmVersion made : {TpmVersion::v1_2, TpmVersion::v2_0}) {
    const bool tpm12 = made == TpmVersion::v1_2;
    const TpmVersion asked = tpm12 ? TpmVersion::v2_0 : TpmVersion::v1_2;
    const auto state = make_folder_in(folder, tpm12 ? "one" : "two");
    ASSERT_EQ(open_state(state, made).first, 0U);
    const auto [result, words] = open_state(state, asked);
    EXPECT_EQ(result, tpm12 ? 0x101U : 9U);
    EXPECT_THAT(words,
                HasSubstr("there is a TPM " + std::string(tpm12 ? "1.2" : "2.0") + " in this directory"));
    EXPECT_THAT(words, HasSubstr(tpm12 ? "start it without --tpm2" : "start it with --tpm2"));
    EXPECT_FALSE(std::filesystem::exists(state / (tpm12 ? "tpm2-00.permall" : "tpm-00.permall")));
    EXPECT_EQ(open_state(state, made).first, 0U) << "it is as it was";
    std::vector<std::string> setup{kOurSetup, "--tpm-state", state.native()};
    if (tpm12) setup.emplace_back("--tpm2");
    const CommandOutput refused = run_program(setup);
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.standard_error, HasSubstr("Found existing state of a TPM"));

    const std::vector<std::string> file{"--tpmstate",
                                        "backend-uri=file://" + (folder / (tpm12 ? "f1" : "f2")).native()};
    {
      VtpmProcess process(kOurs, folder / "", file, made);
      ASSERT_EQ(test::ControlClient(process.control()).init(), 0U) << process.output();
    }
    VtpmProcess process(kOurs, folder / "", file, asked);
    EXPECT_NE(test::ControlClient(process.control()).init(), 0U);
    EXPECT_THAT(process.output(), HasSubstr(tpm12 ? "it holds a TPM 1.2, and this is a TPM 2.0"
                                                  : "it holds a TPM 2.0, and this is a TPM 1.2"));
  }
}

TEST(Tpm12, SaysWhyAKeyDoesNotFit) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  const auto key = [&](std::string_view name, std::string_view hex, std::string_view mode) {
    test::write_text(folder / name, hex);
    return std::vector<std::string>{"--key",
                                    "file=" + (folder / name).native() + ",mode=" + std::string(mode)};
  };
  const std::string hex(32, 'a');
  const auto init = [&](const std::vector<std::string>& options) {
    VtpmProcess process = start(kOurs, state, options);
    return test::ControlClient(process.control()).init();
  };
  EXPECT_EQ(init(key("right", hex, "aes-cbc")), 0U);
  EXPECT_EQ(init(key("wrong", std::string(32, 'b'), "aes-cbc")), 0x21U) << "TPM_DECRYPT_ERROR";
  EXPECT_EQ(init(key("large", hex + hex, "aes-256-cbc")), 0x28U) << "TPM_BAD_KEY_PROPERTY";
  EXPECT_EQ(init({}), 0x28U);
}

// TPM_NV_DefineSpace of 5 bytes, for everybody.
std::string nv_public(std::string_view index) {
  const std::string access =
      "0003000000"
      "1f" +
      std::string(40, '0');
  return "0018" + std::string(index) + access + access +
         "0017"
         "00000001"
         "000000"
         "00000005" +
         std::string(40, '0');
}

TEST(Tpm12, MovesARunningTpmToSwtpmAndBackWithWhatItSaved) {
  const TemporaryFolder folder;
  test::write_text(folder / "key", "00112233445566778899aabbccddeeff");
  const std::string key = "file=" + (folder / "key").native();
  int number = 0;
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{}, {"--migration-key", key}, {"--key", key}}) {
    Bytes states[3];
    std::string pcr;
    for (const std::string& program : {kTheirs, kOurs, kTheirs, kOurs}) {
      VtpmProcess process =
          start(program, make_folder_in(folder, "state" + std::to_string(number++)), options);
      Session session(process);
      if (states[0].empty()) {
        ASSERT_EQ(session.control.init(), 0U);
        ASSERT_EQ(session.tpm12(kStartup, "0001"), kDone);
        ASSERT_EQ(session.tpm12(kNvDefine, nv_public("00011101")), kDone);
        ASSERT_EQ(session.tpm12(kNvWrite,
                                "00011101"
                                "00000000"
                                "00000005"
                                "6261736963"),
                  kDone);
      } else {
        for (std::uint32_t type = 1; type <= 3; ++type) {
          ASSERT_FALSE(states[type - 1].empty()) << "type " << type << " from the program before " << program;
          ASSERT_EQ(session.control.set_state(type, states[type - 1]), 0U) << type << process.output();
        }
        ASSERT_EQ(session.control.call(0x02, {1}, 1).at(0), 0U) << process.output();
        // The machine slept when it was moved; what wakes it is a reset.
        ASSERT_EQ(session.control.init(), 0U) << process.output();
        ASSERT_EQ(session.tpm12(kStartup, "0002"), kDone) << program;
        EXPECT_EQ(session.tpm12(kPcrRead, kPcr10), pcr);
        EXPECT_TRUE(session.control.get_state(3).empty());
        EXPECT_THAT(session.tpm12(kNvRead,
                                  "00011101"
                                  "00000000"
                                  "00000005"),
                    HasSubstr("6261736963"));
      }
      extend(session, '3');
      pcr = session.tpm12(kPcrRead, kPcr10);
      ASSERT_EQ(session.tpm12(kSaveState), kDone);
      for (std::uint32_t type = 1; type <= 3; ++type) states[type - 1] = session.control.get_state(type);
    }
  }
}

TEST(Tpm12, TakesOverWhatSwtpmLeft) {
  const TemporaryFolder folder;
  test::write_text(folder / "passphrase", "a passphrase");
  const std::string key = "pwdfile=" + (folder / "passphrase").native();
  for (const bool encrypted : {false, true}) {
    const auto state = make_folder_in(folder, encrypted ? "sealed" : "plain");
    const std::vector<std::string> options =
        encrypted ? std::vector<std::string>{"--key", key} : std::vector<std::string>{};
    std::string pcr;
    {
      VtpmProcess theirs = start(kTheirs, state, options);
      Session session(theirs);
      ASSERT_EQ(session.control.init(), 0U);
      ASSERT_EQ(session.tpm12(kStartup, "0001"), kDone);
      extend(session, '4');
      pcr = session.tpm12(kPcrRead, kPcr10);
      ASSERT_EQ(session.tpm12(kSaveState), kDone);
      theirs.kill(SIGTERM);
    }
    const auto [result, words] = open_state(state, TpmVersion::v1_2);
    EXPECT_EQ(result, 9U);
    EXPECT_THAT(words, HasSubstr("bootseal-swtpm-setup --tpm-state"));
    std::vector<std::string> import{kOurSetup, "--tpm-state", state.native(), "--import-swtpm"};
    import.insert(import.end(), options.begin(), options.end());
    std::vector<std::string> wrong = import;
    wrong.emplace_back("--tpm2");
    EXPECT_EQ(run_program(wrong).exit_code, 1) << "there is no TPM 2.0";
    const CommandOutput imported = run_program(import);
    ASSERT_EQ(imported.exit_code, 0) << imported.standard_error;
    EXPECT_TRUE(std::filesystem::exists(state / "tpm-00.savestate.swtpm"));
    EXPECT_FALSE(std::filesystem::exists(state / "tpm-00.savestate"));
    VtpmProcess ours = start(kOurs, state, options);
    Session session(ours);
    ASSERT_EQ(session.control.init(), 0U) << ours.output();
    ASSERT_EQ(session.tpm12(kStartup, "0002"), kDone) << "the saved state came too";
    EXPECT_EQ(session.tpm12(kPcrRead, kPcr10), pcr);
  }
}

// What a guest finds: flags, NV indices and their public areas, whether there is an EK, who owns it.
std::vector<std::string> look(const std::string& program, const std::filesystem::path& state) {
  VtpmProcess process = start(program, state);
  Session session(process);
  EXPECT_EQ(session.control.init(), 0U) << process.output();
  EXPECT_EQ(session.tpm12(kStartup, "0001"), kDone);
  std::vector<std::string> found;
  const auto capability = [&](std::string_view area, std::string_view sub) {
    found.push_back(session.tpm12(
        kGetCapability, std::string(area) + (sub.empty() ? "00000000" : "00000004") + std::string(sub)));
  };
  capability("00000004", "00000108");  // permanent flags
  capability("00000005", "00000111");  // owner
  capability("0000000d", "");          // NV indices
  capability("00000011", "1000f000");
  capability("00000011", "1000f002");
  found.push_back(session.tpm12(kReadPubEk, std::string(40, '1')).substr(0, 8));
  process.kill(SIGTERM);
  return found;
}

TEST(Tpm12Setup, MakesWhatSwtpmSetupMakes) {
  const TemporaryFolder folder;
  const auto tool = folder / "tool";
  test::write_text(tool,
                   "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --type) t=$2;; --dir) d=$2;; --tpm2) exit "
                   "1;; esac; shift; done\n"
                   "printf '\\020\\001\\000\\000\\006\\020\\002cert' > \"$d/$t.cert\"\n");
  std::filesystem::permissions(tool, std::filesystem::perms::owner_all);
  test::write_text(folder / "swtpm_setup.conf", "create_certs_tool = " + tool.native() + "\n");
  int number = 0;
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{},
        {"--createek"},
        {"--take-ownership"},
        {"--create-ek-cert", "--create-platform-cert", "--lock-nvram"},
        {"--take-ownership", "--ownerpass", "OO", "--srk-well-known", "--create-ek-cert"}}) {
    const auto ours = make_folder_in(folder, "ours" + std::to_string(number));
    const auto theirs = make_folder_in(folder, "theirs" + std::to_string(number++));
    const auto files = make_folder_in(folder, "files" + std::to_string(number));
    std::vector<std::string> arguments{kOurSetup,
                                       "--tpm-state",
                                       ours.native(),
                                       "--config",
                                       (folder / "swtpm_setup.conf").native(),
                                       "--write-ek-cert-files",
                                       files.native()};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const CommandOutput made = run_program(arguments);
    ASSERT_EQ(made.exit_code, 0) << made.standard_error << made.standard_output;
    const bool certified = std::filesystem::exists(files / "ek-rsa2048.crt");
    if (certified) {
      EXPECT_EQ(as_text(read_file(files / "ek-rsa2048.crt", 4096).value()), "cert")
          << "without the TPM's header";
    }
    arguments[0] = "swtpm_setup";
    arguments[2] = theirs.native();
    ASSERT_EQ(run_program(arguments).exit_code, 0);
    EXPECT_EQ(look(kOurs, ours), look(kTheirs, theirs)) << testing::PrintToString(options);
  }
}

// The owner's password is what was given: an owner-authorised command is taken with it and with no other.
TEST(Tpm12Setup, TakesOwnershipWithThePasswordGiven) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  const CommandOutput made =
      run_program({kOurSetup, "--tpm-state", state.native(), "--take-ownership", "--ownerpass", "secret"});
  ASSERT_EQ(made.exit_code, 0) << made.standard_error;
  VtpmProcess process = start(kOurs, state);
  Session session(process);
  ASSERT_EQ(session.control.init(), 0U);
  ASSERT_EQ(session.tpm12(kStartup, "0001"), kDone);
  const auto read_ek_as_owner = [&](std::string_view password) {
    constexpr std::uint32_t kOwnerReadInternalPub = 0x81;
    const std::string oiap = session.tpm12(0x0A).substr(kDone.size());
    const Bytes owner = crypto::digest(crypto::HashAlgorithm::sha1, as_bytes(password));
    const Bytes parameters = from_hex("0000008140000006").value();  // ordinal, TPM_KH_EK
    const Bytes digest = crypto::digest(crypto::HashAlgorithm::sha1, parameters);
    const Bytes even = from_hex(oiap.substr(8, 40)).value();
    const Bytes odd(20, std::byte{9});
    const Bytes ends{std::byte{0}};
    const Bytes proof = crypto::hmac(crypto::HashAlgorithm::sha1, owner, {digest, even, odd, ends});
    ByteWriter command;
    command.be16(0xC2).be32(10 + 4 + 45).be32(kOwnerReadInternalPub).be32(0x40000006);
    command.bytes(from_hex(oiap.substr(0, 8)).value()).bytes(odd).bytes(ends).bytes(proof);
    return load_be32(session.transport.transceive(command.view()).value(), 6);
  };
  EXPECT_EQ(read_ek_as_owner("ooo"), 1U) << "TPM_AUTHFAIL";
  EXPECT_EQ(read_ek_as_owner("secret"), 0U);
}

TEST(Tpm12Setup, ReplacesATpm20OnlyWhenToldTo) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  ASSERT_EQ(run_program({kOurSetup, "--tpm2", "--tpm-state", state.native()}).exit_code, 0);
  EXPECT_EQ(run_program({kOurSetup, "--tpm-state", state.native()}).exit_code, 1);
  EXPECT_TRUE(std::filesystem::exists(state / "tpm2-00.permall"));
  ASSERT_EQ(run_program({kOurSetup, "--tpm-state", state.native(), "--overwrite"}).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(state / "tpm2-00.permall"));
  EXPECT_EQ(open_state(state, TpmVersion::v1_2).first, 0U);
}

}  // namespace
}  // namespace bootseal::swtpm

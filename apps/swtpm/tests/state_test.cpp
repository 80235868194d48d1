// What bootseal-swtpm does with its state: kept through kills, refused when it is not the right one, taken
// over from swtpm on request.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "bootseal/json/json.h"
#include "vtpm_process.h"

namespace bootseal::swtpm {
namespace {

using test::kCounter;
using test::kCounterIndex;
using test::kNvIndex;
using test::kNvNoLockout;
using test::kOurs;
using test::kOurSetup;
using test::kTheirs;
using test::run_program;
using test::Session;
using test::TemporaryFolder;
using test::VtpmProcess;
using testing::HasSubstr;

constexpr std::uint32_t kRefused = 0x101;
const tpm::PcrSelection kPcr16{tpm::Algorithm::sha256, 1U << 16};

std::filesystem::path make_folder_in(const TemporaryFolder& parent, std::string_view name) {
  std::filesystem::create_directory(parent / name);
  return parent / name;
}

std::uint64_t counter_of(tpm::Client& client) {
  return load_be64(client.nv_read(kCounterIndex, kCounterIndex).value(), 0);
}

// A new TPM with a counter of `count`; the process is killed without a word.
void make_counter(const std::string& program, const std::filesystem::path& folder, unsigned count,
                  const std::vector<std::string>& more = {}) {
  VtpmProcess process(program, folder, more);
  Session session(process);
  ASSERT_EQ(session.control.init(), 0U) << process.output();
  ASSERT_TRUE(session.client.startup());
  ASSERT_TRUE(session.client.nv_define(tpm::kOwner, kCounterIndex, kCounter, 8));
  for (unsigned i = 0; i < count; ++i) ASSERT_TRUE(session.client.nv_increment(kCounterIndex, kCounterIndex));
  process.kill(SIGKILL);
}

// INIT's result, and the program's words.
std::pair<std::uint32_t, std::string> open_state(const std::filesystem::path& folder,
                                                 const std::vector<std::string>& more = {}) {
  VtpmProcess process(kOurs, folder, more);
  test::ControlClient control(process.control());
  const std::uint32_t result = control.init();
  process.kill(SIGTERM);
  return {result, process.output()};
}

TEST(State, KeepsEachAcknowledgedIncrementThroughKills) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < 8; ++round) {
    VtpmProcess process(kOurs, state);
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U) << process.output();
    ASSERT_TRUE(session.client.startup());
    if (round == 0) {
      ASSERT_TRUE(session.client.nv_define(tpm::kOwner, kCounterIndex, kCounter, 8));
      ASSERT_TRUE(session.client.nv_increment(kCounterIndex, kCounterIndex));
      acknowledged = counter_of(session.client);
    }
    ASSERT_EQ(counter_of(session.client), acknowledged);
    for (int i = 0; i < 20 + round; ++i) {
      ASSERT_TRUE(session.client.nv_increment(kCounterIndex, kCounterIndex));
      ++acknowledged;
    }
    process.kill(SIGKILL);
  }
}

// The client does not sleep between the answer and the look, so that it is there first.
TEST(State, RemembersEachGenerationBeforeItsAnswer) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  make_counter(kOurs, state, 1);
  VtpmProcess process(kOurs, state);
  Session session(process);
  ASSERT_EQ(session.control.init(), 0U);
  ASSERT_TRUE(session.client.startup());
  const auto generation = [&] {
    const Bytes text = read_file(state / ".bootseal-swtpm", 4096).value();
    const json::Value document = json::parse(as_text(text)).value();
    return json::Reader::object(document, "it").value().unsigned_integer("generation").value();
  };
  // TPM2_NV_Increment with an empty password.
  const Bytes increment = from_hex("80020000001f00000134015000110150001100000009400000090000000000").value();
  std::uint64_t before = generation();
  for (int i = 0; i < 300; ++i) {
    session.data.send(increment);
    std::array<std::byte, 64> answer{};
    while (::recv(session.data.fd(), answer.data(), answer.size(), MSG_DONTWAIT) < 0) {
    }
    const std::uint64_t after = generation();
    ASSERT_EQ(load_be32(answer, 6), 0U);
    ASSERT_EQ(after, before + 1) << "answer " << i;
    before = after;
  }
}

TEST(State, IsServedOnWhenTheLogTakesNothing) {
  const TemporaryFolder folder;
  const auto fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  UniqueFd reader(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  for (const std::string& log : {std::string("/dev/full"), fifo.native()}) {
    const auto state = make_folder_in(folder, log == "/dev/full" ? "full" : "pipe");
    VtpmProcess process(kOurs, state, {"--log", "file=" + log});
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U);
    ASSERT_TRUE(session.client.startup());
    ASSERT_EQ(session.control.call(0x0E, {}, 1).at(0), 0U);
    if (log != "/dev/full") reader.reset();
    std::filesystem::rename(state / "tpm2-00.permall", folder / "elsewhere");
    EXPECT_EQ(session.control.init(), kRefused) << "with words that nobody reads";
    std::filesystem::rename(folder / "elsewhere", state / "tpm2-00.permall");
    EXPECT_EQ(session.control.init(), 0U);
  }
}

TEST(State, RefusesAnOlderCopyAnotherTpmsFileAndAMissingFile) {
  const TemporaryFolder folder;
  const auto mine = make_folder_in(folder, "mine");
  const auto other = make_folder_in(folder, "other");
  make_counter(kOurs, mine, 5);
  make_counter(kOurs, other, 3);
  const auto file = mine / "tpm2-00.permall";
  std::filesystem::copy_file(file, folder / "older");
  {
    VtpmProcess process(kOurs, mine);
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U);
    ASSERT_TRUE(session.client.startup());
    ASSERT_TRUE(session.client.nv_increment(kCounterIndex, kCounterIndex));
    process.kill(SIGKILL);
  }
  std::filesystem::copy_file(file, folder / "newest");
  const auto put = [&](const std::filesystem::path& from) {
    std::filesystem::copy_file(from, file, std::filesystem::copy_options::overwrite_existing);
  };

  put(folder / "older");
  auto [result, words] = open_state(mine);
  EXPECT_EQ(result, kRefused);
  EXPECT_THAT(words, HasSubstr("it is an old copy"));
  EXPECT_THAT(words, HasSubstr(file.native()));

  put(other / "tpm2-00.permall");
  std::tie(result, words) = open_state(mine);
  EXPECT_EQ(result, kRefused);
  EXPECT_THAT(words, HasSubstr("this directory's is"));

  std::filesystem::remove(file);
  std::tie(result, words) = open_state(mine);
  EXPECT_EQ(result, kRefused);
  EXPECT_THAT(words, HasSubstr("is gone: there was a TPM here"));
  EXPECT_FALSE(std::filesystem::exists(file)) << "no new TPM was made";

  put(folder / "newest");
  std::tie(result, words) = open_state(mine);
  EXPECT_EQ(result, 0U) << words;

  std::filesystem::remove(mine / ".bootseal-swtpm");
  put(folder / "older");
  std::tie(result, words) = open_state(mine);
  EXPECT_EQ(result, 0U) << "on the owner's explicit word: " << words;
}

// A TPM with a counter, and what a migration takes from it.
struct Migrating {
  Bytes permanent, volatile_state;
};

Migrating make_migrating(const std::filesystem::path& folder) {
  VtpmProcess process(kOurs, folder);
  Session session(process);
  EXPECT_EQ(session.control.init(), 0U);
  EXPECT_TRUE(session.client.startup());
  EXPECT_TRUE(session.client.nv_define(tpm::kOwner, kCounterIndex, kCounter, 8));
  EXPECT_TRUE(session.client.nv_increment(kCounterIndex, kCounterIndex));
  Migrating states{session.control.get_state(1), session.control.get_state(2)};
  process.kill(SIGTERM);
  return states;
}

TEST(State, IsNeverANewTpmAfterAMigrationThatFailedOrWasGivenUp) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  const Migrating states = make_migrating(state);
  const auto file = state / "tpm2-00.permall";
  std::filesystem::remove(file);
  Bytes damaged = states.permanent;
  std::fill(damaged.end() - 40, damaged.end(), std::byte{0});
  const auto try_with = [&](std::uint32_t kind, const Bytes& blob, bool taken, bool init) {
    VtpmProcess process(kOurs, state);
    test::ControlClient control(process.control());
    EXPECT_EQ(control.set_state(kind, blob) == 0, taken) << process.output();
    if (init) {
      EXPECT_EQ(control.init(), kRefused);
      EXPECT_EQ(control.init(), kRefused) << "the second time too";
    }
    process.kill(SIGTERM);
    EXPECT_FALSE(std::filesystem::exists(file));
  };
  try_with(2, states.volatile_state, false, true);
  try_with(1, damaged, false, true);
  try_with(1, damaged, false, false);
  try_with(1, states.permanent, true, false);
  const auto [result, words] = open_state(state);
  EXPECT_EQ(result, kRefused);
  EXPECT_THAT(words, HasSubstr("is gone: there was a TPM here"));
  VtpmProcess process(kOurs, state);
  Session session(process);
  ASSERT_EQ(session.control.set_state(1, states.permanent), 0U);
  ASSERT_EQ(session.control.set_state(2, states.volatile_state), 0U);
  ASSERT_EQ(session.control.init(), 0U) << process.output();
  EXPECT_EQ(counter_of(session.client), 1U) << "a whole migration brings the TPM back";
}

TEST(State, IsThatOfTheFolderThatIsThereAtInit) {
  const TemporaryFolder folder;
  const auto a = make_folder_in(folder, "a");
  const auto b = make_folder_in(folder, "b");
  make_counter(kOurs, a, 1);
  make_counter(kOurs, b, 2);
  const auto id_in = [](const std::filesystem::path& place) {
    return std::string(as_text(read_file(place / ".bootseal-swtpm", 4096).value()).substr(0, 46));
  };
  const std::string id_of_a = id_in(a);
  const std::string id_of_b = id_in(b);
  VtpmProcess process(kOurs, a);
  Session session(process);
  ASSERT_EQ(session.control.init(), 0U);
  ASSERT_TRUE(session.client.startup());
  const auto stop = [&] { ASSERT_EQ(session.control.call(0x0E, {}, 1).at(0), 0U); };
  stop();
  std::filesystem::rename(a, folder / "moved");
  std::filesystem::rename(b, a);
  ASSERT_EQ(session.control.init(), 0U) << process.output();
  ASSERT_TRUE(session.client.startup());
  EXPECT_EQ(counter_of(session.client), 2U);
  ASSERT_TRUE(session.client.nv_increment(kCounterIndex, kCounterIndex));
  stop();
  EXPECT_EQ(id_in(a), id_of_b);
  EXPECT_EQ(id_in(folder / "moved"), id_of_a) << "the folder that was moved away is left alone";
  EXPECT_EQ(open_state(a).first, 9U) << "the folder that came is locked";
  EXPECT_EQ(open_state(folder / "moved").first, 0U) << "and the one that went is not";
  std::filesystem::rename(a, folder / "moved too");
  std::filesystem::create_directory(a);
  EXPECT_EQ(session.control.init(), kRefused);
  EXPECT_THAT(process.output(), HasSubstr("this process served it"));
  EXPECT_FALSE(std::filesystem::exists(a / "tpm2-00.permall")) << "no new TPM was made";
}

TEST(State, AcknowledgesNothingOnceItsFileIsGoneOrReplaced) {
  const TemporaryFolder folder;
  for (const bool replaced : {false, true}) {
    const auto state = make_folder_in(folder, replaced ? "replaced" : "gone");
    make_counter(kOurs, state, 1);
    VtpmProcess process(kOurs, state);
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U);
    ASSERT_TRUE(session.client.startup());
    const auto file = state / "tpm2-00.permall";
    if (replaced) std::filesystem::copy_file(file, folder / "copy");
    std::filesystem::rename(replaced ? folder / "copy" : file, replaced ? file : folder / "elsewhere");
    EXPECT_FALSE(session.client.nv_increment(kCounterIndex, kCounterIndex));
    EXPECT_FALSE(session.client.nv_increment(kCounterIndex, kCounterIndex));
    EXPECT_THAT(process.output(), HasSubstr("was removed or replaced while its TPM was running"));
  }
}

TEST(State, InOneFileIsMadeByOneOfTwoProcessesThatStartTogether) {
  const TemporaryFolder folder;
  for (int round = 0; round < 12; ++round) {
    const auto file = folder / ("state" + std::to_string(round));
    const std::vector<std::string> uri{"--tpmstate", "backend-uri=file://" + file.native()};
    VtpmProcess one(kOurs, folder / "", uri);
    VtpmProcess two(kOurs, folder / "", uri);
    Session first(one);
    Session second(two);
    const Bytes init = guest::test::control_request(0x02, {0});
    first.control.socket().send(init);
    second.control.socket().send(init);
    const std::uint32_t results[] = {load_be32(first.control.socket().receive(4), 0),
                                     load_be32(second.control.socket().receive(4), 0)};
    ASSERT_THAT(results, testing::UnorderedElementsAre(0U, 9U)) << one.output() << two.output();
    Session& served = results[0] == 0 ? first : second;
    ASSERT_TRUE(served.client.startup());
    ASSERT_TRUE(served.client.nv_define(tpm::kOwner, kCounterIndex, kCounter, 8));
    ASSERT_TRUE(served.client.nv_increment(kCounterIndex, kCounterIndex));
    one.kill(SIGKILL);
    two.kill(SIGKILL);
    VtpmProcess again(kOurs, folder / "", uri);
    Session session(again);
    ASSERT_EQ(session.control.init(), 0U) << again.output();
    ASSERT_TRUE(session.client.startup());
    EXPECT_EQ(counter_of(session.client), 1U);
  }
}

TEST(State, RefusesDamageAndTheWrongKey) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  test::write_text(folder / "key", "00112233445566778899aabbccddeeff");
  test::write_text(folder / "wrong", "ff112233445566778899aabbccddeeff");
  const std::vector<std::string> key{"--key", "file=" + (folder / "key").native()};
  make_counter(kOurs, state, 1, key);
  EXPECT_EQ(open_state(state, key).first, 0U);
  auto [result, words] = open_state(state, {"--key", "file=" + (folder / "wrong").native()});
  EXPECT_EQ(result, kRefused);
  EXPECT_THAT(words, HasSubstr("the key does not open it"));
  std::tie(result, words) = open_state(state);
  EXPECT_EQ(result, kRefused);
  EXPECT_THAT(words, HasSubstr("was sealed with a key of 128 bits, and is opened without a key"));
  const Bytes good = read_file(state / "tpm2-00.permall", 8 << 20).value();
  EXPECT_EQ(as_text(good).find("bootseal-swtpm"), std::string_view::npos);
  Bytes damaged = good;
  for (std::size_t offset = 8192; offset < damaged.size() - 512; offset += 4096)
    damaged[offset + 100] ^= std::byte{1};
  ASSERT_TRUE(replace_file(state / "tpm2-00.permall", damaged));
  EXPECT_EQ(open_state(state, key).first, kRefused);
}

TEST(State, FindsDamageWithoutAKeyToo) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  make_counter(kOurs, state, 1);
  Bytes content = read_file(state / "tpm2-00.permall", 8 << 20).value();
  for (std::size_t offset = 8192; offset < content.size() - 512; offset += 4096)
    content[offset + 100] ^= std::byte{1};
  ASSERT_TRUE(replace_file(state / "tpm2-00.permall", content));
  EXPECT_EQ(open_state(state).first, kRefused);
}

TEST(State, KeepsASecondProcessAndSwtpmItselfOut) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  VtpmProcess first(kOurs, state);
  test::ControlClient control(first.control());
  ASSERT_EQ(control.init(), 0U);
  for (const std::string& program : {kOurs, kTheirs}) {
    VtpmProcess second(program, state);
    test::ControlClient other(second.control());
    EXPECT_EQ(other.init(), 9U) << program << ": " << second.output();
  }
}

TEST(State, IsNothingThatSwtpmTakesForAnEmptyFolder) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  make_counter(kOurs, state, 1);
  VtpmProcess theirs(kTheirs, state);
  test::ControlClient control(theirs.control());
  EXPECT_EQ(control.init(), kRefused) << "swtpm makes no new TPM beside it";
}

TEST(State, HasTheModeThatWasAskedFor) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  VtpmProcess process(kOurs, state, {"--tpmstate", "dir=" + state.native() + ",mode=0604"});
  test::ControlClient control(process.control());
  ASSERT_EQ(control.init(), 0U);
  struct stat status {};
  ASSERT_EQ(::stat((state / "tpm2-00.permall").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0604U);
}

TEST(State, LiesInOneFileWhenTheUriNamesOne) {
  const TemporaryFolder folder;
  for (const bool exists : {false, true}) {
    const auto file = folder / (exists ? "empty" : "absent");
    if (exists) test::write_text(file, "");
    const std::vector<std::string> uri{"--tpmstate", "backend-uri=file://" + file.native()};
    make_counter(kOurs, folder / "", 2, uri);
    VtpmProcess process(kOurs, folder / "", uri);
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U) << process.output();
    ASSERT_TRUE(session.client.startup());
    EXPECT_EQ(counter_of(session.client), 2U);
  }
}

TEST(State, GoesOnFromStoredVolatileStateOnceAndOnlyWhereItStopped) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  Bytes pcr;
  {
    VtpmProcess process(kOurs, state);
    Session session(process);
    ASSERT_EQ(session.control.init(), 0U);
    ASSERT_TRUE(session.client.startup());
    ASSERT_TRUE(session.client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, std::byte{7})));
    pcr = session.client.pcr_read(kPcr16).value().at(0).digest;
    ASSERT_EQ(session.control.call(0x0A, {}, 1).at(0), 0U);
    process.kill(SIGTERM);
  }
  const Bytes sealed = read_file(state / "tpm2-00.volatilestate", 1 << 20).value();
  const auto value_after = [&](std::uint32_t flag) {
    VtpmProcess process(kOurs, state);
    Session session(process);
    EXPECT_EQ(session.control.call(0x02, {flag}, 1).at(0), 0U) << process.output();
    EXPECT_TRUE(session.client.startup());
    const Bytes value = session.client.pcr_read(kPcr16).value().at(0).digest;
    if (flag == 1) {
      EXPECT_TRUE(session.client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout, 5));
    }
    process.kill(SIGTERM);
    return value;
  };
  EXPECT_EQ(value_after(1), pcr);
  EXPECT_FALSE(std::filesystem::exists(state / "tpm2-00.volatilestate")) << "INIT was told to delete it";
  ASSERT_TRUE(replace_file(state / "tpm2-00.volatilestate", sealed));
  EXPECT_EQ(value_after(0), Bytes(32)) << "the permanent state has gone on since";
  Bytes damaged = sealed;
  damaged.back() ^= std::byte{1};
  ASSERT_TRUE(replace_file(state / "tpm2-00.volatilestate", damaged));
  const auto [result, words] = open_state(state);
  EXPECT_EQ(result, kRefused);
  EXPECT_THAT(words, HasSubstr("volatile TPM state"));
}

// Each of swtpm's ways to encrypt, with volatile state, and a linear file.
TEST(Import, TakesOverWhatSwtpmLeftOnlyWhenAsked) {
  const TemporaryFolder folder;
  test::write_text(folder / "hex128", "0x00112233445566778899aabbccddeeff\n");
  test::write_text(folder / "hex256", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
  test::write_text(folder / "passphrase", "a passphrase");
  const auto path = [&](std::string_view name) { return (folder / name).native(); };
  const std::string keys[] = {"", "file=" + path("hex128"), "file=" + path("hex256") + ",mode=aes-256-cbc",
                              "pwdfile=" + path("passphrase"),
                              "pwdfile=" + path("passphrase") + ",kdf=sha512,mode=aes-256-cbc"};
  int number = 0;
  for (const std::string& key : keys) {
    const auto state = make_folder_in(folder, "state" + std::to_string(number++));
    std::vector<std::string> options;
    if (!key.empty()) options = {"--key", key};
    Bytes pcr;
    {
      VtpmProcess theirs(kTheirs, state, options);
      Session session(theirs);
      ASSERT_EQ(session.control.init(), 0U);
      ASSERT_TRUE(session.client.startup());
      ASSERT_TRUE(session.client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout, 5));
      ASSERT_TRUE(session.client.nv_write(kNvIndex, kNvIndex, as_bytes("swtpm")));
      ASSERT_TRUE(session.client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, std::byte{3})));
      pcr = session.client.pcr_read(kPcr16).value().at(0).digest;
      ASSERT_EQ(session.control.call(0x0A, {}, 1).at(0), 0U);
      theirs.kill(SIGTERM);
    }
    const Bytes left = read_file(state / "tpm2-00.permall", 1 << 20).value();
    const auto [result, words] = open_state(state, options);
    EXPECT_EQ(result, kRefused);
    EXPECT_THAT(words, HasSubstr("--import-swtpm"));
    EXPECT_EQ(read_file(state / "tpm2-00.permall", 1 << 20).value(), left) << "nothing was changed silently";

    std::vector<std::string> import{kOurSetup, "--tpm2", "--tpm-state", state.native(), "--import-swtpm"};
    if (!key.empty()) {
      EXPECT_EQ(run_program(import).exit_code, 1) << "the key is missing";
      EXPECT_EQ(read_file(state / "tpm2-00.permall", 1 << 20).value(), left);
    }
    import.insert(import.end(), options.begin(), options.end());
    const CommandOutput imported = run_program(import);
    ASSERT_EQ(imported.exit_code, 0) << imported.standard_error;
    EXPECT_EQ(read_file(state / "tpm2-00.permall.swtpm", 1 << 20).value(), left);
    EXPECT_EQ(run_program(import).exit_code, 1) << "there is nothing to import any more";

    VtpmProcess ours(kOurs, state, options);
    Session session(ours);
    ASSERT_EQ(session.control.init(), 0U) << ours.output();
    EXPECT_EQ(as_text(session.client.nv_read(kNvIndex, kNvIndex).value()), "swtpm");
    EXPECT_EQ(session.client.pcr_read(kPcr16).value().at(0).digest, pcr) << "the volatile state came too";
  }
}

TEST(Import, TakesSwtpmsLinearFile) {
  const TemporaryFolder folder;
  const std::string uri = "file://" + (folder / "linear").native();
  const std::vector<std::string> options{"--tpmstate", "backend-uri=" + uri};
  make_counter(kTheirs, folder / "", 4, options);
  const CommandOutput imported = run_program({kOurSetup, "--tpm2", "--tpm-state", uri, "--import-swtpm"});
  ASSERT_EQ(imported.exit_code, 0) << imported.standard_error;
  VtpmProcess ours(kOurs, folder / "", options);
  Session session(ours);
  ASSERT_EQ(session.control.init(), 0U) << ours.output();
  ASSERT_TRUE(session.client.startup());
  EXPECT_EQ(counter_of(session.client), 4U);
}

// As a kill leaves it: second names, and the volatile state ours already.
TEST(Import, StartsAgainWhereOneWasKilledAndLeavesNothingWhenItFails) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  {
    VtpmProcess theirs(kTheirs, state);
    Session session(theirs);
    ASSERT_EQ(session.control.init(), 0U);
    ASSERT_TRUE(session.client.startup());
    ASSERT_TRUE(session.client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, std::byte{3})));
    ASSERT_EQ(session.control.call(0x0A, {}, 1).at(0), 0U);
    theirs.kill(SIGTERM);
  }
  const std::vector<std::string> import{kOurSetup, "--tpm2", "--tpm-state", state.native(), "--import-swtpm"};
  const Bytes left = read_file(state / "tpm2-00.permall", 1 << 20).value();
  test::write_text(state / "tpm2-00.volatilestate.swtpm", "of an earlier import");
  EXPECT_EQ(run_program(import).exit_code, 1);
  EXPECT_FALSE(std::filesystem::exists(state / "tpm2-00.permall.swtpm"));
  EXPECT_EQ(read_file(state / "tpm2-00.permall", 1 << 20).value(), left);
  std::filesystem::rename(state / "tpm2-00.volatilestate", state / "tpm2-00.volatilestate.swtpm");
  test::write_text(state / "tpm2-00.volatilestate", "sealed by the import that was killed");
  std::filesystem::create_hard_link(state / "tpm2-00.permall", state / "tpm2-00.permall.swtpm");
  const CommandOutput imported = run_program(import);
  ASSERT_EQ(imported.exit_code, 0) << imported.standard_error;
  VtpmProcess ours(kOurs, state);
  Session session(ours);
  ASSERT_EQ(session.control.init(), 0U) << ours.output();
  EXPECT_NE(session.client.pcr_read(kPcr16).value().at(0).digest, Bytes(32)) << "the volatile state came too";
}

TEST(Import, RefusesWhatLibtpmsDoesNotTakeAndLeavesItAlone) {
  const TemporaryFolder folder;
  const auto state = make_folder_in(folder, "state");
  make_counter(kTheirs, state, 1);
  Bytes damaged = read_file(state / "tpm2-00.permall", 1 << 20).value();
  for (std::size_t i = damaged.size() / 2; i < damaged.size() / 2 + 64; ++i) damaged[i] = std::byte{0xFF};
  ASSERT_TRUE(replace_file(state / "tpm2-00.permall", damaged));
  const CommandOutput imported =
      run_program({kOurSetup, "--tpm2", "--tpm-state", state.native(), "--import-swtpm"});
  EXPECT_EQ(imported.exit_code, 1);
  EXPECT_THAT(imported.standard_error, HasSubstr("libtpms does not take"));
  EXPECT_EQ(read_file(state / "tpm2-00.permall", 1 << 20).value(), damaged);
  EXPECT_FALSE(std::filesystem::exists(state / "tpm2-00.permall.swtpm"));
}

}  // namespace
}  // namespace bootseal::swtpm

// A TPM 1.2: its answers, what it saves, and that the two families are kept apart. Codes and ordinals: TCG
// TPM Main Specification, Parts 2 and 3.
#include <gmock/gmock.h>

#include "bootseal/guest/swtpm_setup.h"
#include "support.h"
#include "tpm_control.h"
#include "tpm_data.h"
#include "tpm_response.h"
#include "tpm_trace.h"

namespace bootseal::guest {
namespace {

using test::MemoryStore;
using testing::HasSubstr;

const std::string kStartupClear = "00c10000000c000000990001";
const std::string kStartupState = "00c10000000c000000990002";
const std::string kSaveState = "00c10000000a00000098";
const std::string kReadPcr10 = "00c10000000e000000150000000a";
const std::string kExtendPcr10 = "00c100000022000000140000000a" + std::string(40, '5');
const std::string kSuccess = "00c40000000a00000000";
const std::string kFail = "00c40000000a00000009";
const std::string kFailedSelfTest = "00c40000000a0000001c";

struct Machine {
  explicit Machine(std::shared_ptr<MemoryStore> store, TpmVersion version = TpmVersion::v1_2)
      : keeper(test::open_memory_state(std::move(store))),
        engine(
            keeper, TpmEngine::WhenMissing::manufacture,
            [this](const std::string& message) { failures.push_back(message); }, version) {}
  std::string run(std::string_view hex) { return to_hex(engine.execute(from_hex(hex).value())); }
  std::vector<std::string> failures;
  StateKeeper keeper;
  TpmEngine engine;
};

// A store whose TPM 1.2 has saved its state with PCR 10 extended; what PCR 10 was.
std::pair<std::shared_ptr<MemoryStore>, std::string> saved_machine() {
  auto store = std::make_shared<MemoryStore>();
  Machine machine(store);
  EXPECT_EQ(machine.engine.power_on(), kTpmSuccess);
  EXPECT_EQ(machine.run(kStartupClear), kSuccess);
  EXPECT_EQ(machine.run(kExtendPcr10).substr(0, 20), "00c40000001e00000000");
  const std::string value = machine.run(kReadPcr10);
  EXPECT_EQ(machine.run(kSaveState), kSuccess);
  return {store, value};
}

TEST(Tpm12, AnswersInItsOwnTagAndCodes) {
  using enum TpmAnswer;
  EXPECT_EQ(to_hex(bare_response(TpmVersion::v1_2, success)), kSuccess);
  EXPECT_EQ(to_hex(bare_response(TpmVersion::v1_2, failure)), kFail);
  EXPECT_EQ(to_hex(bare_response(TpmVersion::v1_2, bad_command_size)), "00c40000000a00000019");
  EXPECT_EQ(to_hex(bare_response(TpmVersion::v1_2, missing_parameter)), "00c40000000a00000019");
  EXPECT_EQ(to_hex(bare_response(TpmVersion::v1_2, bad_locality)), "00c40000000a0000003d");
  EXPECT_EQ(to_hex(bare_response(TpmVersion::v2_0, bad_command_size)), "80010000000a00000142");
  Machine machine(std::make_shared<MemoryStore>());
  EXPECT_EQ(machine.run(kStartupClear), kFail) << "it is off";
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  TpmDataSession session(machine.engine);
  Bytes output;
  session.receive(from_hex("00c10000000800000099").value(), output);
  EXPECT_EQ(to_hex(output), "00c40000000a00000019");
}

TEST(Tpm12, GoesOnFromWhatItSavedOnce) {
  const auto [store, value] = saved_machine();
  EXPECT_FALSE(store->blobs[Blob::tpm12_saved_state].empty()) << "on disk before the answer";
  {
    Machine machine(store);
    ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
    EXPECT_EQ(machine.run(kStartupState), kSuccess);
    EXPECT_EQ(machine.run(kReadPcr10), value);
    EXPECT_TRUE(store->blobs[Blob::tpm12_saved_state].empty());
  }
  Machine machine(store);
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  EXPECT_EQ(machine.run(kStartupState), kFailedSelfTest) << "nothing was saved since";
  ASSERT_EQ(machine.failures.size(), 1U);
  EXPECT_THAT(machine.failures[0], HasSubstr("failure mode"));
}

TEST(Tpm12, ForgetsWhatItSavedWithTheNextCommand) {
  auto store = std::make_shared<MemoryStore>();
  Machine machine(store);
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  ASSERT_EQ(machine.run(kStartupClear), kSuccess);
  ASSERT_EQ(machine.run(kSaveState), kSuccess);
  EXPECT_FALSE(store->blobs[Blob::tpm12_saved_state].empty());
  machine.run(kReadPcr10);
  EXPECT_TRUE(store->blobs[Blob::tpm12_saved_state].empty());
}

TEST(Tpm12, NeverFindsASavedStateOfAnEarlierPowerCycleAgain) {
  const auto [store, value] = saved_machine();
  Bytes permanent;
  Bytes saved;
  {
    Machine source(store);
    ASSERT_EQ(source.engine.power_on(), kTpmSuccess);
    ASSERT_EQ(source.engine.get_state(TpmStateKind::permanent, permanent), kTpmSuccess);
    ASSERT_EQ(source.engine.get_state(TpmStateKind::save_state, saved), kTpmSuccess);
  }
  Machine machine(std::make_shared<MemoryStore>());
  ASSERT_EQ(machine.engine.set_state(TpmStateKind::permanent, permanent), kTpmSuccess);
  ASSERT_EQ(machine.engine.set_state(TpmStateKind::save_state, saved), kTpmSuccess);
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  ASSERT_EQ(machine.run(kStartupClear), kSuccess);  // does not use it, and drops it
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  EXPECT_EQ(machine.run(kStartupState), kFailedSelfTest);
}

TEST(Tpm12, MovesWithWhatItSavedAndDropsWhatWasThere) {
  const auto [source_store, value] = saved_machine();
  const auto [target_store, other] = saved_machine();
  for (const bool with_saved : {true, false}) {
    auto store = std::make_shared<MemoryStore>(*target_store);
    Bytes permanent;
    Bytes saved;
    {
      Machine source(source_store);
      ASSERT_EQ(source.engine.power_on(), kTpmSuccess);
      ASSERT_EQ(source.engine.get_state(TpmStateKind::permanent, permanent), kTpmSuccess);
      ASSERT_EQ(source.engine.get_state(TpmStateKind::save_state, saved), kTpmSuccess);
    }
    Machine target(store);
    ASSERT_EQ(target.engine.set_state(TpmStateKind::permanent, permanent), kTpmSuccess);
    if (with_saved) {
      ASSERT_EQ(target.engine.set_state(TpmStateKind::save_state, saved), kTpmSuccess);
    }
    ASSERT_EQ(target.engine.power_on(), kTpmSuccess);
    EXPECT_EQ(store->blobs[Blob::tpm12_saved_state], with_saved ? saved : Bytes());
    EXPECT_EQ(target.run(kStartupState), with_saved ? kSuccess : kFailedSelfTest);
    if (with_saved) {
      EXPECT_EQ(target.run(kReadPcr10), value);
    }
  }
}

TEST(Tpm12, RefusesASavedStateThatIsNone) {
  const auto [store, value] = saved_machine();
  Machine machine(store);
  Bytes permanent = store->blobs[Blob::tpm12_permanent];
  Bytes saved = store->blobs[Blob::tpm12_saved_state];
  saved[saved.size() / 2] ^= std::byte{1};
  ASSERT_EQ(machine.engine.set_state(TpmStateKind::permanent, permanent), kTpmSuccess);
  EXPECT_NE(machine.engine.set_state(TpmStateKind::save_state, saved), kTpmSuccess);
}

TEST(Tpm12, FailsForGoodWhenACommitFails) {
  auto store = std::make_shared<MemoryStore>();
  Machine machine(store);
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  ASSERT_EQ(machine.run(kStartupClear), kSuccess);
  store->commit_error = ErrorCode::io_error;
  EXPECT_EQ(machine.run(kSaveState), kFail);
  EXPECT_EQ(machine.run(kReadPcr10), kFail) << "what is in memory and on disk have parted";
  ASSERT_EQ(machine.failures.size(), 1U);
  EXPECT_THAT(machine.failures[0], HasSubstr("committing was made to fail"));
  store->commit_error.reset();
  EXPECT_NE(machine.engine.power_on(), kTpmSuccess);
}

TEST(Tpm12, IsNeverMadeBesideATpm20NorTheOtherWayRound) {
  for (const TpmVersion version : {TpmVersion::v1_2, TpmVersion::v2_0}) {
    auto store = std::make_shared<MemoryStore>();
    ASSERT_EQ(Machine(store, version).engine.power_on(), kTpmSuccess);
    const auto blobs = store->blobs;
    ASSERT_EQ(blobs.size(), 1U);
    Machine other(store, version == TpmVersion::v1_2 ? TpmVersion::v2_0 : TpmVersion::v1_2);
    EXPECT_EQ(other.engine.power_on(), kTpmFail);
    ASSERT_EQ(other.failures.size(), 1U);
    EXPECT_THAT(other.failures[0],
                HasSubstr("it holds a " + std::string(version_name(version)) + ", and this is a "));
    EXPECT_EQ(store->blobs, blobs);
  }
}

TEST(Tpm12, DoesNotTakeTheStateOfATpm20) {
  auto tpm2 = test::new_store();
  Machine machine(std::make_shared<MemoryStore>());
  EXPECT_NE(machine.engine.set_state(TpmStateKind::permanent, tpm2->blobs[Blob::tpm_permanent]), kTpmSuccess);
}

TEST(Trace, SaysWhatIsDoneAndHidesTheBytes) {
  EXPECT_EQ(without_bytes("  TPM_SHA1_valist: Digest 84 98 3e 44"), "  TPM_SHA1_valist: Digest (4 bytes)");
  EXPECT_EQ(without_bytes(" 00 C1 00 00 "), " (4 bytes)");
  EXPECT_EQ(without_bytes(" FF "), " (1 bytes)");
  EXPECT_EQ(without_bytes(" TPM_SHA1Update: length 56"), " TPM_SHA1Update: length 56");
  EXPECT_EQ(without_bytes("a 12 34 b 56"), "a (2 bytes) b 56");
  EXPECT_EQ(without_bytes(""), "");
  EXPECT_EQ(without_bytes("   "), "   ");
}

TEST(Trace, NamesCommandsAndGivesNoneOfTheirBytes) {
  Machine machine(std::make_shared<MemoryStore>());
  std::string said;
  machine.engine.trace(20, [&](std::string_view line) { said += std::string(line) + "\n"; });
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  ASSERT_EQ(machine.run(kStartupClear), kSuccess);
  said.clear();
  machine.run(kExtendPcr10);
  EXPECT_THAT(said, HasSubstr("command 0x14 of 34 bytes: 0x0, 30 bytes"));
  EXPECT_THAT(said, HasSubstr("    TPM_Process_Extend"));
  EXPECT_THAT(said, testing::Not(HasSubstr("55 55")));
}

TEST(StoredCertificate, HasItsHeaderOnce) {
  const Bytes der = from_hex("3003020101").value();
  const Bytes stored = with_stored_certificate_header(der);
  EXPECT_EQ(to_hex(stored),
            "1001000007"
            "1002"
            "3003020101");
  EXPECT_EQ(with_stored_certificate_header(stored), stored);
  EXPECT_EQ(to_bytes(without_stored_certificate_header(stored)), der);
  EXPECT_EQ(to_bytes(without_stored_certificate_header(der)), der);
}

}  // namespace
}  // namespace bootseal::guest

#include "tpm_engine.h"

#include <gmock/gmock.h>

#include "support.h"

namespace bootseal::guest {
namespace {

using test::kNvIndex;
using test::kNvNoLockout;
using test::MemoryStore;
using testing::HasSubstr;
using testing::Not;

struct Machine {
  explicit Machine(std::shared_ptr<MemoryStore> store,
                   TpmEngine::WhenMissing when_missing = TpmEngine::WhenMissing::refuse)
      : keeper(test::open_memory_state(std::move(store))),
        engine(keeper, when_missing, [this](const std::string& message) { failures.push_back(message); }) {}
  std::vector<std::string> failures;
  StateKeeper keeper;
  TpmEngine engine;
  tpm::Client client{engine};
};

std::uint32_t code_of(const Bytes& response) {
  return load_be32(response, 6);
}

Bytes startup_clear() {
  return from_hex("80010000000c000001440000").value();
}

TEST(TpmEngine, RefusesToStartWithoutStateAndMakesNoNewTpm) {
  auto store = std::make_shared<MemoryStore>();
  Machine machine(store);
  EXPECT_NE(machine.engine.power_on(), kTpmSuccess);
  EXPECT_FALSE(machine.engine.running());
  EXPECT_TRUE(store->blobs.empty());
  ASSERT_EQ(machine.failures.size(), 1U);
  EXPECT_THAT(machine.failures[0], HasSubstr("holds no TPM state"));
}

TEST(TpmEngine, RefusesToStartWhenTheStateCannotBeReadEvenWhereANewOneMayBeMade) {
  auto store = std::make_shared<MemoryStore>();
  store->read_error = ErrorCode::guest_state_damaged;
  Machine machine(store, TpmEngine::WhenMissing::manufacture);
  EXPECT_NE(machine.engine.power_on(), kTpmSuccess);
  EXPECT_TRUE(store->blobs.empty());
  EXPECT_EQ(machine.failures.size(), 1U);
}

TEST(TpmEngine, RefusesStateThatIsNoTpmState) {
  auto store = test::new_store();
  Bytes& state = store->blobs[Blob::tpm_permanent];
  for (const std::size_t size : {std::size_t{1}, std::size_t{20}, state.size() / 2}) {
    auto damaged = std::make_shared<MemoryStore>(*store);
    damaged->blobs[Blob::tpm_permanent].resize(size);
    Machine machine(damaged, TpmEngine::WhenMissing::manufacture);
    EXPECT_NE(machine.engine.power_on(), kTpmSuccess) << size;
    EXPECT_EQ(damaged->blobs[Blob::tpm_permanent].size(), size) << "it was replaced";
  }
}

TEST(TpmEngine, MakesANewTpmWhenAskedTo) {
  auto store = std::make_shared<MemoryStore>();
  Machine machine(store, TpmEngine::WhenMissing::manufacture);
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  EXPECT_FALSE(store->blobs[Blob::tpm_permanent].empty());
  EXPECT_TRUE(machine.client.startup());
  EXPECT_EQ(machine.client.get_random(16).value().size(), 16U);
}

TEST(TpmEngine, AnswersFailureToEverythingWhileItIsOff) {
  Machine machine(test::new_store());
  // QEMU recognises a TPM 2.0 by the tag of this very answer.
  EXPECT_EQ(to_hex(machine.engine.execute(startup_clear())), "80010000000a00000101");
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  EXPECT_EQ(code_of(machine.engine.execute(startup_clear())), 0U);
  machine.engine.power_off();
  EXPECT_EQ(to_hex(machine.engine.execute(startup_clear())), "80010000000a00000101");
}

TEST(TpmEngine, CommitsAnNvChangeBeforeItAnswers) {
  auto store = test::new_store();
  const Bytes secret = to_bytes("kept across a crash");
  {
    Machine machine(store);
    ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
    ASSERT_TRUE(machine.client.startup());
    ASSERT_TRUE(machine.client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout,
                                         static_cast<std::uint16_t>(secret.size())));
    const unsigned before = store->commits;
    ASSERT_TRUE(machine.client.nv_write(kNvIndex, kNvIndex, secret));
    EXPECT_EQ(store->commits, before + 1);
  }
  // What a second process would find had this one been killed right after the answer.
  Machine again(std::make_shared<MemoryStore>(*store));
  ASSERT_EQ(again.engine.power_on(), kTpmSuccess);
  ASSERT_TRUE(again.client.startup());
  EXPECT_EQ(again.client.nv_read(kNvIndex, kNvIndex).value(), secret);
}

TEST(TpmEngine, FailsForGoodWhenACommitFails) {
  auto store = test::new_store();
  Machine machine(store);
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  ASSERT_TRUE(machine.client.startup());
  ASSERT_TRUE(machine.client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout, 8));
  const Bytes before = store->blobs[Blob::tpm_permanent];

  store->commit_error = ErrorCode::io_error;
  EXPECT_FALSE(machine.client.nv_write(kNvIndex, kNvIndex, Bytes(8, std::byte{1})));
  EXPECT_FALSE(machine.client.get_random(8)) << "the TPM is in failure mode";
  ASSERT_EQ(machine.failures.size(), 1U);
  EXPECT_THAT(machine.failures[0], HasSubstr("committing was made to fail"));
  EXPECT_THAT(machine.failures[0], HasSubstr("Entering failure mode")) << "what libtpms says";
  EXPECT_THAT(machine.failures[0], Not(HasSubstr("01 01 01"))) << "but not what was to be written";

  store->commit_error.reset();  // the disk works again, but what was acknowledged is not certain any more
  EXPECT_NE(machine.engine.power_on(), kTpmSuccess);
  EXPECT_EQ(store->blobs[Blob::tpm_permanent], before);
}

TEST(TpmEngine, NeverLocksOutOverUncleanResets) {
  Machine machine(test::new_store());
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  ASSERT_TRUE(machine.client.startup());
  ASSERT_TRUE(machine.client.nv_define(tpm::kOwner, kNvIndex, test::kNvOrdinary, 8));
  for (int reset = 0; reset < 20; ++reset) {
    // The first use of a protected index after a start is answered with TPM_RC_RETRY, then it works.
    auto written = machine.client.nv_write(kNvIndex, kNvIndex, Bytes(8, static_cast<std::byte>(reset)));
    if (!written)
      written = machine.client.nv_write(kNvIndex, kNvIndex, Bytes(8, static_cast<std::byte>(reset)));
    ASSERT_TRUE(written) << "reset " << reset << ": " << written.error().describe();
    ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
    ASSERT_TRUE(machine.client.startup());
  }
  constexpr std::uint32_t kLockoutCounter = 0x20E;  // TPM_PT_LOCKOUT_COUNTER
  EXPECT_EQ(machine.client.property(kLockoutCounter).value(), 0U);
}

TEST(TpmEngine, ForgetsItsPcrsAtAPowerCycleAndKeepsThemOnRequest) {
  Machine machine(test::new_store());
  const tpm::PcrSelection pcr16{tpm::Algorithm::sha256, 1U << 16};
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  ASSERT_TRUE(machine.client.startup());
  ASSERT_TRUE(machine.client.pcr_extend(16, tpm::Algorithm::sha256, Bytes(32, std::byte{5})));
  const Bytes extended = machine.client.pcr_read(pcr16).value().at(0).digest;
  EXPECT_NE(extended, Bytes(32));

  ASSERT_EQ(machine.engine.keep_volatile_state(), kTpmSuccess);
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  EXPECT_EQ(machine.client.pcr_read(pcr16).value().at(0).digest, extended);

  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  ASSERT_TRUE(machine.client.startup());
  EXPECT_EQ(machine.client.pcr_read(pcr16).value().at(0).digest, Bytes(32));
}

TEST(TpmEngine, SetsItsBufferSizeOnlyWhileItIsOff) {
  Machine machine(test::new_store());
  const TpmEngine::BufferSize wanted = machine.engine.buffer_size(3968);
  EXPECT_EQ(wanted.used, 3968U);
  EXPECT_LE(wanted.minimum, 3968U);
  EXPECT_EQ(wanted.maximum, 4096U);
  ASSERT_EQ(machine.engine.power_on(), kTpmSuccess);
  EXPECT_EQ(machine.engine.buffer_size(4096).used, 3968U);
}

}  // namespace
}  // namespace bootseal::guest

// Somebody writes to the vault's store who has not got the master key.
#include <gmock/gmock.h>

#include "bootseal/json/json.h"
#include "vault_fixture.h"

namespace bootseal::vault {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class SealTest : public VaultTest {
 protected:
  store::Store& store() { return *opened_.store; }
  std::string value(const std::string& key) { return (*store().get(key)).value().value; }
  // As an attacker who knows the format would.
  void change(const std::string& key, const std::string& member, const json::Value& wanted) {
    json::Value document = *json::parse(value(key));
    document.as_object()[member] = wanted;
    ASSERT_TRUE(store().put(key, json::serialize(document)));
  }
  void refused_at_the_next_start(const std::string& key) {
    opened_ = {};
    const auto refused = Opened::open(folder_.path());
    ASSERT_FALSE(refused) << key;
    EXPECT_EQ(refused.error().code, ErrorCode::corrupt);
    EXPECT_THAT(refused.error().describe(),
                AllOf(HasSubstr(key), HasSubstr("restore the whole folder of vaultd")));
  }
  std::string refusal(const VmId& vm, const Placement& claim) {
    const auto released = vault().release(kHost, vm, claim);
    return released ? "released" : released.error().describe();
  }
};

TEST_F(SealTest, AGenerationThatWasSetBackReleasesNoKey) {
  const VmId vm = placed_vm();
  ASSERT_TRUE(vault().record_generation(kHost, vm, kRack1, Generation{9}));
  change("keys/" + vm.to_string(), "generation", 1);
  EXPECT_THAT(refusal(vm, kRack1), HasSubstr("does not fit its seal"));
  EXPECT_FALSE(vault().keys());
  EXPECT_FALSE(vault().key(vm));
  EXPECT_FALSE(vault().record_generation(kHost, vm, kRack1, Generation{10}));
  refused_at_the_next_start("keys/" + vm.to_string());
}

TEST_F(SealTest, AnOlderCopyOfOneRecordReleasesNoKey) {
  const VmId vm = placed_vm();
  const std::string older = value("keys/" + vm.to_string());
  ASSERT_TRUE(vault().record_generation(kHost, vm, kRack1, Generation{9}));
  ASSERT_TRUE(store().put("keys/" + vm.to_string(), older));
  EXPECT_THAT(refusal(vm, kRack1), HasSubstr("is from another time"));
  refused_at_the_next_start("seal");
}

TEST_F(SealTest, APlacementThatWasMovedReleasesNoKey) {
  const VmId vm = placed_vm();
  change("placements/" + vm.to_string(), "hostId", "rack-2");
  EXPECT_THAT(refusal(vm, Placement{"rack-2", Epoch{1}}), HasSubstr("does not fit its seal"));
  refused_at_the_next_start("placements/" + vm.to_string());
}

TEST_F(SealTest, AnotherVmsPlacementIsNoPlacement) {
  const VmId vm = placed_vm();
  const VmId other = VmId::random();
  ASSERT_TRUE(store().put("placements/" + other.to_string(), value("placements/" + vm.to_string())));
  EXPECT_FALSE(vault().create_key(kHost, other, kRack1));
  refused_at_the_next_start("placements/" + other.to_string());
}

TEST_F(SealTest, ATombstoneThatWasTakenAwayIsMissed) {
  const VmId vm = placed_vm();
  ASSERT_TRUE(vault().place(kControl, vm, Placement{"rack-1", Epoch{5}}));
  ASSERT_TRUE(vault().remove(kControl, vm, Placement{"rack-1", Epoch{5}}));
  ASSERT_TRUE(store().transact({}, {store::Delete{"tombstones/" + vm.to_string()}}));
  const auto placed = vault().place(kControl, vm, kRack1);
  ASSERT_FALSE(placed);
  EXPECT_THAT(placed.error().describe(), HasSubstr("was taken away"));
  refused_at_the_next_start("seal");
}

TEST_F(SealTest, AKeyThatWasTakenAwayIsMissedInTheList) {
  const VmId vm = placed_vm();
  ASSERT_TRUE(store().transact({}, {store::Delete{"keys/" + vm.to_string()}}));
  EXPECT_FALSE(vault().keys());
  EXPECT_FALSE(vault().create_key(kHost, vm, kRack1)) << "another key for the same guest state";
}

TEST_F(SealTest, AnAuditChainThatWasCutTogetherWithItsHeadIsRefused) {
  placed_vm();
  const std::string older_head = value("audit-head");
  const std::string older_chain = audit_text();
  placed_vm();
  ASSERT_TRUE(store().put("audit-head", older_head));
  opened_ = {};
  ASSERT_TRUE(replace_file(folder_.path() / "audit.jsonl", as_bytes(older_chain), 0600));
  ASSERT_TRUE(log::AuditChain::verify(folder_.path() / "audit.jsonl", &hash)) << "by itself it is whole";
  refused_at_the_next_start("seal");
}

TEST_F(SealTest, AHeadWithAHashOfOnesOwnIsRefused) {
  placed_vm();
  const log::AuditHead head = opened_.audit->head();
  ASSERT_TRUE(
      store().put("audit-head", json::serialize({{"sequence", head.sequence}, {"sha256", head.sha256}})));
  refused_at_the_next_start("audit-head has no seal of this vault");
}

TEST_F(SealTest, WithoutItsSealTheStoreIsRefused) {
  placed_vm();
  ASSERT_TRUE(store().transact({}, {store::Delete{"seal"}}));
  refused_at_the_next_start("seal is missing");
}

TEST_F(SealTest, ABeginningOfANewAuditChainHealsNothingElse) {
  const VmId vm = placed_vm();
  change("placements/" + vm.to_string(), "epoch", 7);
  opened_ = {};
  const auto refused = Opened::open(folder_.path(), kPassphrase, clock_, true);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("does not fit its seal"));
}

TEST_F(SealTest, WhatIsSealedOpensAgain) {
  const VmId vm = placed_vm();
  ASSERT_TRUE(vault().record_generation(kHost, vm, kRack1, Generation{9}));
  const VmId gone = placed_vm();
  ASSERT_TRUE(vault().remove(kControl, gone, kRack1));
  reopen();
  EXPECT_EQ(vault().release(kHost, vm, kRack1)->minimum_generation, Generation{9});
  EXPECT_EQ(vault().keys()->size(), 1U);
}

}  // namespace
}  // namespace bootseal::vault

// What every store promises. A store joins by specialising StoreMaker and naming itself in
// INSTANTIATE_TYPED_TEST_SUITE_P.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "bootseal/store/store.h"

namespace bootseal::store::testing {

// `StoreMaker<Kind> maker; std::unique_ptr<Store> store = maker.make(options);`
template <typename Kind>
class StoreMaker;

inline constexpr std::chrono::seconds kLongWait{20};

template <typename Kind>
class StoreContract : public ::testing::Test {
 protected:
  void open(StoreOptions options) {
    store_.reset();
    store_ = maker_.make(options);
  }
  void SetUp() override { open({}); }

  // The value of the key, or "(absent)".
  std::string value_of(std::string_view key) {
    const auto found = store_->get(key);
    EXPECT_TRUE(found) << found.error().describe();
    return found && *found ? (*found)->value : "(absent)";
  }
  Revision must(const Result<Revision>& revision) {
    EXPECT_TRUE(revision) << revision.error().describe();
    return revision.value_or(0);
  }

  StoreMaker<Kind> maker_;
  std::unique_ptr<Store> store_;
};
TYPED_TEST_SUITE_P(StoreContract);

inline std::vector<std::string> keys_of(const std::vector<Entry>& entries) {
  std::vector<std::string> keys;
  for (const Entry& entry : entries) keys.push_back(entry.key);
  return keys;
}

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TYPED_TEST_P(StoreContract, GivesBackWhatWasPut) {
  const std::string binary("\x00\xff\x80 text", 8);
  const Revision revision = this->must(this->store_->put("vms/1", binary));
  const auto entry = this->store_->get("vms/1");
  ASSERT_TRUE(entry && *entry);
  EXPECT_EQ(**entry, (Entry{"vms/1", binary, revision, revision, LeaseId{}}));
  EXPECT_EQ(this->value_of("vms/2"), "(absent)");
  this->must(this->store_->put("empty", ""));
  EXPECT_EQ(this->value_of("empty"), "");
}

TYPED_TEST_P(StoreContract, KeepsTheCreateRevisionUntilTheKeyIsMadeAnew) {
  const Revision first = this->must(this->store_->put("k", "1"));
  const Revision second = this->must(this->store_->put("k", "2"));
  EXPECT_EQ((*this->store_->get("k"))->create_revision, first);
  EXPECT_EQ((*this->store_->get("k"))->mod_revision, second);
  this->must(this->store_->remove("k"));
  const Revision third = this->must(this->store_->put("k", "3"));
  EXPECT_EQ((*this->store_->get("k"))->create_revision, third);
}

TYPED_TEST_P(StoreContract, CountsOneRevisionForEachTransactionThatChangesSomething) {
  const Revision start = this->must(this->store_->revision());
  EXPECT_EQ(this->must(this->store_->transact({}, {Put{"a", "1", {}}, Put{"b", "2", {}}})), start + 1);
  EXPECT_EQ(this->must(this->store_->remove("absent")), start + 1);
  EXPECT_EQ(this->must(this->store_->transact({}, {})), start + 1);
  EXPECT_EQ(this->must(this->store_->put("a", "1")), start + 2);
  EXPECT_EQ(this->must(this->store_->revision()), start + 2);
}

TYPED_TEST_P(StoreContract, ListsAPrefixInPagesAndInByteOrder) {
  for (const char* key : {"vms/b", "vms/a", "vms/B", "vms", "vmt/x", "vms/\xc3\xa4", "vms/a/1"}) {
    this->must(this->store_->put(key, "v"));
  }
  const auto first = this->store_->list("vms/", 3);
  ASSERT_TRUE(first);
  EXPECT_THAT(keys_of(first->entries), ElementsAre("vms/B", "vms/a", "vms/a/1"));
  EXPECT_TRUE(first->more);
  EXPECT_EQ(first->revision, 7U);
  const auto second = this->store_->list("vms/", 2, first->entries.back().key);
  ASSERT_TRUE(second);
  EXPECT_THAT(keys_of(second->entries), ElementsAre("vms/b", "vms/\xc3\xa4"));
  EXPECT_FALSE(second->more);
  EXPECT_EQ(this->store_->list("", 100)->entries.size(), 7U);
  EXPECT_EQ(this->store_->list("vms/", 100, "a")->entries.size(), 5U);
  EXPECT_THAT(this->store_->list("vms/", 100, "vmz")->entries, IsEmpty());
  EXPECT_EQ(this->store_->list_all("vms")->size(), 6U);
}

TYPED_TEST_P(StoreContract, CarriesOutAllOperationsOrNone) {
  this->must(this->store_->put("a", "old"));
  const auto refused = this->store_->transact({Condition::absent("b"), Condition{"a", 999}},
                                              {Put{"a", "new", {}}, Put{"b", "new", {}}, Delete{"a2"}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  EXPECT_THAT(refused.error().message, HasSubstr("\"a\""));
  EXPECT_EQ(this->value_of("a"), "old");
  EXPECT_EQ(this->value_of("b"), "(absent)");

  const auto lease_gone = this->store_->transact({}, {Put{"a", "new", {}}, Put{"b", "new", LeaseId{77}}});
  ASSERT_FALSE(lease_gone);
  EXPECT_EQ(lease_gone.error().code, ErrorCode::not_found);
  EXPECT_EQ(this->value_of("a"), "old");
  EXPECT_EQ(this->must(this->store_->revision()), 1U);
}

TYPED_TEST_P(StoreContract, NamesTheKeyWhoseConditionDoesNotHold) {
  const Revision revision = this->must(this->store_->put("here", "1"));
  const auto exists = this->store_->transact({Condition::absent("here")}, {Put{"x", "", {}}});
  ASSERT_FALSE(exists);
  EXPECT_THAT(exists.error().message, HasSubstr("\"here\" exists already"));
  const auto deleted = this->store_->transact({Condition{"gone", revision}}, {Put{"x", "", {}}});
  ASSERT_FALSE(deleted);
  EXPECT_THAT(deleted.error().message, HasSubstr("\"gone\" was deleted"));
  this->must(this->store_->put("here", "2"));
  const auto changed = this->store_->transact({Condition{"here", revision}}, {Put{"x", "", {}}});
  ASSERT_FALSE(changed);
  EXPECT_THAT(changed.error().message, HasSubstr("\"here\" was changed"));
  const auto entry = this->store_->get("here");
  EXPECT_TRUE(this->store_->transact({Condition::same(**entry), Condition::absent("x")}, {Put{"x", "", {}}}));
}

TYPED_TEST_P(StoreContract, RefusesInputOutsideItsLimits) {
  const auto expect_refused = [&](const auto& result) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::invalid_argument) << result.error().describe();
  };
  expect_refused(this->store_->put("", "v"));
  expect_refused(this->store_->put(std::string(kMaxKeyBytes + 1, 'k'), "v"));
  expect_refused(this->store_->put("\xff", "v"));
  expect_refused(this->store_->put(std::string("a\0b", 3), "v"));
  expect_refused(this->store_->put("k", std::string(kMaxValueBytes + 1, 'v')));
  expect_refused(this->store_->get(""));
  expect_refused(this->store_->list("", 0));
  expect_refused(this->store_->list(std::string(kMaxKeyBytes + 1, 'k'), 1));
  expect_refused(this->store_->transact({}, {Put{"k", "1", {}}, Delete{"k"}}));
  expect_refused(this->store_->transact({}, std::vector<Operation>(kMaxOperations + 1, Delete{"k"})));
  expect_refused(this->store_->grant(std::chrono::milliseconds{0}));
  EXPECT_EQ(this->must(this->store_->revision()), 0U);
  this->must(this->store_->put(std::string(kMaxKeyBytes, 'k'), std::string(kMaxValueBytes, 'v')));
}

TYPED_TEST_P(StoreContract, LosesNoIncrementOfConcurrentWriters) {
  constexpr int kWriters = 4;
  constexpr int kIncrements = 25;
  this->must(this->store_->put("counter", "0"));
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([this] {
      for (int done = 0; done < kIncrements;) {
        const auto entry = this->store_->get("counter");
        const std::string next = std::to_string(std::stoi((*entry)->value) + 1);
        if (this->store_->transact({Condition::same(**entry)}, {Put{"counter", next, {}}})) ++done;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(this->value_of("counter"), std::to_string(kWriters * kIncrements));
}

TYPED_TEST_P(StoreContract, WatchGivesTheChangesSinceARevision) {
  this->must(this->store_->put("vms/1", "a"));
  const Revision since = this->must(this->store_->put("vms/2", "b"));
  this->must(this->store_->transact({}, {Put{"vms/1", "c", {}}, Delete{"vms/2"}, Put{"other", "x", {}}}));
  this->must(this->store_->put("vms/3", ""));
  const auto changes = this->store_->watch("vms/", since, std::chrono::milliseconds{0});
  ASSERT_TRUE(changes) << changes.error().describe();
  EXPECT_THAT(changes->changes,
              ElementsAre(Change{3, "vms/1", "c"}, Change{3, "vms/2", std::nullopt}, Change{4, "vms/3", ""}));
  EXPECT_EQ(changes->revision, 4U);
}

TYPED_TEST_P(StoreContract, WatchWakesUpForAChangeOfItsPrefixOnly) {
  auto waiting = std::async(std::launch::async, [this] { return this->store_->watch("vms/", 0, kLongWait); });
  this->must(this->store_->put("other", "x"));
  this->must(this->store_->put("vms/1", "y"));
  const auto changes = waiting.get();
  ASSERT_TRUE(changes) << changes.error().describe();
  EXPECT_THAT(changes->changes, ElementsAre(Change{2, "vms/1", "y"}));
}

TYPED_TEST_P(StoreContract, WatchEndsEmptyAtItsTimeLimitWithTheNewestRevision) {
  this->must(this->store_->put("other", "x"));
  const auto changes = this->store_->watch("vms/", 0, std::chrono::milliseconds{1});
  ASSERT_TRUE(changes);
  EXPECT_THAT(changes->changes, IsEmpty());
  EXPECT_EQ(changes->revision, 1U);
}

TYPED_TEST_P(StoreContract, WatchEndsWhenItsCallerAsksForIt) {
  std::stop_source stop;
  auto waiting = std::async(std::launch::async,
                            [&] { return this->store_->watch("vms/", 0, kLongWait, stop.get_token()); });
  stop.request_stop();
  const auto changes = waiting.get();
  ASSERT_FALSE(changes);
  EXPECT_EQ(changes.error().code, ErrorCode::cancelled);
}

TYPED_TEST_P(StoreContract, WatchSaysWhenChangesWereForgotten) {
  this->open({.kept_changes = 2});
  for (const char* key : {"a", "b", "c", "d"}) this->must(this->store_->put(key, "v"));
  const auto kept = this->store_->watch("", 2, std::chrono::milliseconds{0});
  ASSERT_TRUE(kept) << kept.error().describe();
  EXPECT_THAT(kept->changes, ElementsAre(Change{3, "c", "v"}, Change{4, "d", "v"}));
  const auto forgotten = this->store_->watch("", 1, std::chrono::milliseconds{0});
  ASSERT_FALSE(forgotten);
  EXPECT_EQ(forgotten.error().code, ErrorCode::conflict);
  const auto future = this->store_->watch("", 5, std::chrono::milliseconds{0});
  ASSERT_FALSE(future);
  EXPECT_EQ(future.error().code, ErrorCode::conflict);
}

TYPED_TEST_P(StoreContract, KeepsNoChangesWhenNobodyWatches) {
  this->open({.kept_changes = 0});
  this->must(this->store_->put("a", "v"));
  EXPECT_EQ(this->value_of("a"), "v");
  EXPECT_FALSE(this->store_->watch("", 0, std::chrono::milliseconds{0}));
  EXPECT_TRUE(this->store_->watch("", 1, std::chrono::milliseconds{0}));
}

TYPED_TEST_P(StoreContract, KeysVanishWithTheirLease) {
  const auto lease = this->store_->grant(std::chrono::hours{1});
  ASSERT_TRUE(lease);
  this->must(this->store_->transact(
      {}, {Put{"host/1", "x", *lease}, Put{"host/2", "y", *lease}, Put{"stays", "z", {}}}));
  EXPECT_EQ((*this->store_->get("host/1"))->lease, *lease);
  ASSERT_TRUE(this->store_->revoke(*lease));
  EXPECT_EQ(this->value_of("host/1"), "(absent)");
  EXPECT_EQ(this->value_of("host/2"), "(absent)");
  EXPECT_EQ(this->value_of("stays"), "z");
  // Both in one transaction.
  EXPECT_EQ(this->must(this->store_->revision()), 2U);
  EXPECT_EQ(this->store_->revoke(*lease).error().code, ErrorCode::not_found);
  EXPECT_EQ(this->store_->keep_alive(*lease).error().code, ErrorCode::not_found);
}

TYPED_TEST_P(StoreContract, AWatcherSeesTheEndOfALeaseThatNobodyKeepsAlive) {
  const auto lease = this->store_->grant(std::chrono::milliseconds{20});
  ASSERT_TRUE(lease);
  const Revision since = this->must(this->store_->put("host/1", "x", *lease));
  const auto changes = this->store_->watch("host/", since, kLongWait);
  ASSERT_TRUE(changes) << changes.error().describe();
  EXPECT_THAT(changes->changes, ElementsAre(Change{since + 1, "host/1", std::nullopt}));
  EXPECT_EQ(this->value_of("host/1"), "(absent)");
}

TYPED_TEST_P(StoreContract, AWaitingWatcherSeesTheEndOfALeaseBoundLater) {
  // The watcher waits for the deletion only: it begins after a revision that is not there yet when the lease
  // is granted.
  auto waiting = std::async(std::launch::async, [this] {
    auto first = this->store_->watch("host/", 0, kLongWait);
    return first ? this->store_->watch("host/", first->revision, kLongWait) : first;
  });
  const auto lease = this->store_->grant(std::chrono::milliseconds{300});
  ASSERT_TRUE(lease);
  ASSERT_TRUE(this->store_->put("host/2", "x", *lease));
  const auto changes = waiting.get();
  ASSERT_TRUE(changes) << changes.error().describe();
  EXPECT_THAT(changes->changes, ElementsAre(Change{2, "host/2", std::nullopt}));
}

TYPED_TEST_P(StoreContract, AKeyPutAgainWithoutItsLeaseStays) {
  const auto lease = this->store_->grant(std::chrono::hours{1});
  this->must(this->store_->put("host/1", "x", *lease));
  this->must(this->store_->put("host/1", "y"));
  ASSERT_TRUE(this->store_->revoke(*lease));
  EXPECT_EQ(this->value_of("host/1"), "y");
}

TYPED_TEST_P(StoreContract, KeepAliveBeginsTheLeasesTimeAnew) {
  using std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kTimeToLive{150};
  const auto lease = this->store_->grant(kTimeToLive);
  ASSERT_TRUE(lease);
  ASSERT_TRUE(this->store_->put("host/1", "x", *lease));
  // Half of the time passes, then the rest begins anew.
  ASSERT_TRUE(this->store_->watch("other", 1, kTimeToLive / 2));
  const auto renewed = steady_clock::now();
  ASSERT_TRUE(this->store_->keep_alive(*lease));
  ASSERT_TRUE(this->store_->watch("host/", 1, kLongWait));
  EXPECT_GE(steady_clock::now() - renewed, kTimeToLive);
  EXPECT_EQ(this->value_of("host/1"), "(absent)");
}

REGISTER_TYPED_TEST_SUITE_P(StoreContract, GivesBackWhatWasPut, KeepsTheCreateRevisionUntilTheKeyIsMadeAnew,
                            CountsOneRevisionForEachTransactionThatChangesSomething,
                            ListsAPrefixInPagesAndInByteOrder, CarriesOutAllOperationsOrNone,
                            NamesTheKeyWhoseConditionDoesNotHold, RefusesInputOutsideItsLimits,
                            LosesNoIncrementOfConcurrentWriters, WatchGivesTheChangesSinceARevision,
                            WatchWakesUpForAChangeOfItsPrefixOnly,
                            WatchEndsEmptyAtItsTimeLimitWithTheNewestRevision,
                            WatchEndsWhenItsCallerAsksForIt, WatchSaysWhenChangesWereForgotten,
                            KeepsNoChangesWhenNobodyWatches, KeysVanishWithTheirLease,
                            AWatcherSeesTheEndOfALeaseThatNobodyKeepsAlive,
                            AWaitingWatcherSeesTheEndOfALeaseBoundLater, AKeyPutAgainWithoutItsLeaseStays,
                            KeepAliveBeginsTheLeasesTimeAnew);

}  // namespace bootseal::store::testing

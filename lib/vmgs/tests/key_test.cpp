// Locked and unlocked stores; setting, replacing and removing the key.
#include <gtest/gtest.h>

#include "support.h"

namespace bootseal::vmgs {
namespace {

using test::blank_device;
using test::BorrowedDevice;
using test::format_on;
using test::key1;
using test::key2;
using test::open_on;
using test::pattern;
using test::try_open_on;

constexpr FileId kFirst{40};
constexpr FileId kSecond{41};

TEST(Lock, ALockedStoreServesPlainFilesAndTakesNoChange) {
  MemoryDevice device = blank_device();
  {
    Store store = format_on(device);
    ASSERT_TRUE(store.set_first_key(key1()));
    ASSERT_TRUE(store.write(kFirst, as_bytes("secret"), Protection::encrypted));
    ASSERT_TRUE(store.write(kSecond, as_bytes("plain"), Protection::plain));
  }
  Store store = open_on(device);
  EXPECT_EQ(as_text(*store.read(kSecond)), "plain");
  EXPECT_EQ(store.read(kFirst).error().code, ErrorCode::conflict);
  EXPECT_EQ(store.write(kSecond, as_bytes("x"), Protection::plain).error().code, ErrorCode::conflict);
  EXPECT_EQ(store.remove(kSecond).error().code, ErrorCode::conflict);
  EXPECT_EQ(store.unlock(key2()).error().code, ErrorCode::permission_denied);
  EXPECT_EQ(store.unlock(Bytes(31)).error().code, ErrorCode::invalid_argument);
  EXPECT_FALSE(store.info().unlocked);
  ASSERT_TRUE(store.unlock(key1()));
  EXPECT_EQ(as_text(*store.read(kFirst)), "secret");
}

TEST(Lock, AnUnencryptedStoreHasNothingToUnlock) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  EXPECT_EQ(store.unlock(key1()).error().code, ErrorCode::conflict);
  EXPECT_EQ(store.update_key(key2()).error().code, ErrorCode::conflict);
  EXPECT_EQ(store.remove_key().error().code, ErrorCode::conflict);
}

TEST(Key, RotationReplacesTheKeyAndKeepsTheFiles) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  EXPECT_EQ(store.set_first_key(key2()).error().code, ErrorCode::already_exists);
  ASSERT_TRUE(store.write(kFirst, as_bytes("secret"), Protection::encrypted));
  EXPECT_EQ(store.update_key(Bytes(kKeySize)).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(store.update_key(Bytes(16)).error().code, ErrorCode::invalid_argument);
  const std::uint32_t sequence = store.info().sequence;
  ASSERT_TRUE(store.update_key(key2()));
  EXPECT_EQ(store.info().sequence, sequence + 3);
  EXPECT_EQ(store.info().active_key_slot, 1U);
  EXPECT_EQ(as_text(*store.read(kFirst)), "secret");
  ASSERT_TRUE(store.write(kSecond, as_bytes("later"), Protection::encrypted));
  EXPECT_EQ(try_open_on(device, key1()).error().code, ErrorCode::permission_denied);
  Store again = open_on(device, key2());
  EXPECT_EQ(as_text(*again.read(kFirst)), "secret");
  EXPECT_EQ(as_text(*again.read(kSecond)), "later");
  ASSERT_TRUE(again.update_key(key1()));
  EXPECT_EQ(again.info().active_key_slot, 0U);
}

// The state between the two commits of a rotation, as a crash leaves it.
TEST(Key, AnUnfinishedRotationOpensWithBothKeysAndIsCleanedUpByTheNext) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  ASSERT_TRUE(store.write(kFirst, as_bytes("secret"), Protection::encrypted));
  Bytes between;
  {
    auto faulty = std::make_unique<BorrowedDevice>(device);
    BorrowedDevice& control = *faulty;
    Store rotating = *Store::open(std::move(faulty), Container::fixed_vhd);
    ASSERT_TRUE(rotating.unlock(key1()));
    control.fail_after(4, ErrorCode::io_error);  // header (settled), flush, header, flush
    ASSERT_FALSE(rotating.update_key(key2()));
    between = device.content();
  }
  for (const Bytes& key : {key1(), key2()}) {
    MemoryDevice crashed(between);
    Store opened = open_on(crashed, key);
    EXPECT_TRUE(opened.info().rotation_unfinished);
    ASSERT_TRUE(opened.write(kSecond, as_bytes("more"), Protection::encrypted));
    for (const Bytes& either : {key1(), key2()}) {
      Store later = open_on(crashed, either);
      EXPECT_EQ(as_text(*later.read(kSecond)), "more") << "a write must lock nobody out";
    }
    const Bytes third = pattern(kKeySize, 3);
    ASSERT_TRUE(opened.update_key(third));
    EXPECT_FALSE(opened.info().rotation_unfinished);
    EXPECT_FALSE(try_open_on(crashed, key1()));
    EXPECT_FALSE(try_open_on(crashed, key2()));
    Store last = open_on(crashed, third);
    EXPECT_EQ(as_text(*last.read(kFirst)), "secret");
  }
}

TEST(Key, IsRemovedOnlyWhenNothingIsSealed) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  ASSERT_TRUE(store.set_first_key(key1()));
  ASSERT_TRUE(store.write(kFirst, as_bytes("secret"), Protection::encrypted));
  EXPECT_EQ(store.remove_key().error().code, ErrorCode::conflict);
  ASSERT_TRUE(store.write(kFirst, as_bytes("public"), Protection::plain, Overwrite::allow));
  ASSERT_TRUE(store.remove_key());
  Store again = open_on(device);
  EXPECT_FALSE(again.info().encrypted);
  EXPECT_EQ(as_text(*again.read(kFirst)), "public");
  ASSERT_TRUE(again.set_first_key(key2()));
  EXPECT_EQ(as_text(*open_on(device, key2()).read(kFirst)), "public");
}

}  // namespace
}  // namespace bootseal::vmgs

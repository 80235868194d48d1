// The crash model over the kinds of commit that crash_test.cpp does not have, and over repairs.
#include <gtest/gtest.h>

#include "bootseal/vmgs/repair.h"
#include "crash_model.h"

namespace bootseal::vmgs {
namespace {

using test::Content;
using test::content_after_crash;
using test::expect_crash_safe;
using test::key1;
using test::key2;
using test::kFile;
using test::kOther;
using test::kSector;
using test::pattern;
using test::prepared_device;

TEST(CrashChange, Growth) {
  const auto grow = [](Protection protection) {
    return
        [protection](Store& store) { return store.write(kFile, pattern(5 * kBlockSize + 1, 9), protection); };
  };
  expect_crash_safe("growth from one block to six, plain", false, grow(Protection::plain));
  expect_crash_safe("growth from one block to six, encrypted", true, grow(Protection::encrypted));
}

TEST(CrashChange, ShrinkingToNothing) {
  expect_crash_safe("an empty file, plain", false,
                    [](Store& store) { return store.write(kOther, {}, Protection::plain); });
}

TEST(CrashChange, Moves) {
  expect_crash_safe("move, plain", false, [](Store& store) { return store.move(kFile, FileId{50}); });
  expect_crash_safe("move over another, plain", false,
                    [](Store& store) { return store.move(kFile, kOther, Overwrite::allow); });
  expect_crash_safe("move, encrypted", true, [](Store& store) { return store.move(kFile, FileId{50}); });
}

TEST(CrashChange, PlainOverSealed) {
  expect_crash_safe("plain over sealed", true, [](Store& store) {
    return store.write(kFile, pattern(300, 2), Protection::plain, Overwrite::allow);
  });
}

TEST(CrashChange, CommitsWithoutChange) {
  expect_crash_safe("touch, plain", false, [](Store& store) { return store.touch(); });
  expect_crash_safe("touch, encrypted", true, [](Store& store) { return store.touch(); });
}

TEST(CrashChange, RemovingTheKey) {
  MemoryDevice device = prepared_device(true);
  {
    Store store = test::open_on(device, key1());
    for (const FileId id : {kFile, kOther})
      ASSERT_TRUE(store.write(id, pattern(900, 4), Protection::plain, Overwrite::allow));
  }
  const test::RecordedChange run =
      test::record(device, true, true, [](Store& store) { return store.remove_key(); });
  EXPECT_EQ(test::count_violations(run, "removing the key"), 0U);
}

// Sealing everything again, which the first change of such a store does before it does its own.
TEST(CrashChange, AStoreWithAZeroMetadataKey) {
  MemoryDevice device(test::sample("zero-metadata-key.vmgs"));
  const test::RecordedChange run =
      test::record(device, true, false, [](Store& store) { return store.touch(); });
  EXPECT_EQ(test::count_violations(run, "sealing everything again"), 0U);
}

// -- repairs --

// More than a checksum could put right.
void flip(Bytes& disk, std::size_t offset) {
  for (const std::size_t at : {offset, offset + 1}) disk.at(at) ^= std::byte{0x10};
}

std::size_t active_offset(const Bytes& disk) {
  MemoryDevice device(disk);
  return test::open_on(device).info().active_header * kSector;
}

std::size_t table_offset(const Bytes& disk, std::size_t header) {
  return std::size_t{load_le32(disk, header + 24)} * kBlockSize;
}

void set_sequence(Bytes& disk, std::size_t header, std::uint32_t sequence) {
  store_le32(disk, header + 16, sequence);
  store_le32(disk, header + 12, 0);
  store_le32(disk, header + 12, crc32(ByteSpan(disk).subspan(header, 168)));
}

// In every state that a crash during the repair leaves, the store opens as before (when it did) or as after
// it, or a further repair makes it what the first one would have.
void expect_repair_crash_safe(const std::string& name, const Bytes& damaged, std::optional<Bytes> key) {
  SCOPED_TRACE(name);
  const std::vector<Bytes> keys = key ? std::vector<Bytes>{*key} : std::vector<Bytes>();
  const auto repaired = [&](MemoryDevice& device) -> Status {
    BOOTSEAL_TRY(const RepairPlan plan, RepairPlan::make(device, Container::fixed_vhd,
                                                         key ? std::optional<ByteSpan>(*key) : std::nullopt));
    if (plan.steps().empty() && !plan.left_alone().empty())
      return fail(ErrorCode::corrupt, plan.left_alone().front());
    return plan.apply(device);
  };
  const auto before = content_after_crash(damaged, keys);
  MemoryDevice device(damaged);
  device.start_recording();
  ASSERT_TRUE(repaired(device));
  ASSERT_FALSE(device.operations().empty());
  const auto after = content_after_crash(device.content(), keys);
  ASSERT_TRUE(after) << after.error().describe();
  ASSERT_TRUE(after->has_value());
  std::size_t violations = 0;
  const std::size_t states =
      test::for_each_crash_state(damaged, device.operations(), [&](const Bytes& state, bool acknowledged) {
        const auto found = content_after_crash(state, keys);
        if (found && *found == *after) return;
        if (found && !acknowledged && before && *found == *before) return;
        MemoryDevice again(state);
        const Status mended = repaired(again);
        const auto now = content_after_crash(again.content(), keys);
        if (acknowledged || !mended || !now || *now != *after) ++violations;
      });
  test::print_states("repair: " + name, states);
  EXPECT_EQ(violations, 0U);
}

TEST(CrashRepair, TheFooter) {
  Bytes disk = prepared_device(false).content();
  std::fill(disk.end() - 512, disk.end(), std::byte{0});
  expect_repair_crash_safe("a footer", disk, std::nullopt);
}

TEST(CrashRepair, AHeader) {
  for (const bool encrypted : {false, true}) {
    const std::optional<Bytes> key = encrypted ? std::optional(key1()) : std::nullopt;
    const Bytes whole = prepared_device(encrypted).content();
    const std::size_t active = active_offset(whole);
    Bytes disk = whole;
    flip(disk, kSector - active + 13);
    expect_repair_crash_safe(encrypted ? "the older header, encrypted" : "the older header, plain", disk,
                             key);
    disk = whole;
    flip(disk, 13);
    flip(disk, kSector + 20);
    expect_repair_crash_safe(encrypted ? "both headers, encrypted" : "both headers, plain", disk, key);
  }
  Bytes disk = prepared_device(true).content();
  flip(disk, active_offset(disk) + 13);
  expect_repair_crash_safe("the newer header, encrypted", disk, key1());
}

TEST(CrashRepair, SingleBytes) {
  Bytes disk = prepared_device(false).content();
  disk[24] ^= std::byte{1};
  disk[kSector + 16] ^= std::byte{1};
  expect_repair_crash_safe("one byte of each header", disk, std::nullopt);
}

TEST(CrashRepair, TheOrderOfTheHeaders) {
  Bytes disk = prepared_device(false).content();
  const std::size_t active = active_offset(disk);
  set_sequence(disk, active, load_le32(disk, active + 16) + 5);
  expect_repair_crash_safe("sequence numbers that are apart", disk, std::nullopt);
}

TEST(CrashRepair, AFileTable) {
  for (const bool encrypted : {false, true}) {
    const std::optional<Bytes> key = encrypted ? std::optional(key1()) : std::nullopt;
    const Bytes whole = prepared_device(encrypted).content();
    const std::size_t active = active_offset(whole);
    const auto lose_file = [&](Bytes& disk, std::size_t header) {
      store_le32(disk, table_offset(disk, header) + static_cast<std::size_t>(kOther) * 64, 100000);
    };
    Bytes disk = whole;
    lose_file(disk, active);
    expect_repair_crash_safe(encrypted ? "the active table, encrypted" : "the active table, plain", disk,
                             key);
    lose_file(disk, kSector - active);
    expect_repair_crash_safe(encrypted ? "both tables, encrypted" : "both tables, plain", disk, key);
  }
}

TEST(CrashRepair, AZeroMetadataKey) {
  expect_repair_crash_safe("a zero metadata key", test::sample("zero-metadata-key.vmgs"), key1());
}

}  // namespace
}  // namespace bootseal::vmgs

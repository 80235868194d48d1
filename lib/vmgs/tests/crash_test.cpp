// In every state that a crash can leave (crash_model.h) the store must open with its content before or after
// the interrupted change, and after it once the change was acknowledged.
#include <gtest/gtest.h>

#include <random>

#include "crash_model.h"

namespace bootseal::vmgs {
namespace {

using test::blank_device;
using test::BorrowedDevice;
using test::Content;
using test::content_after_crash;
using test::count_violations;
using test::expect_crash_safe;
using test::for_each_crash_state;
using test::format_on;
using test::key1;
using test::key2;
using test::kFile;
using test::kOther;
using test::kSector;
using test::pattern;
using test::prepared_device;
using test::record;
using test::RecordedChange;

// True when the first sector is one of the two, not a part of each.
bool is_whole_header(const Bytes& state, const Bytes& before, const Bytes& after) {
  const auto first = ByteSpan(state).first(kSector);
  return std::ranges::equal(first, ByteSpan(before).first(kSector)) ||
         std::ranges::equal(first, ByteSpan(after).first(kSector));
}

// The first header of all has no other one to fall back to: torn inside of its sector it is refused, and
// nothing was acknowledged yet.
TEST(Crash, Format) {
  MemoryDevice device = blank_device();
  const Bytes disk = device.content();
  device.start_recording();
  format_on(device);
  std::size_t whole_sectors = 0;
  std::size_t refused = 0;
  const std::size_t states =
      for_each_crash_state(disk, device.operations(), [&](const Bytes& state, bool acknowledged) {
        const bool torn = !is_whole_header(state, disk, device.content());
        whole_sectors += torn ? 0 : 1;
        const auto found = content_after_crash(state, {});
        if (torn && !found) {
          EXPECT_EQ(found.error().code, ErrorCode::corrupt);
          ++refused;
          return;
        }
        ASSERT_TRUE(found) << found.error().describe();
        EXPECT_TRUE(*found == Content{} || (!acknowledged && *found == std::nullopt));
      });
  test::print_states("format, " + std::to_string(refused) + " of these with a torn first header and refused",
                     states);
  EXPECT_GT(whole_sectors, 8U);
  EXPECT_GT(refused, 0U);
}

TEST(Crash, PlainWrite) {
  expect_crash_safe("plain write, small", false,
                    [](Store& store) { return store.write(kFile, pattern(30, 7), Protection::plain); });
  expect_crash_safe("plain write, large", false,
                    [](Store& store) { return store.write(kFile, pattern(9000, 7), Protection::plain); });
}

TEST(Crash, EncryptedWrite) {
  expect_crash_safe("encrypted write, small", true,
                    [](Store& store) { return store.write(kFile, pattern(30, 7), Protection::encrypted); });
  expect_crash_safe("encrypted write, large", true,
                    [](Store& store) { return store.write(kFile, pattern(9000, 7), Protection::encrypted); });
  expect_crash_safe("encrypted write, new file", true, [](Store& store) {
    return store.write(FileId{50}, pattern(100, 7), Protection::encrypted);
  });
}

TEST(Crash, Delete) {
  expect_crash_safe("delete, plain", false, [](Store& store) { return store.remove(kFile); });
  expect_crash_safe("delete, encrypted", true, [](Store& store) { return store.remove(kFile); });
}

TEST(Crash, Move) {
  expect_crash_safe("move, encrypted", true,
                    [](Store& store) { return store.move(kFile, kOther, Overwrite::allow); });
}

TEST(Crash, SetFirstKey) {
  expect_crash_safe("set first key", false, [](Store& store) { return store.set_first_key(key1()); });
}

TEST(Crash, Scrub) {
  expect_crash_safe("scrub", true, [](Store& store) { return store.scrub(); });
}

TEST(Crash, KeyRotation) {
  expect_crash_safe("key rotation", true, [](Store& store) { return store.update_key(key2()); });
}

TEST(Crash, KeyRotationAfterAnUnfinishedOne) {
  MemoryDevice device = prepared_device(true);
  {
    auto faulty = std::make_unique<BorrowedDevice>(device);
    BorrowedDevice& control = *faulty;
    Store store = *Store::open(std::move(faulty), Container::fixed_vhd);
    ASSERT_TRUE(store.unlock(key1()));
    control.fail_after(4, ErrorCode::io_error);
    ASSERT_FALSE(store.update_key(pattern(kKeySize, 5)));
  }
  const RecordedChange run =
      record(device, true, false, [](Store& store) { return store.update_key(key2()); });
  EXPECT_EQ(count_violations(run, "key rotation after an unfinished one"), 0U);
}

// After the rotation was acknowledged only the new key opens the store.
TEST(Crash, AnAcknowledgedRotationIsNotUndone) {
  MemoryDevice device = prepared_device(true);
  RecordedChange run = record(device, true, true, [](Store& store) { return store.update_key(key2()); });
  run.keys = {key2()};
  std::size_t acknowledged_states = 0;
  for_each_crash_state(run.disk, run.operations, [&](const Bytes& state, bool acknowledged) {
    if (!acknowledged) return;
    ++acknowledged_states;
    EXPECT_EQ(*content_after_crash(state, {key2()}), run.after);
    EXPECT_FALSE(content_after_crash(state, {key1()}));
  });
  EXPECT_EQ(acknowledged_states, 1U);
}

// Forty changes in a row: at no point of any of them is an acknowledged one lost.
TEST(Crash, NoAcknowledgedChangeOfManyIsLost) {
  MemoryDevice device = prepared_device(true);
  Store store = test::open_on(device, key1());
  std::size_t states = 0;
  for (unsigned round = 0; round < 40; ++round) {
    RecordedChange run{.disk = device.content(), .keys = {key1()}};
    run.before = *test::content_of(store);
    device.start_recording();
    const auto id = static_cast<FileId>(40 + round % 4);
    if (round % 7 == 6 && store.query(id)) {
      ASSERT_TRUE(store.remove(id));
    } else {
      ASSERT_TRUE(store.write(id, pattern(1 + round * 37 % 6000, round),
                              round % 3 == 0 ? Protection::plain : Protection::encrypted, Overwrite::allow));
    }
    run.after = *test::content_of(store);
    std::size_t violations = 0;
    std::mt19937 sample(round);
    states += for_each_crash_state(run.disk, device.operations(), [&](const Bytes& state, bool acknowledged) {
      if (!acknowledged && sample() % 8 != 0) return;
      const auto found = content_after_crash(state, run.keys);
      if (!found || (*found != run.after && (acknowledged || *found != run.before))) ++violations;
    });
    ASSERT_EQ(violations, 0U) << "change " << round;
  }
  test::print_states("40 changes, every eighth opened", states);
}

// The model can fail: without the flushes, which the protocol needs, it finds states that are neither old nor
// new.
TEST(Crash, TheModelFindsAProtocolWithoutFlushes) {
  MemoryDevice device = prepared_device(true);
  RecordedChange run = record(device, true, true, [](Store& store) {
    return store.write(kFile, pattern(9000, 7), Protection::encrypted);
  });
  std::erase_if(run.operations, [](const auto& operation) { return operation.flush; });
  EXPECT_GT(count_violations(run, "without flushes"), 0U);
}

// The weakness of the reference implementation: no flush after the header. Two changes, the first of them
// acknowledged.
TEST(Crash, TheModelFindsAMissingFlushAfterTheHeader) {
  MemoryDevice device = prepared_device(true);
  Store store = test::open_on(device, key1());
  ASSERT_TRUE(store.touch());
  RecordedChange run{.disk = device.content(), .keys = {key1()}};
  device.start_recording();
  ASSERT_TRUE(store.write(kFile, as_bytes("acknowledged"), Protection::encrypted));
  run.before = *test::content_of(store);
  std::vector<MemoryDevice::Operation> operations = device.operations();
  ASSERT_TRUE(operations.back().flush);
  // What is before the flush of the first change is on the disk when the second begins; its header need not
  // be.
  const Bytes acknowledged = device.content();
  Bytes without_header = acknowledged;
  const auto& header = operations[operations.size() - 2];
  std::copy_n(run.disk.begin() + static_cast<std::ptrdiff_t>(header.offset), kSector,
              without_header.begin() + static_cast<std::ptrdiff_t>(header.offset));
  run.disk = without_header;
  device.start_recording();
  ASSERT_TRUE(store.write(kFile, as_bytes("in flight"), Protection::encrypted));
  run.after = *test::content_of(store);
  run.operations = {header};
  for (const auto& operation : device.operations()) {
    if (!operation.flush) run.operations.push_back(operation);
  }
  EXPECT_GT(count_violations(run, "without the flush after the header"), 0U);
}

}  // namespace
}  // namespace bootseal::vmgs

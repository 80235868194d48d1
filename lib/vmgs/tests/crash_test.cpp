// A crash model. What was written before a flush that returned is on the disk; of what was written since, any
// subset of the 512-byte sectors may be, and one header sector may be torn at any byte. In every state that
// this can leave, the store must open with its content before or after the interrupted change, and after it
// once the change was acknowledged.
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <random>

#include "support.h"

namespace bootseal::vmgs {
namespace {

using test::blank_device;
using test::BorrowedDevice;
using test::Content;
using test::format_on;
using test::key1;
using test::key2;
using test::pattern;

constexpr std::size_t kSector = 512;
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BOOTSEAL_SANITIZED
#endif
#endif
#if defined(BOOTSEAL_SANITIZED) || defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kExhaustiveLimit = 6;  // sanitized builds look at fewer states
constexpr int kRandomSubsets = 40;
constexpr std::size_t kTearStep = 24;  // bytes
#else
constexpr std::size_t kExhaustiveLimit = 12;  // sectors; 4096 subsets
constexpr int kRandomSubsets = 600;
constexpr std::size_t kTearStep = 1;
#endif
constexpr FileId kFile{40};
constexpr FileId kOther{41};

struct Sector {
  std::size_t offset;
  Bytes data;
};

// Calls `check` with each disk content that a crash during `operations`, begun on `disk`, may leave;
// `acknowledged` when all of them had returned. Returns the number of states.
std::size_t for_each_crash_state(Bytes disk, std::span<const MemoryDevice::Operation> operations,
                                 const std::function<void(const Bytes& state, bool acknowledged)>& check) {
  std::mt19937_64 random(20261121);
  std::size_t states = 0;
  const auto visit = [&](const Bytes& state, bool acknowledged) {
    ++states;
    check(state, acknowledged);
  };
  const auto apply = [](Bytes& target, const Sector& sector) {
    std::ranges::copy(sector.data, target.begin() + static_cast<std::ptrdiff_t>(sector.offset));
  };
  std::vector<Sector> pending;
  const auto crash = [&] {
    const std::size_t count = pending.size();
    const auto visit_subset = [&](const std::function<bool(std::size_t)>& is_in) {
      Bytes state = disk;
      for (std::size_t i = 0; i < count; ++i) {
        if (is_in(i)) apply(state, pending[i]);
      }
      visit(state, false);
    };
    if (count <= kExhaustiveLimit) {
      for (std::size_t mask = 0; mask < std::size_t{1} << count; ++mask)
        visit_subset([&](std::size_t i) { return (mask >> i & 1) != 0; });
    } else {
      for (std::size_t length = 0; length <= count; ++length)
        visit_subset([&](std::size_t i) { return i < length; });
      for (std::size_t left_out = 0; left_out < count; ++left_out)
        visit_subset([&](std::size_t i) { return i != left_out; });
      for (std::size_t only = 0; only < count; ++only) visit_subset([&](std::size_t i) { return i == only; });
      for (int round = 0; round < kRandomSubsets; ++round)
        visit_subset([&](std::size_t) { return (random() & 1) != 0; });
    }
    if (count != 1 || pending[0].offset >= 2 * kSector) return;
    const Sector& header = pending[0];
    for (std::size_t length = 1; length < kSector;
         length += kTearStep) {  // torn: the first bytes, or the last, are new
      Bytes front = disk;
      std::copy_n(header.data.begin(), length, front.begin() + static_cast<std::ptrdiff_t>(header.offset));
      visit(front, false);
      Bytes back = disk;
      const auto from = static_cast<std::ptrdiff_t>(length);
      std::copy(header.data.begin() + from, header.data.end(),
                back.begin() + static_cast<std::ptrdiff_t>(header.offset) + from);
      visit(back, false);
    }
  };
  for (const auto& operation : operations) {
    if (operation.flush) {
      crash();
      for (const Sector& sector : pending) apply(disk, sector);
      pending.clear();
      continue;
    }
    for (std::size_t at = 0; at < operation.data.size(); at += kSector) {
      const std::size_t offset = static_cast<std::size_t>(operation.offset) + at;
      const ByteSpan data = ByteSpan(operation.data).subspan(at, kSector);
      for (const Sector& earlier : pending)
        EXPECT_NE(earlier.offset, offset) << "a sector is written twice between two flushes";
      if (!std::ranges::equal(data, ByteSpan(disk).subspan(offset, kSector)))
        pending.push_back({offset, to_bytes(data)});
    }
  }
  if (!pending.empty()) {
    crash();
  } else {
    visit(disk, true);
  }
  return states;
}

// What the store in this state holds; nullopt for an empty one. An error when it opens with none of the keys.
Result<std::optional<Content>> content_after_crash(const Bytes& state, const std::vector<Bytes>& keys) {
  MemoryDevice device(state);
  auto opened = test::try_open_on(device);
  if (!opened && opened.error().code == ErrorCode::not_found) return std::optional<Content>();
  if (!opened) return tl::unexpected(opened.error());
  if (opened->info().encrypted) {
    Status unlocked = fail(ErrorCode::permission_denied, "no key was given");
    for (const Bytes& key : keys) {
      if (!unlocked) unlocked = opened->unlock(key);
    }
    if (!unlocked) return tl::unexpected(unlocked.error());
  }
  BOOTSEAL_TRY(Content before, test::content_of(*opened));
  // The store can be worked with: a further change is taken and changes nothing else.
  BOOTSEAL_TRY_STATUS(opened->write(FileId{60}, as_bytes("after the crash"), Protection::plain));
  Content expected = before;
  expected[FileId{60}] = to_bytes("after the crash");
  BOOTSEAL_TRY(const Content after, test::content_of(*opened));
  if (after != expected) return fail(ErrorCode::corrupt, "a change after the crash changed other files");
  return std::optional<Content>(std::move(before));
}

struct RecordedChange {
  Bytes disk;
  std::vector<MemoryDevice::Operation> operations;
  std::optional<Content> before;
  std::optional<Content> after;
  std::vector<Bytes> keys;
};

// The number of states in which the store is not what it must be.
std::size_t count_violations(const RecordedChange& run, const std::string& name) {
  std::size_t violations = 0;
  std::size_t acknowledged_states = 0;
  const std::size_t states =
      for_each_crash_state(run.disk, run.operations, [&](const Bytes& state, bool acknowledged) {
        const auto found = content_after_crash(state, run.keys);
        acknowledged_states += acknowledged ? 1 : 0;
        if (!found || (*found != run.after && (acknowledged || *found != run.before))) ++violations;
      });
  std::cout << "[   states ] " << name << ": " << states << "\n";
  EXPECT_GT(states, 2U);
  EXPECT_LE(acknowledged_states, 1U);
  return violations;
}

// True when the first sector is one of the two, not a part of each.
bool is_whole_header(const Bytes& state, const Bytes& before, const Bytes& after) {
  const auto first = ByteSpan(state).first(kSector);
  return std::ranges::equal(first, ByteSpan(before).first(kSector)) ||
         std::ranges::equal(first, ByteSpan(after).first(kSector));
}

using Change = std::function<Status(Store&)>;

// A store with two files and some history.
MemoryDevice prepared_device(bool encrypted) {
  MemoryDevice device = blank_device();
  Store store = format_on(device);
  EXPECT_TRUE(!encrypted || store.set_first_key(key1()));
  const Protection protection = encrypted ? Protection::encrypted : Protection::plain;
  for (unsigned round = 0; round < 5; ++round) {
    EXPECT_TRUE(store.write(kFile, pattern(700 + 300 * round, round), protection));
    EXPECT_TRUE(store.write(kOther, pattern(5000, 100 + round), protection));
  }
  return device;
}

RecordedChange record(MemoryDevice& device, bool encrypted, bool settled, const Change& change) {
  RecordedChange run{.keys = {key1(), key2()}};
  Store store = encrypted ? test::open_on(device, key1()) : test::open_on(device);
  EXPECT_TRUE(!settled || store.touch());
  run.before = *test::content_of(store);
  run.disk = device.content();
  device.start_recording();
  const Status changed = change(store);
  EXPECT_TRUE(changed) << changed.error().describe();
  run.operations = device.operations();
  run.after = *test::content_of(store);
  return run;
}

void expect_crash_safe(const std::string& name, bool encrypted, const Change& change) {
  for (const bool settled : {false, true}) {
    MemoryDevice device = prepared_device(encrypted);
    const RecordedChange run = record(device, encrypted, settled, change);
    EXPECT_EQ(count_violations(run, name + (settled ? "" : ", first after opening")), 0U);
  }
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
  std::cout << "[   states ] format: " << states
            << ", of these with a torn first header and refused: " << refused << "\n";
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
  std::cout << "[   states ] 40 changes: " << states << ", every eighth opened\n";
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

// Any sequence of operations leaves what a map of files would hold, and every refusal changes nothing.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "allocator.h"
#include "decoder.h"
#include "support.h"

namespace bootseal::vmgs {
namespace {

using test::Content;

struct Step {
  int operation;  // 0 to 9
  int file;       // 20 to 27
  int other;
  std::size_t size;
  unsigned seed;
};

FileId id_of(int file) {
  return static_cast<FileId>(file);
}

std::vector<std::uint8_t> octets(ByteSpan bytes) {
  std::vector<std::uint8_t> result;
  for (const std::byte byte : bytes) result.push_back(std::to_integer<std::uint8_t>(byte));
  return result;
}

// One step on the store and on the map; false when a refusal or its absence is a surprise.
bool take(Store& store, MemoryDevice& device, Content& expected, std::optional<Bytes>& key,
          const Step& step) {
  const FileId file = id_of(step.file);
  const FileId other = id_of(step.other);
  const Bytes content = test::pattern(step.size, step.seed);
  const auto is_full = [](const Status& status) {
    return !status && status.error().code == ErrorCode::exhausted;
  };
  switch (step.operation) {
    case 0:
    case 1:
    case 2: {
      const bool sealed = key && !content.empty() && step.operation != 0;
      const Status done =
          store.write(file, content, sealed ? Protection::encrypted : Protection::plain, Overwrite::allow);
      if (done) expected[file] = content;
      return done || is_full(done);
    }
    case 3:
    case 4: {
      const Status done = store.remove(file);
      const bool was_there = expected.contains(file);
      if (done) expected.erase(file);
      return done.has_value() == was_there || is_full(done);
    }
    case 5: {
      const bool possible = expected.contains(file) && file != other;
      const Status done = store.move(file, other, Overwrite::allow);
      if (done) {
        expected[other] = expected[file];
        expected.erase(file);
      }
      return done.has_value() == possible || is_full(done);
    }
    case 6: {
      const Bytes new_key = test::pattern(kKeySize, step.seed);
      const Status done = key ? store.update_key(new_key) : store.set_first_key(new_key);
      if (done) key = new_key;
      return done || is_full(done);
    }
    case 7:
      return static_cast<bool>(store.touch()) || store.info().free_blocks < 4;
    case 8:
      return static_cast<bool>(store.scrub()) || store.info().free_blocks < 4;
    default:
      break;
  }
  auto opened = test::try_open_on(device, key ? std::optional<ByteSpan>(*key) : std::nullopt);
  if (!opened) return false;
  store = *std::move(opened);
  return true;
}

TEST(Properties, AnySequenceOfOperationsLeavesWhatAMapWouldHold) {
  const auto steps = rc::gen::container<std::vector<Step>>(rc::gen::apply(
      [](int operation, int file, int other, std::size_t size, unsigned seed) {
        return Step{operation, file, other, size, seed + 1};
      },
      rc::gen::inRange(0, 10), rc::gen::inRange(20, 28), rc::gen::inRange(20, 28),
      rc::gen::inRange<std::size_t>(0, 13000), rc::gen::inRange(0U, 1000U)));
  const bool held = rc::check([&] {
    const std::vector<Step> sequence = *steps;
    MemoryDevice device = test::blank_device(40);
    Store store = test::format_on(device);
    Content expected;
    std::optional<Bytes> key;
    for (const Step& step : sequence) {
      RC_ASSERT(take(store, device, expected, key, step));
      RC_ASSERT(*test::content_of(store) == expected);
    }
    Store again = test::open_on(device, key ? std::optional<ByteSpan>(*key) : std::nullopt);
    RC_ASSERT(*test::content_of(again) == expected);
    RC_ASSERT(again.info().sequence == store.info().sequence);
    if (!key) return;
    const auto decoded = test::decode(octets(device.content()), octets(*key));
    RC_ASSERT(decoded.has_value());
    for (const auto& [id, file] : decoded->files) RC_ASSERT(file.content == octets(expected.at(id_of(id))));
  });
  EXPECT_TRUE(held);
}

TEST(Properties, TheAllocatorNeverGivesABlockTwice) {
  const bool held = rc::check([] {
    const auto capacity = *rc::gen::inRange<std::uint64_t>(3, 200);
    Allocator allocator(capacity);
    std::vector<bool> used(capacity);
    const auto reserved = *rc::gen::container<std::vector<std::pair<std::uint64_t, std::uint64_t>>>(
        rc::gen::pair(rc::gen::inRange<std::uint64_t>(0, 220), rc::gen::inRange<std::uint64_t>(1, 20)));
    for (const auto& [block, blocks] : reserved) {
      const Extent extent{block, blocks};
      allocator.reserve({&extent, 1});
      for (std::uint64_t i = block; i < std::min(block + blocks, capacity); ++i) used[i] = true;
    }
    const auto wanted =
        *rc::gen::container<std::vector<std::uint64_t>>(rc::gen::inRange<std::uint64_t>(1, 12));
    for (const std::uint64_t count : wanted) {
      std::uint64_t run = 0;
      std::uint64_t longest = 0;
      std::uint64_t free = 0;
      for (std::uint64_t i = kLowestBlock; i < capacity; ++i) {
        run = used[i] ? 0 : run + 1;
        free += used[i] ? 0 : 1;
        longest = std::max(longest, run);
      }
      RC_ASSERT(allocator.free_blocks() == free);
      const auto block = allocator.take(count);
      RC_ASSERT(block.has_value() == (longest >= count));
      if (!block) continue;
      for (std::uint64_t i = *block; i < *block + count; ++i) {
        RC_ASSERT(i >= kLowestBlock && i < capacity && !used[i]);
        used[i] = true;
      }
    }
  });
  EXPECT_TRUE(held);
}

TEST(Allocator, TakesTheSmallestGapThatFitsAndTheLowestAmongEquals) {
  Allocator allocator(100);
  const std::vector<Extent> used{
      {2, 8}, {20, 5}, {28, 12}, {43, 40}, {90, 2}};  // gaps: 10+10, 25+3, 40+3, 83+7, 92+8
  allocator.reserve(used);
  EXPECT_EQ(*allocator.take(3), 25U);
  EXPECT_EQ(*allocator.take(2), 40U);
  EXPECT_EQ(*allocator.take(1), 42U);
  EXPECT_EQ(*allocator.take(4), 83U);
  EXPECT_EQ(*allocator.take(8), 92U);
  EXPECT_EQ(*allocator.take(10), 10U);
  EXPECT_EQ(allocator.take(4).error().code, ErrorCode::exhausted);
  EXPECT_EQ(allocator.free_blocks(), 3U);
}

}  // namespace
}  // namespace bootseal::vmgs

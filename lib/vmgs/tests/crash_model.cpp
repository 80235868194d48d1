#include "crash_model.h"

#include <gtest/gtest.h>

#include <iostream>
#include <random>

namespace bootseal::vmgs::test {
namespace {

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

struct Sector {
  std::size_t offset;
  Bytes data;
};

}  // namespace

void print_states(const std::string& name, std::size_t states) {
  static std::size_t total = 0;
  total += states;
  std::cout << "[   states ] " << name << ": " << states << " (" << total << " in all)\n";
}

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

Result<std::optional<Content>> content_after_crash(const Bytes& state, const std::vector<Bytes>& keys) {
  MemoryDevice device(state);
  auto opened = try_open_on(device);
  if (!opened && opened.error().code == ErrorCode::not_found) return std::optional<Content>();
  if (!opened) return tl::unexpected(opened.error());
  if (opened->info().encrypted) {
    Status unlocked = fail(ErrorCode::permission_denied, "no key was given");
    for (const Bytes& key : keys) {
      if (!unlocked) unlocked = opened->unlock(key);
    }
    if (!unlocked) return tl::unexpected(unlocked.error());
  }
  BOOTSEAL_TRY(Content before, content_of(*opened));
  // The store can be worked with: a further change is taken and changes nothing else.
  BOOTSEAL_TRY_STATUS(opened->write(FileId{60}, as_bytes("after the crash"), Protection::plain));
  Content expected = before;
  expected[FileId{60}] = to_bytes("after the crash");
  BOOTSEAL_TRY(const Content after, content_of(*opened));
  if (after != expected) return fail(ErrorCode::corrupt, "a change after the crash changed other files");
  return std::optional<Content>(std::move(before));
}

std::size_t count_violations(const RecordedChange& run, const std::string& name) {
  std::size_t violations = 0;
  std::size_t acknowledged_states = 0;
  const std::size_t states =
      for_each_crash_state(run.disk, run.operations, [&](const Bytes& state, bool acknowledged) {
        const auto found = content_after_crash(state, run.keys);
        acknowledged_states += acknowledged ? 1 : 0;
        if (!found || (*found != run.after && (acknowledged || *found != run.before))) ++violations;
      });
  print_states(name, states);
  EXPECT_GT(states, 2U);
  EXPECT_LE(acknowledged_states, 1U);
  return violations;
}

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
  Store store = encrypted ? open_on(device, key1()) : open_on(device);
  EXPECT_TRUE(!settled || store.touch());
  run.before = *content_of(store);
  run.disk = device.content();
  device.start_recording();
  const Status changed = change(store);
  EXPECT_TRUE(changed) << changed.error().describe();
  run.operations = device.operations();
  run.after = *content_of(store);
  return run;
}

void expect_crash_safe(const std::string& name, bool encrypted, const Change& change) {
  for (const bool settled : {false, true}) {
    MemoryDevice device = prepared_device(encrypted);
    const RecordedChange run = record(device, encrypted, settled, change);
    EXPECT_EQ(count_violations(run, name + (settled ? "" : ", first after opening")), 0U);
  }
}

}  // namespace bootseal::vmgs::test

// What a repair does, and what it must not.
#include "bootseal/vmgs/repair.h"

#include <gmock/gmock.h>

#include "crash_model.h"

namespace bootseal::vmgs {
namespace {

using test::Content;
using test::key1;
using test::key2;
using test::kSector;
using test::prepared_device;
using test::sample;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RepairPlan plan_for(const Bytes& disk, std::optional<Bytes> key = std::nullopt) {
  MemoryDevice device(disk);
  device.start_recording();
  auto plan =
      RepairPlan::make(device, Container::fixed_vhd, key ? std::optional<ByteSpan>(*key) : std::nullopt);
  EXPECT_TRUE(plan) << plan.error().describe();
  EXPECT_TRUE(device.operations().empty()) << "a plan must write nothing";
  return std::move(plan).value();
}

Bytes repaired(Bytes disk, const RepairPlan& plan) {
  disk.resize(plan.device_size());
  MemoryDevice device(std::move(disk));
  const Status done = plan.apply(device);
  EXPECT_TRUE(done) << done.error().describe();
  return device.content();
}

// nullopt when it does not open.
std::optional<Content> content_of(const Bytes& disk, std::optional<Bytes> key = std::nullopt) {
  MemoryDevice device(disk);
  auto store = test::try_open_on(device, key ? std::optional<ByteSpan>(*key) : std::nullopt);
  if (!store) return std::nullopt;
  return *test::content_of(*store);
}

std::size_t active_header(const Bytes& disk) {
  MemoryDevice device(disk);
  return test::open_on(device).info().active_header * kSector;
}

// More than a checksum could put right.
void flip(Bytes& disk, std::size_t offset) {
  for (const std::size_t at : {offset, offset + 1}) disk.at(at) ^= std::byte{0x10};
}

TEST(Repair, AStoreInOrderIsLeftAsItIs) {
  for (const char* name : {"plain-multi.vmgs", "sequence-wrap.vmgs", "formatted-default.vmgs"}) {
    const RepairPlan plan = plan_for(sample(name));
    EXPECT_THAT(plan.steps(), IsEmpty()) << name;
    EXPECT_THAT(plan.left_alone(), IsEmpty()) << name;
    EXPECT_EQ(repaired(sample(name), plan), sample(name));
  }
}

TEST(Repair, WhatIsNoStoreIsNotMadeOne) {
  for (const char* name : {"crash-in-format.vmgs", "v1-gpt.vmgs"}) {
    const RepairPlan plan = plan_for(sample(name));
    EXPECT_THAT(plan.steps(), IsEmpty()) << name;
    EXPECT_THAT(plan.left_alone(), ::testing::SizeIs(1)) << name;
  }
  const RepairPlan noise = plan_for(test::pattern(40000, 3));
  EXPECT_THAT(noise.steps(), IsEmpty());
  EXPECT_THAT(noise.left_alone(), ElementsAre(HasSubstr("neither header is valid")));
}

TEST(Repair, AMissingOrDamagedFooterIsWrittenAnew) {
  const Bytes whole = sample("plain-history.vmgs");
  Bytes cut = whole;
  cut.resize(cut.size() - 512);
  Bytes bad = whole;
  flip(bad, bad.size() - 500);
  for (const Bytes& disk : {cut, bad}) {
    EXPECT_FALSE(content_of(disk));
    const RepairPlan plan = plan_for(disk);
    EXPECT_THAT(plan.steps(), ElementsAre(HasSubstr("write a new footer for a body of 65536 bytes")));
    EXPECT_EQ(plan.device_size(), whole.size());
    EXPECT_EQ(content_of(repaired(disk, plan)), content_of(whole));
  }
}

TEST(Repair, BothGenerationsAreKeptWhenNeitherHeaderIsValid) {
  const Bytes disk = sample("both-headers-bad.vmgs");
  const RepairPlan plan = plan_for(disk);
  EXPECT_THAT(plan.steps(), ElementsAre(HasSubstr("restore header 1 (sequence 7)"),
                                        HasSubstr("restore header 2 (sequence 6)")));
  const Bytes mended = repaired(disk, plan);
  EXPECT_EQ(content_of(mended), content_of(sample("plain-history.vmgs")));
  // Only the two header sectors were touched.
  EXPECT_TRUE(std::equal(mended.begin() + 1024, mended.end(), disk.begin() + 1024));
}

TEST(Repair, AnyWrongByteOfAHeaderIsPutRightWithoutTheKey) {
  for (const bool encrypted : {false, true}) {
    const Bytes whole = prepared_device(encrypted).content();
    for (const std::size_t header : {std::size_t{0}, kSector}) {
      for (std::size_t at = 0; at < 168; ++at) {
        Bytes disk = whole;
        disk[header + at] ^= static_cast<std::byte>(1 + at);
        MemoryDevice device(disk);
        ASSERT_TRUE(inspect(device, Container::fixed_vhd)->damaged()) << at;
        ASSERT_EQ(repaired(disk, plan_for(disk)), whole) << "byte " << at << " of the header at " << header;
      }
    }
  }
}

TEST(Repair, AWrongByteOfBothHeadersIsPutRight) {
  const Bytes whole = prepared_device(true).content();
  Bytes disk = whole;
  disk[16] ^= std::byte{0xFF};
  disk[kSector + 40] ^= std::byte{0x01};
  EXPECT_EQ(repaired(disk, plan_for(disk)), whole);
}

TEST(Repair, AnyWrongByteOfTheFooterIsPutRight) {
  const Bytes whole = prepared_device(false).content();
  for (std::size_t at = 0; at < kFooterSize; ++at) {
    Bytes disk = whole;
    disk[disk.size() - kFooterSize + at] ^= std::byte{0x40};
    const Bytes mended = repaired(disk, plan_for(disk));
    ASSERT_EQ(content_of(mended), content_of(whole)) << at;
  }
}

// The store opens through the older header, and the newest acknowledged state would be lost with the next
// change.
TEST(Repair, ADamagedNewestHeaderIsRestoredWhenTheKeyProvesItsState) {
  const Bytes whole = prepared_device(true).content();
  Bytes disk = whole;
  flip(disk, active_header(whole) + 13);
  ASSERT_NE(content_of(disk, key1()), content_of(whole, key1()));
  const RepairPlan plan = plan_for(disk, key1());
  EXPECT_THAT(plan.steps(), ElementsAre(HasSubstr("the key proves the state it leads to")));
  EXPECT_EQ(content_of(repaired(disk, plan), key1()), content_of(whole, key1()));
}

TEST(Repair, WithoutItsKeyASealedStateIsNotGivenUp) {
  const Bytes whole = prepared_device(true).content();
  for (const std::size_t header : {std::size_t{0}, kSector}) {
    Bytes disk = whole;
    flip(disk, header + 13);
    const RepairPlan plan = plan_for(disk);
    EXPECT_THAT(plan.steps(), IsEmpty());
    EXPECT_THAT(plan.left_alone(),
                ElementsAre(HasSubstr("which only the key can tell: give it with --key-path")));
  }
}

TEST(Repair, APlainStateThatMayBeNewerIsNotGivenUp) {
  const Bytes whole = prepared_device(false).content();
  Bytes disk = whole;
  flip(disk, active_header(whole) + 13);
  const RepairPlan plan = plan_for(disk);
  EXPECT_THAT(plan.steps(), IsEmpty());
  EXPECT_THAT(plan.left_alone(), ElementsAre(HasSubstr("nothing tells whether it is newer")));
}

TEST(Repair, AHeaderThatLeadsNowhereIsReplaced) {
  for (const bool encrypted : {false, true}) {
    const std::optional<Bytes> key = encrypted ? std::optional(key1()) : std::nullopt;
    const Bytes whole = prepared_device(encrypted).content();
    Bytes disk = whole;
    const std::size_t older = kSector - active_header(whole);
    const Bytes noise = test::pattern(168, 5);
    std::ranges::copy(noise, disk.begin() + static_cast<std::ptrdiff_t>(older));
    const RepairPlan plan = plan_for(disk, key);
    EXPECT_THAT(plan.steps(), ElementsAre(HasSubstr("leads to the same state")));
    const Bytes mended = repaired(disk, plan);
    EXPECT_EQ(content_of(mended, key), content_of(whole, key));
    Bytes lost = mended;  // each of the headers is enough now
    std::fill_n(lost.begin() + static_cast<std::ptrdiff_t>(kSector - older), 168, std::byte{1});
    EXPECT_EQ(content_of(lost, key), content_of(whole, key));
  }
}

TEST(Repair, AWrongKeyRepairsNothing) {
  Bytes disk = prepared_device(true).content();
  flip(disk, kSector - active_header(disk) + 13);
  MemoryDevice device(disk);
  EXPECT_EQ(RepairPlan::make(device, Container::fixed_vhd, key2()).error().code,
            ErrorCode::permission_denied);
}

TEST(Repair, HeadersThatAreApartAreBroughtTogether) {
  const Bytes disk = sample("sequence-gap-2.vmgs");
  const RepairPlan plan = plan_for(disk);
  EXPECT_THAT(plan.steps(), ElementsAre(HasSubstr("give header 2 the sequence number 6 instead of 5")));
  EXPECT_EQ(content_of(repaired(disk, plan)), content_of(sample("plain-history.vmgs")));
}

TEST(Repair, TheGenerationBeforeComesInFrontOfADamagedTable) {
  const Bytes disk = sample("entry-out-of-range.vmgs");
  const RepairPlan plan = plan_for(disk);
  EXPECT_THAT(plan.steps(), ElementsAre(HasSubstr("put header 2 (sequence 10) in front of header 1")));
  const Bytes mended = repaired(disk, plan);
  const auto content = content_of(mended);
  ASSERT_TRUE(content);
  EXPECT_TRUE(content->contains(FileId::tpm_nvram));
  EXPECT_TRUE(std::equal(mended.begin() + 1024, mended.end(), disk.begin() + 1024)) << "headers only";
}

TEST(Repair, OnlyFilesThatLieNowhereAreDroppedWhenThereIsNoOtherWay) {
  const Bytes whole = prepared_device(true).content();
  Bytes disk = whole;
  for (const std::size_t header : {std::size_t{0}, kSector}) {
    const std::size_t table = std::size_t{load_le32(disk, header + 24)} * kBlockSize;
    store_le32(disk, table + static_cast<std::size_t>(test::kOther) * 64, 70000);
  }
  const RepairPlan plan = plan_for(disk, key1());
  EXPECT_THAT(plan.steps(), ElementsAre(HasSubstr("drop 41 from the file table")));
  const auto content = content_of(repaired(disk, plan), key1());
  ASSERT_TRUE(content);
  EXPECT_EQ(content->size(), 1U);
  EXPECT_EQ(content->at(test::kFile), content_of(whole, key1())->at(test::kFile));
  EXPECT_THAT(plan.left_alone(), ElementsAre(HasSubstr("somebody took it out"))) << "the loss is not hidden";
}

TEST(Repair, ABrokenSealIsLeftWithItsReason) {
  const RepairPlan plan = plan_for(sample("enc-data-bitflip-file1.vmgs"), key1());
  EXPECT_THAT(plan.steps(), IsEmpty());
  EXPECT_THAT(plan.left_alone(), ElementsAre(HasSubstr("BIOS_NVRAM (1): its seal is broken")));
}

TEST(Repair, KeysThatAnybodyCanReadAreReplaced) {
  const Bytes disk = sample("zero-metadata-key.vmgs");
  EXPECT_THAT(plan_for(disk).steps(), IsEmpty()) << "without the key nothing can be sealed";
  const RepairPlan plan = plan_for(disk, key1());
  EXPECT_THAT(plan.steps(), ElementsAre(HasSubstr("seal every file again")));
  const Bytes mended = repaired(disk, plan);
  EXPECT_EQ(content_of(mended, key1()), content_of(disk, key1()));
  MemoryDevice device(mended);
  EXPECT_FALSE(test::open_on(device, key1()).info().zero_metadata_key);
}

TEST(Repair, APlanIsForTheDeviceItWasMadeFor) {
  const Bytes disk = sample("sequence-gap-2.vmgs");
  const RepairPlan plan = plan_for(disk);
  MemoryDevice other(Bytes(disk.size() + 512));
  EXPECT_EQ(plan.apply(other).error().code, ErrorCode::invalid_argument);
}

TEST(Repair, AFailingDeviceIsAnErrorAndTheStoreCanBeRepairedAgain) {
  const Bytes disk = sample("both-headers-bad.vmgs");
  const RepairPlan plan = plan_for(disk);
  for (std::size_t operations = 0; operations < 4; ++operations) {
    MemoryDevice below(disk);
    test::BorrowedDevice device(below);
    device.fail_after(operations, ErrorCode::io_error);
    EXPECT_EQ(plan.apply(device).error().code, ErrorCode::io_error);
    const RepairPlan again = plan_for(below.content());
    EXPECT_EQ(content_of(repaired(below.content(), again)), content_of(sample("plain-history.vmgs")));
  }
}

}  // namespace
}  // namespace bootseal::vmgs

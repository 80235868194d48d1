#include "variable_flash.h"

#include <gmock/gmock.h>

#include "support.h"

namespace bootseal::guest {
namespace {

using namespace std::chrono_literals;
using test::MemoryStore;

constexpr std::size_t kRecord = 0x64;  // of the first variable
constexpr std::size_t kSector = 512;

class Flash : public testing::Test {
 protected:
  // Programs one byte as QEMU does: through the whole sector.
  Status program(std::size_t offset, std::uint8_t value, std::chrono::milliseconds at = 0ms) {
    const std::size_t start = offset / kSector * kSector;
    Bytes sector = to_bytes(flash_.read(start, kSector));
    sector[offset - start] = static_cast<std::byte>(value);
    return flash_.write(start, sector, VariableFlash::Time(at));
  }
  unsigned commits_of(std::size_t offset, std::uint8_t value) {
    const unsigned before = store_->commits;
    EXPECT_TRUE(program(offset, value));
    return store_->commits - before;
  }
  // Start id and State of a record in the making, as EDK2 writes them.
  void begin_record(std::size_t offset) {
    EXPECT_EQ(commits_of(offset, 0xAA), 0U);
    EXPECT_EQ(commits_of(offset + 1, 0x55), 0U);
    EXPECT_EQ(commits_of(offset + 2, 0x7F), 0U);
    EXPECT_EQ(commits_of(offset + 70, 0x41), 0U);
  }
  [[nodiscard]] const Bytes& stored() const { return store_->blobs[Blob::uefi_flash]; }

  std::shared_ptr<MemoryStore> store_ = test::new_store();
  StateKeeper keeper_{test::open_memory_state(store_)};
  VariableFlash flash_ = VariableFlash::load(keeper_).value();
};

TEST_F(Flash, CommitsARecordBeforeTheWriteThatMakesItLiveIsAcknowledged) {
  begin_record(kRecord);
  EXPECT_EQ(commits_of(kRecord + 2, 0x3F), 1U);
  EXPECT_EQ(stored()[kRecord + 2], std::byte{0x3F});
  EXPECT_EQ(stored()[kRecord + 70], std::byte{0x41}) << "with all that was written before";
  EXPECT_EQ(flash_.deadline(), std::nullopt);
}

TEST_F(Flash, CommitsADeletionBeforeItIsAcknowledged) {
  begin_record(kRecord);
  EXPECT_EQ(commits_of(kRecord + 2, 0x3F), 1U);
  EXPECT_EQ(commits_of(kRecord + 2, 0x3E), 0U) << "in deleted transition: still live";
  EXPECT_EQ(commits_of(kRecord + 2, 0x3C), 1U);
}

TEST_F(Flash, FindsTheStateByteWhereverTheSectorBoundaryLies) {
  for (const std::size_t record :
       {std::size_t{508}, std::size_t{1024}, std::size_t{1532}, std::size_t{0x3FFF8}}) {
    begin_record(record);
    EXPECT_EQ(commits_of(record + 2, 0x3F), 1U) << record;
  }
}

TEST_F(Flash, CommitsEveryChangeOfTheWorkingBlock) {
  EXPECT_EQ(commits_of(0x41000, 0xFE), 1U);
  EXPECT_EQ(commits_of(0x41FFF, 0xFE), 1U);
  EXPECT_EQ(commits_of(0x42000, 0xFE), 0U);
  EXPECT_EQ(commits_of(0x40FFF, 0xFE), 0U);
}

TEST_F(Flash, IgnoresAWriteThatChangesNothing) {
  EXPECT_EQ(commits_of(0x41000, 0xFF), 0U);
  EXPECT_EQ(flash_.deadline(), std::nullopt);
}

TEST_F(Flash, WantsAnyOtherWriteCommittedWithinTenMilliseconds) {
  ASSERT_TRUE(program(5000, 1, 100ms));
  ASSERT_TRUE(program(5001, 2, 105ms));
  EXPECT_EQ(store_->commits, 0U);
  EXPECT_EQ(flash_.deadline(), VariableFlash::Time(110ms)) << "counted from the first write";
  ASSERT_TRUE(flash_.flush());
  EXPECT_EQ(store_->commits, 1U);
  EXPECT_EQ(flash_.deadline(), std::nullopt);
  ASSERT_TRUE(flash_.flush());
  EXPECT_EQ(store_->commits, 1U) << "nothing left to commit";
  EXPECT_EQ(VariableFlash::load(keeper_)->read(5000, 2)[1], std::byte{2});
}

TEST_F(Flash, RefusesWritesAfterACommitFailed) {
  ASSERT_TRUE(program(5000, 1));
  store_->commit_error = ErrorCode::io_error;
  EXPECT_EQ(flash_.flush().error().code, ErrorCode::io_error);
  EXPECT_EQ(flash_.deadline(), std::nullopt);
  store_->commit_error.reset();
  EXPECT_FALSE(program(5001, 1));
  EXPECT_EQ(store_->commits, 0U);
}

TEST_F(Flash, IsNotLoadedFromAStateWithoutVariablesOrWithOthers) {
  store_->blobs[Blob::uefi_flash].resize(0x20000);
  EXPECT_EQ(VariableFlash::load(keeper_).error().code, ErrorCode::guest_state_damaged);
  store_->blobs.erase(Blob::uefi_flash);
  EXPECT_EQ(VariableFlash::load(keeper_).error().code, ErrorCode::guest_state_missing);
}

}  // namespace
}  // namespace bootseal::guest

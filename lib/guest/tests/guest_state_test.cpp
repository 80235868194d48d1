#include "bootseal/guest/guest_state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "bootseal/base/subprocess.h"
#include "bootseal/vmgs/store.h"
#include "guest_state_envelope.h"
#include "guest_state_internal.h"

namespace bootseal::guest {
namespace {

using crypto::Secret;
using ::testing::AllOf;
using ::testing::HasSubstr;
using vmgs::FileId;
using vmgs::Protection;

constexpr std::size_t kFileSize = 4194816;
constexpr std::size_t kFlashSize = 540672;
constexpr FileId kTpmFile{48};
constexpr FileId kDescriptionFile{50};
constexpr FileId kGenerationFile{51};

Bytes pattern(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  unsigned state = seed * 2654435761U + 1;
  for (std::byte& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

// A guest state file in a folder of its own.
class GuestStateFile : public ::testing::Test {
 protected:
  GuestStateFile() {
    std::string name = (std::filesystem::temp_directory_path() / "bootseal-guest-state-XXXXXX").native();
    BOOTSEAL_CHECK(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    path_ = folder_ / "guest-state.vmgs";
  }
  ~GuestStateFile() override { std::filesystem::remove_all(folder_); }

  UniqueFd file(int flags = O_RDWR | O_CREAT) { return std::move(open_file(path_, flags, 0600)).value(); }
  Bytes content() { return read_file(path_, kFileSize + 1).value(); }
  void put(ByteSpan bytes) { ASSERT_TRUE(replace_file(path_, bytes)); }

  Result<std::unique_ptr<GuestState>> open(Generation minimum = {}) {
    return GuestState::open(file(O_RDWR), vm_, key_, minimum);
  }

  // Four generations: 1 by format, then one for each blob.
  void make() {
    auto state = GuestState::format(file(), vm_, key_);
    ASSERT_TRUE(state) << state.error().describe();
    ASSERT_TRUE((*state)->commit(Blob::tpm_permanent, as_bytes("tpm")));
    ASSERT_TRUE((*state)->commit(Blob::uefi_flash, pattern(kFlashSize, 1)));
    ASSERT_TRUE((*state)->commit(Blob::description, as_bytes("{}")));
    ASSERT_EQ((*state)->generation(), Generation{4});
  }

  // Changes the store as somebody who has the key, or, when it is left locked, as somebody who has not.
  void tamper(const std::function<void(vmgs::Store&)>& change, bool with_key = true) {
    auto store = vmgs::Store::open(*vmgs::FileDevice::open(file(O_RDWR)), vmgs::Container::fixed_vhd);
    ASSERT_TRUE(store);
    ASSERT_TRUE(!with_key || store->unlock(key_.view()));
    change(*store);
  }

  void put_blob(FileId id, const BlobEnvelope& envelope, ByteSpan payload = {}) {
    tamper([&](vmgs::Store& store) {
      ASSERT_TRUE(store.write(id, put_in_envelope(envelope, payload), Protection::encrypted));
    });
  }

  // Opening is refused with this code, says where and for whom, names `facts`, and leaves the file as it is.
  void expect_refusal(ErrorCode code, const std::string& facts, Generation minimum = {}) {
    const Bytes before = content();
    struct stat status_before {};
    ::stat(path_.c_str(), &status_before);
    const auto refused = open(minimum);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, code) << refused.error().describe();
    EXPECT_THAT(refused.error().message,
                AllOf(HasSubstr(path_.native()), HasSubstr(vm_.to_string()), HasSubstr(facts)));
    EXPECT_THAT(refused.error().message, HasSubstr("bootseal vm reset-guest-state"));
    EXPECT_TRUE(content() == before);
    struct stat status_after {};
    ::stat(path_.c_str(), &status_after);
    EXPECT_EQ(status_before.st_mtim.tv_nsec, status_after.st_mtim.tv_nsec);
    EXPECT_EQ(status_before.st_ino, status_after.st_ino);
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
  VmId vm_ = VmId::random();
  Secret key_ = Secret::random(32);
};

TEST_F(GuestStateFile, FormatMakesAWholeEmptyStateOfGenerationOne) {
  auto state = GuestState::format(file(), vm_, key_);
  ASSERT_TRUE(state) << state.error().describe();
  EXPECT_EQ((*state)->generation(), Generation{1});
  for (const Blob blob : {Blob::tpm_permanent, Blob::uefi_flash, Blob::description})
    EXPECT_EQ(*(*state)->read(blob), std::nullopt);
  state->reset();
  EXPECT_EQ((*open())->generation(), Generation{1});
}

// Made on request in the place of a lost one: newer than what the vault was told, so that the lost file stays
// recognised as old.
TEST_F(GuestStateFile, AReplacementGoesOnWithTheVaultsCount) {
  {
    auto state = GuestState::format(file(), vm_, key_, Generation{41});
    ASSERT_TRUE(state) << state.error().describe();
    EXPECT_EQ((*state)->generation(), Generation{42});
  }
  EXPECT_EQ((*open(Generation{41}))->generation(), Generation{42});
}

TEST_F(GuestStateFile, AllItsBlocksAreAllocatedAtOnce) {
  { ASSERT_TRUE(GuestState::format(file(), vm_, key_)); }
  const UniqueFd fd = file(O_RDONLY);
  struct stat status {};
  ASSERT_EQ(::fstat(fd.get(), &status), 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(kFileSize));
  EXPECT_GE(status.st_blocks * 512, static_cast<blkcnt_t>(kFileSize));
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_HOLE), static_cast<off_t>(kFileSize));
}

TEST_F(GuestStateFile, KeepsEachBlobAndCountsEachCommit) {
  make();
  auto state = open(Generation{4});
  ASSERT_TRUE(state) << state.error().describe();
  EXPECT_EQ((*state)->generation(), Generation{4});
  EXPECT_EQ(*(*state)->read(Blob::tpm_permanent), to_bytes("tpm"));
  EXPECT_EQ(*(*state)->read(Blob::uefi_flash), pattern(kFlashSize, 1));
  EXPECT_EQ(*(*state)->read(Blob::description), to_bytes("{}"));
  EXPECT_EQ(*(*state)->advance(), Generation{5});
  EXPECT_EQ(*(*state)->commit(Blob::tpm_permanent, {}), Generation{6});
  EXPECT_EQ(**(*state)->read(Blob::tpm_permanent), Bytes{});
  state->reset();
  auto again = open(Generation{6});
  EXPECT_EQ((*again)->generation(), Generation{6});
  EXPECT_EQ(**(*again)->read(Blob::tpm_permanent), Bytes{});
  EXPECT_EQ(*(*again)->read(Blob::uefi_flash), pattern(kFlashSize, 1));
}

TEST_F(GuestStateFile, AHighestGenerationInAnyBlobCounts) {
  make();
  EXPECT_EQ((*open())->generation(), Generation{4});  // description
  { ASSERT_TRUE((*open())->advance()); }
  EXPECT_EQ((*open())->generation(), Generation{5});  // generation
  { ASSERT_TRUE((*open())->commit(Blob::uefi_flash, as_bytes("flash"))); }
  EXPECT_EQ((*open())->generation(), Generation{6});
}

TEST_F(GuestStateFile, OpeningAndReadingChangesNoByteOfTheFile) {
  make();
  const Bytes before = content();
  struct stat status {};
  ::stat(path_.c_str(), &status);
  {
    auto state = open();
    ASSERT_TRUE((*state)->read(Blob::uefi_flash));
  }
  EXPECT_TRUE(content() == before);
  struct stat after {};
  ::stat(path_.c_str(), &after);
  EXPECT_EQ(status.st_mtim.tv_sec, after.st_mtim.tv_sec);
  EXPECT_EQ(status.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

TEST_F(GuestStateFile, HoldsTheVmIdWhereMicrosoftsToolsLookForIt) {
  make();
  tamper(
      [&](vmgs::Store& store) {
        const auto id = store.read(FileId::vm_unique_id);
        ASSERT_TRUE(id) << "plain: readable without the key";
        ASSERT_EQ(id->size(), 20U);
        EXPECT_EQ(Guid::from_windows_layout(std::span(*id).first<16>()), vm_.guid);
        EXPECT_EQ(Bytes(id->begin() + 16, id->end()), Bytes(4));
      },
      false);
}

TEST_F(GuestStateFile, NothingOfABlobStandsInTheClear) {
  {
    auto state = GuestState::format(file(), vm_, key_);
    ASSERT_TRUE((*state)->commit(Blob::tpm_permanent, as_bytes("THE-SEED-OF-THE-TPM")));
    ASSERT_TRUE((*state)->commit(Blob::tpm_permanent, as_bytes("THE-NEXT-SEED-OF-THE-TPM")));
  }
  const Bytes bytes = content();
  EXPECT_EQ(as_text(bytes).find("SEED-OF-THE-TPM"), std::string_view::npos);
  EXPECT_EQ(as_text(bytes).find("BSEALGST"), std::string_view::npos);
  EXPECT_EQ(as_text(bytes).find(as_text(key_.view())), std::string_view::npos);
}

TEST_F(GuestStateFile, FormatRefusesAFileThatHoldsAnything) {
  put(as_bytes("something"));
  EXPECT_EQ(GuestState::format(file(), vm_, key_).error().code, ErrorCode::already_exists);
  EXPECT_EQ(as_text(content()), "something");
  std::filesystem::remove(path_);
  make();
  const Bytes before = content();
  EXPECT_EQ(GuestState::format(file(), vm_, key_).error().code, ErrorCode::already_exists);
  EXPECT_TRUE(content() == before);
}

TEST_F(GuestStateFile, FormatRefusesAKeyOfAnotherSize) {
  EXPECT_EQ(GuestState::format(file(), vm_, Secret::random(16)).error().code, ErrorCode::invalid_argument);
}

TEST_F(GuestStateFile, RefusesAMissingState) {
  put({});
  expect_refusal(ErrorCode::guest_state_missing, "0 bytes");
  put(Bytes(kFileSize));
  expect_refusal(ErrorCode::guest_state_missing, "zero");
  // Stopped while it was formatted: footer there, headers not.
  std::filesystem::remove(path_);
  make();
  Bytes bytes = content();
  std::fill_n(bytes.begin(), 1024, std::byte{0});
  put(bytes);
  expect_refusal(ErrorCode::guest_state_missing, "both headers are zero");
}

TEST_F(GuestStateFile, RefusesTheStateOfAnotherVm) {
  make();
  const VmId mine = vm_;
  const VmId other = VmId::random();
  vm_ = other;
  expect_refusal(ErrorCode::guest_state_foreign, mine.to_string());
  // Also when the key is another one: the file is the wrong one, not the key.
  key_ = Secret::random(32);
  expect_refusal(ErrorCode::guest_state_foreign, mine.to_string());
}

TEST_F(GuestStateFile, RefusesABlobOfAnotherVmInThisVmsFile) {
  make();
  const VmId other = VmId::random();
  put_blob(kTpmFile, {.kind = BlobKind::tpm_permanent, .vm = other, .generation = {9}});
  expect_refusal(ErrorCode::guest_state_foreign, other.to_string());
}

TEST_F(GuestStateFile, RefusesAnotherKey) {
  make();
  key_ = Secret::random(32);
  expect_refusal(ErrorCode::guest_state_wrong_key, "key");
}

TEST_F(GuestStateFile, RefusesAnOldCopy) {
  make();
  const Bytes old = content();
  { ASSERT_TRUE((*open())->commit(Blob::tpm_permanent, as_bytes("newer"))); }
  EXPECT_TRUE(open(Generation{5}));
  put(old);
  expect_refusal(ErrorCode::guest_state_stale, "generation 4", Generation{5});
  expect_refusal(ErrorCode::guest_state_stale, "tpm-permanent 2, uefi-flash 3, description 4, generation 1",
                 Generation{5});
  expect_refusal(ErrorCode::guest_state_stale, "told of generation 5", Generation{5});
  EXPECT_TRUE(open(Generation{4}));
}

TEST_F(GuestStateFile, RefusesDamage) {
  make();
  const Bytes whole = content();
  std::uint32_t tpm_block = 0;
  tamper([&](vmgs::Store& store) { tpm_block = store.query(kTpmFile)->block; }, false);
  const auto damaged = [&](const std::function<void(Bytes&)>& damage) {
    Bytes bytes = whole;
    damage(bytes);
    put(bytes);
  };
  damaged([&](Bytes& bytes) { bytes[std::size_t{tpm_block} * 4096 + 3] ^= std::byte{1}; });
  expect_refusal(ErrorCode::guest_state_damaged, "tpm-permanent (file 48)");
  damaged([](Bytes& bytes) { bytes[0] = bytes[512] = std::byte{'X'}; });
  expect_refusal(ErrorCode::guest_state_damaged, "neither header is valid");
  damaged([](Bytes& bytes) { bytes.resize(bytes.size() - 4096); });
  expect_refusal(ErrorCode::guest_state_damaged, "footer");
  damaged([](Bytes& bytes) { bytes.resize(100); });
  expect_refusal(ErrorCode::guest_state_damaged, "100 bytes");
  put(pattern(kFileSize, 3));
  expect_refusal(ErrorCode::guest_state_damaged, "footer");
}

// Any flipped byte of what the state consists of is refused or lies where nothing is kept; none gives other
// content.
TEST(GuestStateDamage, NoFlippedByteGivesOtherContent) {
  const VmId vm = VmId::random();
  const Secret key = Secret::random(32);
  // Smaller than a real one: it is copied often.
  auto made = std::make_unique<vmgs::MemoryDevice>(Bytes(std::size_t{24} * 4096 + 512));
  const vmgs::MemoryDevice& device = *made;
  auto original = format_guest_state(std::move(made), vm, key, "test");
  ASSERT_TRUE(original && (*original)->commit(Blob::tpm_permanent, as_bytes("the content")));
  const Bytes whole = device.content();
  std::size_t refused = 0;
  for (std::size_t at = 0; at < whole.size(); at += at < 1024 ? 1 : 29) {
    Bytes changed = whole;
    changed[at] ^= std::byte{0x40};
    auto state = open_guest_state(std::make_unique<vmgs::MemoryDevice>(std::move(changed)), vm, key,
                                  Generation{2}, "test");
    if (!state) {
      ++refused;
      continue;
    }
    EXPECT_EQ((*state)->generation(), Generation{2});
    EXPECT_EQ(as_text(**(*state)->read(Blob::tpm_permanent)), "the content") << at;
  }
  EXPECT_GT(refused, 100U);
}

TEST_F(GuestStateFile, RefusesAFileThatIsNotSealed) {
  auto store = vmgs::Store::format(*vmgs::FileDevice::create(file(), kFileSize), vmgs::Container::fixed_vhd);
  Bytes id(20);
  std::ranges::copy(vm_.guid.windows_layout(), id.begin());
  ASSERT_TRUE(store->write(FileId::vm_unique_id, id, Protection::plain));
  const auto forged = put_in_envelope({.kind = BlobKind::generation, .vm = vm_, .generation = {99}}, {});
  ASSERT_TRUE(store->write(kGenerationFile, forged, Protection::plain));
  store = tl::unexpected(Error{});
  expect_refusal(ErrorCode::guest_state_damaged, "not sealed");
}

TEST_F(GuestStateFile, RefusesABlobThatIsNotSealedInASealedFile) {
  make();
  tamper([&](vmgs::Store& store) {
    const auto forged = put_in_envelope({.kind = BlobKind::tpm_permanent, .vm = vm_, .generation = {99}}, {});
    ASSERT_TRUE(store.write(kTpmFile, forged, Protection::plain, vmgs::Overwrite::allow));
  });
  expect_refusal(ErrorCode::guest_state_damaged, "it is not sealed");
}

// Else a guest would silently get a new TPM.
TEST_F(GuestStateFile, RefusesAFileFromWhichABlobWasTakenWithoutTheKey) {
  make();
  std::uint32_t header = 0;
  tamper([&](vmgs::Store& store) { header = store.info().active_header * 512; }, false);
  Bytes bytes = content();
  const std::size_t table = std::size_t{load_le32(bytes, header + 24)} * 4096;
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(table + 48 * 64), 64, std::byte{0});
  put(bytes);
  expect_refusal(ErrorCode::guest_state_damaged, "removed");
}

TEST_F(GuestStateFile, RefusesAFileThatWasNeverFinished) {
  make();
  tamper([&](vmgs::Store& store) { ASSERT_TRUE(store.remove(kGenerationFile)); });
  expect_refusal(ErrorCode::guest_state_damaged, "never finished");
}

TEST_F(GuestStateFile, RefusesAStoreWithoutAVmId) {
  make();
  tamper([&](vmgs::Store& store) { ASSERT_TRUE(store.remove(FileId::vm_unique_id)); });
  expect_refusal(ErrorCode::guest_state_damaged, "VM_UNIQUE_ID");
  tamper([&](vmgs::Store& store) {
    ASSERT_TRUE(store.write(FileId::vm_unique_id, Bytes(15), Protection::plain));
  });
  expect_refusal(ErrorCode::guest_state_damaged, "15 bytes");
}

TEST_F(GuestStateFile, RefusesABlobInThePlaceOfAnother) {
  make();
  tamper([&](vmgs::Store& store) {
    ASSERT_TRUE(store.move(kDescriptionFile, kTpmFile, vmgs::Overwrite::allow));
  });
  expect_refusal(ErrorCode::guest_state_damaged, "kind 3, not 1");
}

TEST_F(GuestStateFile, RefusesADamagedEnvelope) {
  make();
  tamper([&](vmgs::Store& store) {
    ASSERT_TRUE(store.write(kDescriptionFile, as_bytes("no envelope"), Protection::encrypted));
  });
  expect_refusal(ErrorCode::guest_state_damaged, "description (file 50)");
}

TEST_F(GuestStateFile, SaysThatALaterVersionWroteTheFile) {
  make();
  Bytes later = put_in_envelope({.kind = BlobKind::description, .vm = vm_, .generation = {5}}, {});
  later[8] = std::byte{2};
  tamper(
      [&](vmgs::Store& store) { ASSERT_TRUE(store.write(kDescriptionFile, later, Protection::encrypted)); });
  const auto refused = open();
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("format version 2"));
}

TEST_F(GuestStateFile, IsHeldByOneOwnerAtATime) {
  make();
  auto first = open();
  ASSERT_TRUE(first);
  const auto second = open();
  EXPECT_EQ(second.error().code, ErrorCode::conflict);
  EXPECT_THAT(second.error().message, HasSubstr("in use by another process"));
  EXPECT_EQ(GuestState::format(file(), vm_, key_).error().code, ErrorCode::conflict);
  first->reset();
  EXPECT_TRUE(open());
}

TEST_F(GuestStateFile, ARefusedFileIsNotKeptLockedByADescriptorThatLivesOn) {
  put({});
  const UniqueFd kept = file(O_RDWR);
  EXPECT_FALSE(GuestState::open(UniqueFd(::fcntl(kept.get(), F_DUPFD_CLOEXEC, 0)), vm_, key_, {}));
  EXPECT_TRUE(GuestState::format(file(), vm_, key_));
}

TEST_F(GuestStateFile, NeedsARegularFileOpenForReadingAndWriting) {
  make();
  EXPECT_EQ(GuestState::open(file(O_RDONLY), vm_, key_, {}).error().code, ErrorCode::invalid_argument);
  auto pipe = make_pipe();
  EXPECT_EQ(GuestState::open(std::move(pipe->read_end), vm_, key_, {}).error().code,
            ErrorCode::invalid_argument);
}

TEST_F(GuestStateFile, RefusesABlobThatIsTooLargeAndGoesOn) {
  make();
  auto state = open();
  EXPECT_EQ((*state)->commit(Blob::tpm_permanent, Bytes((256U << 10) + 1)).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(*(*state)->commit(Blob::tpm_permanent, Bytes(256U << 10)), Generation{5});
}

// The file has room for any order of commits of the largest blobs: the store never runs full.
TEST_F(GuestStateFile, NeverRunsFullWhateverIsCommittedInWhichOrder) {
  auto device = std::make_unique<vmgs::MemoryDevice>(Bytes(kFileSize));
  auto state = format_guest_state(std::move(device), vm_, key_, "test");
  ASSERT_TRUE(state);
  std::mt19937 random(1);
  const auto below = [&](std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
  };
  for (int round = 0; round < 3000; ++round) {
    switch (below(8)) {
      case 0:
        ASSERT_TRUE(
            (*state)->commit(Blob::uefi_flash, Bytes(below(3) == 0 ? kFlashSize : below(kFlashSize + 1))))
            << round;
        break;
      case 1:
        ASSERT_TRUE((*state)->commit(Blob::description, Bytes(below((64U << 10) + 1)))) << round;
        break;
      case 2:
        ASSERT_TRUE((*state)->advance()) << round;
        break;
      default:
        ASSERT_TRUE(
            (*state)->commit(Blob::tpm_permanent, Bytes(below(2) == 0 ? 6000 : below((256U << 10) + 1))))
            << round;
    }
  }
}

}  // namespace
}  // namespace bootseal::guest

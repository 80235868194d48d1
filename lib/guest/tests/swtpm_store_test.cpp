// Where bootseal-swtpm keeps its state, when a step of a change fails.
#include "bootseal/guest/swtpm_store.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "support.h"

namespace bootseal::guest {
namespace {

using Content = std::map<std::string, Bytes>;

Content content_of(const std::filesystem::path& folder) {
  Content content;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    content[entry.path().filename().native()] = read_file(entry.path(), 8 << 20).value();
  return content;
}

// A TPM of the family with volatile state.
void make_tpm(const std::filesystem::path& folder, TpmVersion version, Blob blob) {
  SwtpmStore store(SwtpmLocation::directory(folder, 0640, version), nullptr);
  const auto state = store.open(SwtpmStore::WhenMissing::make);
  ASSERT_TRUE(state) << state.error().describe();
  ASSERT_TRUE((*state)->commit(blob, as_bytes("the old TPM")));
  ASSERT_TRUE(store.remember((*state)->generation()));
  ASSERT_TRUE(store.write_volatile(as_bytes("volatile"), as_bytes("the old TPM")));
}

Status fill_new(GuestState& state) {
  BOOTSEAL_TRY(const Generation done, state.commit(Blob::tpm_permanent, as_bytes("the new TPM")));
  return done.value > 0 ? Status() : fail(ErrorCode::internal, "no generation");
}

TEST(SwtpmStore, KeepsTheOldTpmOfEitherFamilyWhenItsReplacementCannotBeRenamed) {
  for (const bool tpm12 : {false, true}) {
    const test::TemporaryFolder folder;
    make_tpm(folder / "", tpm12 ? TpmVersion::v1_2 : TpmVersion::v2_0,
             tpm12 ? Blob::tpm12_permanent : Blob::tpm_permanent);
    const Content before = content_of(folder / "");
    ASSERT_EQ(before.size(), 4U);
    SwtpmStore store(SwtpmLocation::directory(folder / ""), nullptr);
    const Status replaced = store.replace_all([&](GuestState& state) -> Status {
      std::filesystem::remove(folder / "tpm2-00.permall.new");  // so that the rename fails
      return fill_new(state);
    });
    ASSERT_FALSE(replaced);
    EXPECT_THAT(replaced.error().describe(), testing::HasSubstr("renaming"));
    EXPECT_EQ(content_of(folder / ""), before);
  }
}

TEST(SwtpmStore, HoldsTheNewTpmWholeWhenTheOldOnesRestCannotBeRemoved) {
  const test::TemporaryFolder folder;
  make_tpm(folder / "", TpmVersion::v2_0, Blob::tpm_permanent);
  const auto location = SwtpmLocation::directory(folder / "");
  std::filesystem::copy_file(location.file, folder / "old");
  std::filesystem::create_directory(location.saved_file());
  EXPECT_FALSE(SwtpmStore(location, nullptr).replace_all(fill_new));
  {
    SwtpmStore store(location, nullptr);
    const auto state = store.open(SwtpmStore::WhenMissing::refuse);
    ASSERT_TRUE(state) << state.error().describe();
    EXPECT_EQ(as_text((*state)->read(Blob::tpm_permanent).value().value()), "the new TPM");
  }
  std::filesystem::rename(folder / "old", location.file);
  const auto old = SwtpmStore(location, nullptr).open(SwtpmStore::WhenMissing::refuse);
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code, ErrorCode::guest_state_stale) << "the old TPM does not come back unnoticed";
}

TEST(SwtpmStore, IsNeverOneForANewTpmWhenItWasMadeForOneThatComes) {
  for (const auto when : {SwtpmStore::WhenMissing::make, SwtpmStore::WhenMissing::make_for}) {
    const test::TemporaryFolder folder;
    SwtpmStore store(SwtpmLocation::from_uri("file://" + (folder / "state").native()).value(), nullptr);
    const auto state = store.open(when);
    ASSERT_TRUE(state) << state.error().describe();
    EXPECT_EQ((*state)->generation() == kNewSwtpmState, when == SwtpmStore::WhenMissing::make);
  }
}

TEST(SwtpmStore, RefusesAMemoryThatIsNoFileInsteadOfWaitingForIt) {
  const test::TemporaryFolder folder;
  make_tpm(folder / "", TpmVersion::v2_0, Blob::tpm_permanent);
  const auto location = SwtpmLocation::directory(folder / "");
  std::filesystem::remove(location.memory_file());
  ASSERT_EQ(::mkfifo(location.memory_file().c_str(), 0600), 0);
  const auto state = SwtpmStore(location, nullptr).open(SwtpmStore::WhenMissing::make);
  ASSERT_FALSE(state);
  EXPECT_THAT(state.error().describe(), testing::HasSubstr("is not a regular file"));
}

}  // namespace
}  // namespace bootseal::guest

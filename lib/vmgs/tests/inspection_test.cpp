// What inspect() says of the samples and of stores that were damaged in one place.
#include "bootseal/vmgs/inspection.h"

#include <gmock/gmock.h>

#include "support.h"

namespace bootseal::vmgs {
namespace {

using test::key1;
using test::key2;
using test::sample;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Inspection look(const Bytes& content, std::optional<Bytes> key = std::nullopt) {
  MemoryDevice device(content);
  device.start_recording();
  auto found = inspect(device, Container::fixed_vhd, key ? std::optional<ByteSpan>(*key) : std::nullopt);
  EXPECT_TRUE(found) << found.error().describe();
  EXPECT_TRUE(device.operations().empty()) << "inspecting must write nothing";
  return std::move(found).value();
}

// "where: text" of what is at least as bad.
std::vector<std::string> findings(const Inspection& found, Severity least) {
  std::vector<std::string> lines;
  for (const Finding& finding : found.findings) {
    if (finding.severity >= least) lines.push_back(finding.where + ": " + finding.text);
  }
  return lines;
}

TEST(Inspection, AWholeStoreIsInOrderInEveryStructure) {
  const Inspection found = look(sample("encrypted-key1.vmgs"), key1());
  EXPECT_FALSE(found.damaged());
  EXPECT_THAT(findings(found, Severity::warning), IsEmpty());
  ASSERT_EQ(found.generations.size(), 2U);
  const GenerationReport& active = found.generations.front();
  EXPECT_TRUE(active.active);
  EXPECT_EQ(active.header, 1U);
  EXPECT_EQ(active.sequence, 8U);
  EXPECT_EQ(active.active_key_slot, 0U);
  EXPECT_TRUE(active.whole());
  ASSERT_EQ(active.files.size(), 6U);
  EXPECT_EQ(active.files[0].seal, Seal::verified);
  EXPECT_EQ(active.files[3].seal, Seal::plain);
  for (const char* where :
       {"footer", "header 1", "header 2", "header 2, file table", "header 2, extended file table",
        "header 2, file TPM_NVRAM (3)", "header 1, file table"}) {
    EXPECT_TRUE(std::any_of(found.findings.begin(), found.findings.end(), [&](const Finding& finding) {
      return finding.where == where;
    })) << where;
  }
}

TEST(Inspection, WithoutTheKeySealsAreNotCheckedAndSaidNotToBe) {
  const Inspection found = look(sample("enc-data-bitflip-file1.vmgs"));
  EXPECT_FALSE(found.damaged());
  EXPECT_EQ(found.generations.front().files[0].seal, Seal::locked);
  EXPECT_THAT(findings(found, Severity::note),
              ::testing::Contains(HasSubstr("not checked: the store is locked")));
}

TEST(Inspection, ABrokenSealIsFoundInItsFileOnly) {
  const Inspection found = look(sample("enc-data-bitflip-file1.vmgs"), key1());
  EXPECT_TRUE(found.damaged());
  EXPECT_EQ(found.condition, Condition::valid);
  EXPECT_THAT(findings(found, Severity::damage),
              ::testing::ElementsAre(HasSubstr("header 2, file BIOS_NVRAM (1): its seal is broken")));
}

TEST(Inspection, AWrongKeyIsSaid) {
  const Inspection found = look(sample("encrypted-key1.vmgs"), key2());
  EXPECT_THAT(findings(found, Severity::damage),
              ::testing::ElementsAre(HasSubstr("extended file table: the key opens no key slot")));
  EXPECT_EQ(
      inspect(*std::make_unique<MemoryDevice>(sample("encrypted-key1.vmgs")), Container::fixed_vhd, Bytes(31))
          .error()
          .code,
      ErrorCode::invalid_argument);
}

TEST(Inspection, EachDamagedStructureIsNamed) {
  EXPECT_THAT(
      findings(look(sample("both-headers-bad.vmgs")), Severity::damage),
      ::testing::ElementsAre("header 1: the header size is 87, not 168", "header 2: the checksum is wrong"));
  EXPECT_THAT(findings(look(sample("sequence-gap-2.vmgs")), Severity::damage),
              ::testing::ElementsAre(HasSubstr("headers: the headers have the sequence numbers 7 and 5")));
  EXPECT_THAT(
      findings(look(sample("entry-out-of-range.vmgs")), Severity::damage),
      ::testing::Contains(HasSubstr("header 1, file table: file TPM_NVRAM (3) lies at blocks 100000")));
  Bytes cut = sample("plain-history.vmgs");
  cut.resize(cut.size() - 512);
  const Inspection without_footer = look(cut);
  EXPECT_THAT(findings(without_footer, Severity::damage), ::testing::ElementsAre(HasSubstr("footer: ")));
  EXPECT_EQ(without_footer.body_size, cut.size());
  EXPECT_EQ(without_footer.generations.size(), 2U) << "what is in it is shown all the same";
}

TEST(Inspection, WhatIsNoStoreIsNotCalledDamaged) {
  EXPECT_EQ(look(sample("crash-in-format.vmgs")).condition, Condition::empty);
  EXPECT_FALSE(look(sample("crash-in-format.vmgs")).damaged());
  EXPECT_EQ(look(sample("v1-gpt.vmgs")).condition, Condition::version_1);
  EXPECT_EQ(look({}).condition, Condition::empty);
  EXPECT_TRUE(look(Bytes(100)).damaged());
}

TEST(Inspection, WarnsOfKeysThatAnybodyCanRead) {
  const Inspection found = look(sample("zero-metadata-key.vmgs"), key1());
  EXPECT_FALSE(found.damaged());
  EXPECT_THAT(findings(found, Severity::warning), ::testing::Contains(HasSubstr("can be read by anybody")));
}

TEST(Inspection, AFileThatWasRemovedWithoutTheKeyIsMissed) {
  Bytes disk = sample("encrypted-key1.vmgs");
  const std::size_t table = std::size_t{load_le32(disk, 512 + 24)} * kBlockSize;
  std::fill_n(disk.begin() + static_cast<std::ptrdiff_t>(table + 64), 64, std::byte{0});
  EXPECT_THAT(
      findings(look(disk, key1()), Severity::damage),
      ::testing::ElementsAre(HasSubstr("file BIOS_NVRAM (1): it is sealed and somebody took it out")));
}

TEST(FileIds, AreNamesOrNumbers) {
  EXPECT_EQ(parse_file_id("TPM_NVRAM"), FileId::tpm_nvram);
  EXPECT_EQ(parse_file_id("3"), FileId::tpm_nvram);
  EXPECT_EQ(parse_file_id("63"), FileId::extended_file_table);
  EXPECT_EQ(parse_file_id("PROVISIONING_MARKER"), FileId::provisioning_marker);
  for (const char* wrong : {"", "64", "-1", "tpm_nvram", "3x", "99999999999999999999", "12 "})
    EXPECT_FALSE(parse_file_id(wrong)) << wrong;
}

}  // namespace
}  // namespace bootseal::vmgs

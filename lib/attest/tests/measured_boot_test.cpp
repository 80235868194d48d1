// grub.cfg, initrd, grub's commands and the kernel's command line, against the image as it was made.
#include "appraise_fixture.h"
#include "bootseal/base/fds.h"

namespace bootseal::attest::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

Expectation mutable_expectation() {
  Expectation expectation = immutable_expectation();
  expectation.baseline.measured_boot->immutable = false;
  return expectation;
}

auto failure(std::string_view code, std::string_view component) {
  return AllOf(Field(&Reason::code, code), Field(&Reason::component, component),
               Field(&Reason::severity, Severity::failure));
}
auto note(std::string_view code, std::string_view component) {
  return AllOf(Field(&Reason::code, code), Field(&Reason::component, component),
               Field(&Reason::severity, Severity::info));
}

// A text of PCR 8 with the digest that grub makes of it.
void set_text(Record& record, std::string_view prefix, std::string_view text) {
  record.data = to_bytes(std::string(prefix) + std::string(text) + '\0');
  record.digest = crypto::digest(crypto::HashAlgorithm::sha256, as_bytes(text));
}

TEST_F(Appraise, BootOfTheImageAsItWasMadeSaysSoOfEachPart) {
  const Verdict verdict = judge(evidence("pos-good"), immutable_expectation());
  ASSERT_EQ(verdict.status, VerdictStatus::healthy) << describe(verdict);
  ASSERT_EQ(verdict.boot_chain.size(), 6U);
  const BootStage &config = verdict.boot_chain[3], &initrd = verdict.boot_chain[4],
                  &line = verdict.boot_chain[5];
  EXPECT_EQ(config.role, "grubConfig");
  EXPECT_EQ(config.file, "/EFI/debian/grub.cfg");
  // What grub measured is the SHA-256 of the very file in this tree.
  const auto file =
      read_file(std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "images/share/debian-12-mini/grub.cfg", 1 << 16);
  ASSERT_TRUE(file);
  EXPECT_EQ(config.sha256, crypto::sha256(*file).to_hex());
  EXPECT_EQ(initrd.role, "initrd");
  EXPECT_EQ(initrd.file, "/initrd.gz");
  EXPECT_EQ(line.role, "kernelCommandLine");
  EXPECT_EQ(line.file, "/vmlinuz console=ttyS0 quiet");
  EXPECT_TRUE(config.in_baseline && initrd.in_baseline && line.in_baseline);
}

TEST_F(Appraise, AnotherInitrdFailsAnImmutableImageAndIsANoteForAnyOther) {
  EditableLog log = good();
  Record& initrd = log.records[log.of(9)[2]];
  initrd.digest = crypto::digest(crypto::HashAlgorithm::sha256, as_bytes("another initrd"));
  const Verdict strict = judge(log, immutable_expectation());
  EXPECT_EQ(strict.status, VerdictStatus::unhealthy);
  EXPECT_THAT(strict.reasons, ElementsAre(failure("BootFileChanged", "initrd"))) << describe(strict);
  EXPECT_THAT(strict.reasons[0].message,
              AllOf(HasSubstr("/initrd.gz was changed since the image was made"),
                    HasSubstr(to_hex(initrd.digest)), HasSubstr("21d64aa646bde29f")));
  EXPECT_EQ(strict.boot_chain[4].role, "initrd");
  EXPECT_FALSE(strict.boot_chain[4].in_baseline);

  const Verdict lenient = judge(log, mutable_expectation());
  EXPECT_EQ(lenient.status, VerdictStatus::healthy);
  EXPECT_THAT(lenient.reasons, Contains(note("BootFileChanged", "initrd"))) << describe(lenient);
  EXPECT_FALSE(lenient.boot_chain[4].in_baseline);
}

TEST_F(Appraise, RecordedBootWithAnotherArgumentIsUnhealthyForAnImmutableImageOnly) {
  const Verdict strict = judge(evidence("pos-cmdline"), immutable_expectation());
  EXPECT_EQ(strict.status, VerdictStatus::unhealthy);
  EXPECT_THAT(strict.reasons, ElementsAre(failure("BootFileChanged", "grubConfig"),
                                          failure("CommandLineChanged", "kernelCommandLine"),
                                          failure("BootCommandsChanged", "grubConfig")))
      << describe(strict);
  EXPECT_THAT(strict.reasons[1].message, HasSubstr("started with '/vmlinuz console=ttyS0 quiet tl.extra=1'"));
  EXPECT_THAT(
      strict.reasons[2].message,
      HasSubstr("'linux /vmlinuz console=ttyS0 quiet tl.extra=1' where the image debian-12/1.0.0 runs "
                "'linux /vmlinuz console=ttyS0 quiet'"));
  EXPECT_EQ(judge(evidence("pos-cmdline"), mutable_expectation()).status, VerdictStatus::healthy);
}

TEST_F(Appraise, FileThatIsMissingOrTooMuchFailsAnImmutableImage) {
  EditableLog missing = good();
  missing.records.erase(missing.records.begin() + static_cast<std::ptrdiff_t>(missing.of(9)[2]));
  EXPECT_THAT(judge(missing, immutable_expectation()).reasons,
              ElementsAre(failure("BootFileMissing", "initrd")));

  EditableLog more = good();
  Record extra = more.records[more.of(9)[2]];
  extra.data = to_bytes("(hd0,gpt1)/EFI/debian/module.mod");
  extra.digest = Bytes(32, std::byte{1});
  more.records.push_back(extra);
  const Verdict verdict = judge(more, immutable_expectation());
  EXPECT_THAT(verdict.reasons, ElementsAre(failure("BootFileChanged", "")));
  EXPECT_THAT(verdict.reasons[0].message, HasSubstr("grub read (hd0,gpt1)/EFI/debian/module.mod"));
}

TEST_F(Appraise, FileUnderTheNameOfAnotherIsRecognisedByItsDigest) {
  EditableLog log = good();
  std::swap(log.records[log.of(9)[0]].data, log.records[log.of(9)[2]].data);
  EXPECT_EQ(judge(log, immutable_expectation()).status, VerdictStatus::healthy)
      << "names prove nothing, neither for nor against";
  for (const std::size_t i : log.of(9)) {
    EditableLog changed = log;
    changed.records[i].digest = Bytes(32, std::byte{9});
    EXPECT_EQ(judge(changed, immutable_expectation()).status, VerdictStatus::unhealthy) << i;
  }
}

TEST_F(Appraise, CommandsTypedAtGrubFailAnImmutableImage) {
  const EditableLog log = good();
  const std::size_t last = log.of(8).back();
  for (const std::string_view text : {"linux /vmlinuz init=/bin/sh", "insmod evil", "boot"}) {
    EditableLog typed = log;
    Record command = log.records[last];
    set_text(command, "grub_cmd: ", text);
    typed.records.insert(typed.records.begin() + static_cast<std::ptrdiff_t>(last), command);
    EXPECT_THAT(judge(typed, immutable_expectation()).reasons,
                ElementsAre(failure("BootCommandsChanged", "grubConfig")));
    EXPECT_EQ(judge(typed, mutable_expectation()).status, VerdictStatus::healthy);
  }
}

// The kernel was started with another command line, and the log tells it as something else: prefixes are not
// proven.
TEST_F(Appraise, CommandLineUnderAnotherPrefixIsFound) {
  const EditableLog log = good();
  const std::size_t line = log.of(8)[6];
  ASSERT_THAT(std::string(as_text(log.records[line].data)), HasSubstr("kernel_cmdline: "));
  for (const std::string_view prefix : {"grub_cmd: ", "kernel_cmdline: ", "module_cmdline: "}) {
    EditableLog told = log;
    set_text(told.records[line], prefix, "/vmlinuz init=/bin/sh");
    EXPECT_EQ(judge(told, immutable_expectation()).status, VerdictStatus::unhealthy) << prefix;
    // The true line beside it.
    EditableLog both = told;
    both.records.insert(both.records.begin() + static_cast<std::ptrdiff_t>(line), log.records[line]);
    EXPECT_EQ(judge(both, immutable_expectation()).status, VerdictStatus::unhealthy) << prefix;
  }
}

// grub's shell starts a kernel, and the system that runs then extends PCR 8 with what the image would have
// told.
TEST_F(Appraise, WhatRanBeforeGrubCfgWasReadIsNotForgotten) {
  const EditableLog log = good();
  const std::size_t first = log.of(8).front();
  for (const std::string_view text :
       {"/vmlinuz init=/bin/sh", "linux /vmlinuz init=/bin/sh", "boot", "[/vmlinuz", "chainloader /x.efi"}) {
    EditableLog begun = log;
    Record command = log.records[first];
    set_text(command, "grub_cmd: ", text);
    begun.records.insert(begun.records.begin() + static_cast<std::ptrdiff_t>(first), command);
    const Verdict verdict = judge(begun, immutable_expectation());
    EXPECT_EQ(verdict.status, VerdictStatus::unhealthy) << text;
    EXPECT_THAT(verdict.reasons, ElementsAre(failure("BootCommandsChanged", "grubConfig"))) << text;
    EXPECT_THAT(verdict.reasons[0].message, HasSubstr("grub ran '" + std::string(text) + "'"));
  }
}

TEST_F(Appraise, WithoutARecordOfTheImageNothingIsSaidOfGrub) {
  const Verdict verdict = judge(evidence("pos-cmdline"));
  EXPECT_EQ(verdict.status, VerdictStatus::healthy);
  EXPECT_EQ(verdict.boot_chain.size(), 3U);
}

TEST(ExpectationCodec, MeasuredBootSurvivesARoundTrip) {
  const json::Value written = to_json(immutable_expectation());
  const auto again = parse_expectation(written);
  ASSERT_TRUE(again) << again.error().describe();
  ASSERT_TRUE(again->baseline.measured_boot);
  EXPECT_TRUE(again->baseline.measured_boot->immutable);
  EXPECT_EQ(again->baseline.measured_boot->files.size(), 3U);
  EXPECT_EQ(json::serialize(to_json(*again)), json::serialize(written));
}

TEST(ExpectationCodec, NamesTheFieldOfMeasuredBootThatIsWrong) {
  const auto problem = [](std::string_view pointer, const json::Value& value) {
    json::Value document = to_json(immutable_expectation());
    document.at_pointer("/baseline/measuredBoot" + std::string(pointer)) = value;
    const auto parsed = parse_expectation(document);
    return parsed ? "accepted" : parsed.error().message;
  };
  EXPECT_THAT(problem("/immutable", 1), HasSubstr("measuredBoot.immutable"));
  EXPECT_THAT(problem("/files/0/role", "shim"), HasSubstr("none of grubConfig, kernel, initrd"));
  EXPECT_THAT(problem("/files/0/sha256", "aa"), HasSubstr("sha256"));
  EXPECT_THAT(problem("/commands", json::Array(1025, "boot")), HasSubstr("more than 1024"));
  EXPECT_THAT(problem("/kernelCommandLine", nullptr), HasSubstr("kernelCommandLine"));
}

}  // namespace
}  // namespace bootseal::attest::testing

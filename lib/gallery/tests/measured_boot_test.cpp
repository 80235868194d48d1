// What an image's manifest says of grub.cfg, initrd and command line.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "bootseal/base/subprocess.h"
#include "bootseal/gallery/image.h"
#include "files.h"

namespace bootseal::gallery {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::filesystem::path kShare = std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "images/share";

// The commands are those in the log of a recorded boot of this very file
// (lib/attest/tests/data/pos-good.bin).
TEST(GrubConfig, OfTheMiniImageIsWhatARecordedBootMeasured) {
  MeasuredBoot measured;
  const auto text = read_file(kShare / "debian-12-mini/grub.cfg", 1 << 16);
  ASSERT_TRUE(text);
  ASSERT_TRUE(read_grub_config(as_text(*text), measured));
  EXPECT_THAT(measured.commands, ElementsAre("set timeout=0", "linux /vmlinuz console=ttyS0 quiet",
                                             "initrd /initrd.gz", "boot"));
  EXPECT_EQ(measured.kernel_command_line, "/vmlinuz console=ttyS0 quiet");
}

TEST(GrubConfig, SpacesAndCommentsAreNotMeasured) {
  MeasuredBoot measured;
  ASSERT_TRUE(read_grub_config("# a comment\n\n  linux \t /vmlinuz  ro # why\r\nboot", measured));
  EXPECT_THAT(measured.commands, ElementsAre("linux /vmlinuz ro", "boot"));
  EXPECT_EQ(measured.kernel_command_line, "/vmlinuz ro");
}

TEST(GrubConfig, WhatGrubDecidesWhileItRunsIsRefusedWithItsLine) {
  for (const char* line :
       {"linux $kernel ro", "linux '/vmlinuz' ro", "linux \"/vmlinuz\"", "menuentry Debian {",
        "set a=b; boot", "if [ -e /x ]", "then", "root=hd0", "linux /vmlinuz \\", "linux /vml*"}) {
    MeasuredBoot measured;
    const Status refused = read_grub_config(fmt::format("linux /vmlinuz\n{}\nboot\n", line), measured);
    ASSERT_FALSE(refused) << line;
    EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
    EXPECT_THAT(refused.error().message, HasSubstr(line));
  }
  MeasuredBoot measured;
  EXPECT_THAT(read_grub_config("set timeout=0\nboot\n", measured).error().message,
              HasSubstr("no command 'linux'"));
}

json::Value with_measured_boot(const json::Value& measured) {
  json::Value document = *json::parse(sample_manifest());
  document.as_object()["measuredBoot"] = measured;
  return document;
}

json::Value sample() {
  return {{"immutable", true},
          {"files", {{{"role", "initrd"}, {"file", "/initrd.gz"}, {"sha256", std::string(64, 'a')}}}},
          {"commands", {"linux /vmlinuz ro", "boot"}},
          {"kernelCommandLine", "/vmlinuz ro"}};
}

TEST(Manifest, MeasuredBootSurvivesARoundTripAndMayBeAbsent) {
  const ImageManifest manifest = *parse_manifest(json::serialize(with_measured_boot(sample())));
  ASSERT_TRUE(manifest.measured_boot);
  EXPECT_TRUE(manifest.measured_boot->immutable);
  EXPECT_EQ(manifest.measured_boot->files.at(0).sha256.to_hex(), std::string(64, 'a'));
  EXPECT_EQ(*parse_manifest(serialize_manifest(manifest)), manifest);
  EXPECT_FALSE(parse_manifest(sample_manifest())->measured_boot);
}

TEST(Manifest, NamesTheFieldOfMeasuredBootThatIsWrong) {
  const auto problem = [](std::string_view field, const json::Value& value) -> std::string {
    json::Value measured = sample();
    measured.as_object()[field] = value;
    const auto parsed = parse_manifest(json::serialize(with_measured_boot(measured)));
    return parsed ? "accepted" : parsed.error().message;
  };
  const json::Value too_long(std::string_view(std::string(4097, 'x')));
  EXPECT_THAT(problem("immutable", "yes"), HasSubstr("measuredBoot.immutable"));
  EXPECT_THAT(problem("files", {{{"role", "shim"}, {"file", "x"}, {"sha256", std::string(64, 'a')}}}),
              HasSubstr("wanted 'grubConfig', 'kernel' or 'initrd'"));
  EXPECT_THAT(problem("files", {{{"role", "initrd"}, {"file", "x"}, {"sha256", "aa"}}}), HasSubstr("sha256"));
  EXPECT_THAT(problem("commands", {too_long}), HasSubstr("measuredBoot.commands"));
  EXPECT_THAT(problem("kernelCommandLine", too_long), HasSubstr("kernelCommandLine"));
  EXPECT_THAT(problem("also", 1), HasSubstr("also"));
}

// write_manifest of the recipes hands the program the right options: run with a program that prints them.
TEST(BuildImage, RecipesHandOverWhatGrubWillMeasure) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "write-manifest";
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(make_folder(folder));
  const std::string script =
      "source '" + (kShare.parent_path() / "lib/common.sh").string() +
      "'; package_version=([shim-signed]=1 [grub-efi-amd64-signed]=2 [k]=3); out_dir=$0 "
      "name=n image_version=1 source_date=0 created=0 agent='' immutable=yes; inspect=$(command -v echo); "
      "write_manifest d os 512 no k kernel:/vmlinuz=/k grubConfig:/g.cfg=/g initrd:/initrd=/i";
  const Result<std::string> printed = run_checked({.arguments = {"bash", "-euc", script, folder}});
  ASSERT_TRUE(printed) << printed.error().describe();
  EXPECT_THAT(*printed, HasSubstr("--component kernel:/vmlinuz=/k"));
  EXPECT_THAT(*printed, HasSubstr("--grub-config /g.cfg=/g"));
  EXPECT_THAT(*printed, HasSubstr("--initrd /initrd=/i"));
  EXPECT_THAT(*printed, HasSubstr("--immutable"));
}

}  // namespace
}  // namespace bootseal::gallery

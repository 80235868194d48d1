// images/build-image as a program: what it refuses, and that its disks are what firmware expects. Whole
// builds need Debian's archive and are end-to-end tests.
#include <gmock/gmock.h>

#include "bootseal/base/subprocess.h"
#include "files.h"

namespace bootseal::gallery {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kImages = std::string(BOOTSEAL_SOURCE_DIR) + "/images";

std::filesystem::path fresh_folder(const std::string& name) {
  std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / name;
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(make_folder(folder));
  return folder;
}

std::string complaint_of(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), kImages + "/build-image");
  const Result<CommandOutput> output = run_command({.arguments = arguments});
  EXPECT_TRUE(output) << output.error().describe();
  EXPECT_EQ(output->exit_code, 1);
  return output->standard_error;
}

TEST(BuildImage, RefusesWhatItCannotDoBeforeItStarts) {
  const std::string out = fresh_folder("build-image-out") / "never-made";
  EXPECT_THAT(complaint_of({}), HasSubstr("usage:"));
  EXPECT_THAT(complaint_of({"windows-11", out}), HasSubstr("debian-12-mini"));
  EXPECT_THAT(complaint_of({"../lib/common", out}), HasSubstr("no recipe name"));
  EXPECT_THAT(complaint_of({"debian-12-mini", out, "--fast"}), HasSubstr("unknown option --fast"));
  EXPECT_THAT(complaint_of({"debian-12-mini", out, "--agent"}), HasSubstr("needs a value"));
  EXPECT_THAT(complaint_of({"debian-12-mini", out, "--agent", "/nowhere"}),
              HasSubstr("'/nowhere' does not exist"));
  EXPECT_THAT(complaint_of({"debian-12-mini", out, "--add", "/etc/passwd"}), HasSubstr("FILE=/PATH"));
  EXPECT_THAT(complaint_of({"debian-12-mini", out, "--add", "/etc/passwd=/../x"}), HasSubstr("no '..'"));
  EXPECT_THAT(complaint_of({"debian-12-mini", out, "--inspect", "/nowhere"}),
              HasSubstr("'/nowhere' of --inspect"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(BuildImage, OfflineWithoutPackagesSaysWhichIsMissing) {
  const std::filesystem::path folder = fresh_folder("build-image-offline");
  const std::string error = complaint_of(
      {"debian-12-mini", folder / "out", "--offline", "--cache", folder / "cache", "--inspect", "/bin/true"});
  EXPECT_THAT(error, HasSubstr("no package with a signed cloud kernel"));
  EXPECT_FALSE(std::filesystem::exists(folder / "out/disk.qcow2"));
}

TEST(BuildImage, TooLittleSpaceIsSaidBeforeTheFirstStep) {
  const std::filesystem::path folder = fresh_folder("build-image-full");
  ASSERT_TRUE(
      replace_file(folder / "df",
                   as_bytes("#!/bin/sh\necho 'Filesystem 1024-blocks Used Available Capacity Mounted on'\n"
                            "echo '/dev/full 9000000 8990000 10240 99% /mnt/full'\n"),
                   0755));
  const Result<CommandOutput> output =
      run_command({.arguments = {kImages + "/build-image", "debian-12-mini", folder / "out", "--offline",
                                 "--cache", folder / "cache", "--inspect", "/bin/true"},
                   .environment = std::map<std::string, std::string>{
                       {"PATH", folder.string() + ":/usr/sbin:/usr/bin:/sbin:/bin"}}});
  ASSERT_TRUE(output);
  EXPECT_EQ(output->exit_code, 11);
  EXPECT_THAT(output->standard_error, HasSubstr("debian-12-mini needs about 256 MiB in "));
  EXPECT_THAT(output->standard_error, HasSubstr("(/mnt/full) has 10 MiB free"));
  EXPECT_THAT(output->standard_error, Not(HasSubstr("[1/")));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "out")) << "the work is gone";
}

TEST(BuildImage, WithoutAHomeItAsksWhereThePackagesGo) {
  const Result<CommandOutput> output = run_command(
      {.arguments = {kImages + "/build-image", "debian-12-mini", fresh_folder("build-image-homeless")},
       .environment = std::map<std::string, std::string>{{"PATH", "/usr/bin:/bin"}}});
  ASSERT_TRUE(output);
  EXPECT_EQ(output->exit_code, 1);
  EXPECT_THAT(output->standard_error, HasSubstr("say with --cache"));
}

// The arguments that write_manifest gives the inspector.
std::string inspector_arguments(const std::string& created) {
  const std::string script =
      "source " + kImages +
      "/lib/common.sh; inspect=echo out_dir=/o name=n image_version=1 agent= source_date=1767225600 "
      "created=" +
      created +
      "; package_version=([shim-signed]=1 [grub-efi-amd64-signed]=2 [k]=3); write_manifest d os 64 no k";
  return run_checked({.arguments = {"bash", "-euc", script}}).value();
}

TEST(BuildImage, TheManifestTellsWhenTheImageWasMadeUnlessTimesAreGiven) {
  EXPECT_THAT(inspector_arguments(""), Not(HasSubstr("--created")));
  EXPECT_THAT(inspector_arguments("@1700000000"), HasSubstr("--created @1700000000"));
}

TEST(BuildImage, TheAgentMustBeStatic) {
  const Result<CommandOutput> output = run_command(
      {.arguments = {
           "bash", "-euc",
           "source " + kImages + "/lib/common.sh; agent=$(readlink -f /bin/bash); install_agent \"$0/agent\"",
           fresh_folder("agent")}});
  ASSERT_TRUE(output);
  EXPECT_EQ(output->exit_code, 1);
  EXPECT_THAT(output->standard_error, HasSubstr("linked dynamically"));
}

// Makes a disk from a folder with one file; SOURCE_DATE_EPOCH as build-image sets it.
std::string make_disk(const std::filesystem::path& folder) {
  EXPECT_TRUE(make_folder(folder / "esp/EFI/BOOT"));
  EXPECT_TRUE(replace_file(folder / "esp/EFI/BOOT/BOOTX64.EFI", as_bytes("loader")));
  const std::string script =
      "source " + kImages + "/lib/common.sh; source " + kImages +
      "/lib/disk.sh; source_date=1767225600; export SOURCE_DATE_EPOCH=$source_date TZ=UTC; "
      "make_disk \"$0/disk.raw\" 64 62 0001; copy_tree_to_esp \"$0/esp\" \"$0/disk.raw\"";
  const Result<std::string> made = run_checked({.arguments = {"bash", "-euc", script, folder}});
  EXPECT_TRUE(made) << made.error().describe();
  return folder / "disk.raw";
}

TEST(BuildImage, DisksHaveAnEfiSystemPartitionWithTheFiles) {
  const std::string disk = make_disk(fresh_folder("disk-one"));
  const std::string table = run_checked({.arguments = {"/usr/sbin/sfdisk", "--dump", disk}}).value_or("");
  EXPECT_THAT(table, HasSubstr("label: gpt"));
  EXPECT_THAT(table, HasSubstr("type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B"));
  const auto content =
      run_checked({.arguments = {"mtype", "-i", disk + "@@1048576", "::/EFI/BOOT/BOOTX64.EFI"}});
  ASSERT_TRUE(content) << content.error().describe();
  EXPECT_EQ(*content, "loader");
}

TEST(BuildImage, TheSameFilesMakeTheSameDisk) {
  const auto first = read_file(make_disk(fresh_folder("disk-one")), std::size_t{64} << 20);
  const auto second = read_file(make_disk(fresh_folder("disk-two")), std::size_t{64} << 20);
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(*first == *second);
}

}  // namespace
}  // namespace bootseal::gallery

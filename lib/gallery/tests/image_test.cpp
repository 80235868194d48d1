#include "bootseal/gallery/image.h"

#include <gmock/gmock.h>

#include "files.h"

namespace bootseal::gallery {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A folder of images, empty at first.
class Gallery : public ::testing::Test {
 protected:
  Gallery() : folder_(std::filesystem::path(testing::TempDir()) / "gallery") {
    std::filesystem::remove_all(folder_);
  }

  void add(const std::string& name, const std::string& version) {
    ImageManifest manifest = *parse_manifest(sample_manifest());
    manifest.name = name;
    manifest.version = version;
    write(folder_ / name / version, serialize_manifest(manifest));
  }
  static void write(const std::filesystem::path& folder, std::string_view manifest) {
    ASSERT_TRUE(make_folder(folder));
    ASSERT_TRUE(replace_file(folder / "manifest.json", as_bytes(manifest)));
    ASSERT_TRUE(replace_file(folder / "disk.qcow2", as_bytes("disk")));
  }
  std::vector<std::string> names(std::vector<Error>* problems = nullptr) const {
    std::vector<std::string> found;
    const std::vector<ImageRecord> images = *list_images(folder_, problems);
    for (const ImageRecord& image : images)
      found.push_back(image.manifest.name + ":" + image.manifest.version);
    return found;
  }

  std::filesystem::path folder_;
};

TEST_F(Gallery, ListsByNameAndNewestVersionFirst) {
  EXPECT_THAT(names(), ElementsAre());
  add("debian-12", "1.9.0");
  add("debian-12", "1.10.0");
  add("alpine", "3");
  EXPECT_THAT(names(), ElementsAre("alpine:3", "debian-12:1.10.0", "debian-12:1.9.0"));
}

TEST_F(Gallery, FindsTheNewestOrTheOneAskedFor) {
  add("debian-12", "1.9.0");
  add("debian-12", "1.10.0");
  EXPECT_EQ(find_image(folder_, "debian-12")->manifest.version, "1.10.0");
  EXPECT_EQ(find_image(folder_, "debian-12:latest")->manifest.version, "1.10.0");
  const ImageRecord old = *find_image(folder_, "debian-12:1.9.0");
  EXPECT_EQ(old.disk, folder_ / "debian-12/1.9.0/disk.qcow2");
  const Error missing = find_image(folder_, "debian-12:2").error();
  EXPECT_EQ(missing.code, ErrorCode::not_found);
  EXPECT_THAT(missing.message, HasSubstr("debian-12:1.10.0, debian-12:1.9.0"));
}

TEST_F(Gallery, RefusesReferencesThatArePaths) {
  for (const char* reference : {"", "../x", "a/b", "debian-12:", "debian-12:../1", ":1", "a:b:c"}) {
    EXPECT_EQ(find_image(folder_, reference).error().code, ErrorCode::invalid_argument) << reference;
  }
  EXPECT_THAT(find_image(folder_, "debian-12").error().message, HasSubstr("no image is installed"));
}

TEST_F(Gallery, OneBadImageDoesNotHideTheOthers) {
  add("debian-12", "1.0.0");
  write(folder_ / "broken" / "1", "{");
  write(folder_ / "renamed" / "1", sample_manifest());
  add("no-disk", "1");
  std::filesystem::remove(folder_ / "no-disk/1/disk.qcow2");
  ASSERT_TRUE(make_folder(folder_ / "empty" / "1"));
  std::vector<Error> problems;
  EXPECT_THAT(names(&problems), ElementsAre("debian-12:1.0.0"));
  ASSERT_EQ(problems.size(), 4U);
  EXPECT_THAT(problems[0].message, HasSubstr("broken/1"));
  EXPECT_THAT(problems[2].message, HasSubstr("disk.qcow2 is missing"));
  EXPECT_THAT(problems[3].message, HasSubstr("debian-12-mini:1.0.0"));
}

Bytes file(const char* path) {
  return read_file(path, std::size_t{64} << 20).value_or(Bytes{});
}

TEST(InspectComponent, KnowsDebiansShim) {
  const Result<BootComponent> shim =
      inspect_component("shim", "/EFI/BOOT/BOOTX64.EFI", file("/usr/lib/shim/shimx64.efi.signed"));
  ASSERT_TRUE(shim) << shim.error().describe();
  EXPECT_EQ(shim->file, "/EFI/BOOT/BOOTX64.EFI");
  EXPECT_THAT(shim->signers,
              ElementsAre("Microsoft Windows UEFI Driver Publisher <- Microsoft Corporation UEFI CA 2011",
                          "Microsoft UEFI CA 2023 signer <- Microsoft UEFI CA 2023"));
  EXPECT_THAT(shim->version, StartsWith("1"));
  EXPECT_THAT(shim->sbat, HasSubstr("shim.debian,"));
}

TEST(InspectComponent, KnowsDebiansGrub) {
  const Result<BootComponent> grub = inspect_component(
      "grub", "/EFI/BOOT/grubx64.efi", file("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"));
  ASSERT_TRUE(grub) << grub.error().describe();
  EXPECT_THAT(grub->version, StartsWith("2."));
  EXPECT_THAT(grub->version, HasSubstr("deb12"));
  ASSERT_EQ(grub->signers.size(), 1U);
  EXPECT_THAT(grub->signers[0], HasSubstr("<- Debian Secure Boot CA"));
}

TEST(InspectComponent, SaysWhenAFileWasChangedAfterSigning) {
  Bytes grub = file("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed");
  ASSERT_GT(grub.size(), 0x20000U);
  grub[0x20000] ^= std::byte{1};
  EXPECT_THAT(inspect_component("grub", "g", grub)->signers[0], HasSubstr("changed after signing"));
}

TEST(InspectComponent, RefusesOtherRolesAndOtherFiles) {
  EXPECT_EQ(inspect_component("initrd", "/initrd.gz", as_bytes("x")).error().code,
            ErrorCode::invalid_argument);
  const Error error = inspect_component("kernel", "/vmlinuz", as_bytes("#!/bin/sh")).error();
  EXPECT_EQ(error.code, ErrorCode::unsupported);
  EXPECT_THAT(error.message, StartsWith("/vmlinuz: "));
}

}  // namespace
}  // namespace bootseal::gallery

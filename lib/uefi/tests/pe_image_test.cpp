#include "bootseal/uefi/pe_image.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "bootseal/uefi/sbat.h"
#include "files.h"

namespace bootseal::uefi {
namespace {

using ::testing::HasSubstr;

TEST(PeImage, ReadsHeadersAndSections) {
  const Bytes file = read_or_fail(kSignedGrub);
  const Result<PeImage> image = PeImage::parse(file);
  ASSERT_TRUE(image) << image.error().describe();
  EXPECT_EQ(image->machine(), kMachineX64);
  EXPECT_EQ(image->subsystem(), kSubsystemEfiApplication);
  EXPECT_EQ(image->sections().size(), 5U);  // as objdump -h lists them
  ASSERT_TRUE(image->section(".sbat"));
  EXPECT_TRUE(as_text(*image->section(".sbat")).starts_with("sbat,1,"));
  EXPECT_FALSE(image->section(".nothing"));
}

TEST(PeImage, SurvivesEveryTruncationOfItsHeaders) {
  const Bytes file = read_or_fail("/usr/lib/shim/fbx64.efi.signed");
  for (std::size_t size = 0; size < 1024; ++size)
    EXPECT_FALSE(PeImage::parse(ByteSpan(file).first(size))) << size;
  EXPECT_FALSE(PeImage::parse(ByteSpan(file).first(file.size() - 1)));
}

struct Damage {
  const char* what;
  std::size_t offset;  // from the PE signature
  std::uint32_t value;
};

TEST(PeImage, NamesWhatDoesNotFit) {
  const Bytes file = read_or_fail("/usr/lib/shim/fbx64.efi.signed");
  const std::size_t pe = load_le32(file, 0x3c);
  const std::size_t sections = 24 + load_le16(file, pe + 20);
  const Damage cases[] = {
      {"directories do not fit", 24 + 108, 0xffffffff}, {"size of the headers", 24 + 60, 0x10},
      {"size of the headers", 24 + 60, 0x7fffffff},     {"certificate table", 24 + 112 + 32, 0xffffff00},
      {"certificate table", 24 + 112 + 36, 8},          {"bytes at offset", sections + 16, 0x7fffffff},
      {"bytes at offset", sections + 20, 0xffffff00},
  };
  for (const Damage& damage : cases) {
    Bytes changed = file;
    store_le32(changed, pe + damage.offset, damage.value);
    const Result<PeImage> image = PeImage::parse(changed);
    ASSERT_FALSE(image) << damage.what;
    EXPECT_EQ(image.error().code, ErrorCode::corrupt);
    EXPECT_THAT(image.error().message, HasSubstr(damage.what));
  }
  Bytes far = file;
  store_le32(far, 0x3c, 0xfffffff0);
  EXPECT_EQ(PeImage::parse(far).error().code, ErrorCode::corrupt);
  EXPECT_EQ(PeImage::parse(as_bytes("#!/bin/sh")).error().code, ErrorCode::unsupported);
}

TEST(PeImage, RefusesSectionsThatShareBytes) {
  Bytes file = read_or_fail("/usr/lib/shim/fbx64.efi.signed");
  const std::size_t pe = load_le32(file, 0x3c);
  const std::size_t first = pe + 24 + load_le16(file, pe + 20);
  const std::size_t table = file.size() - PeImage::parse(file)->certificate_table().size();
  store_le32(file, first + 16, static_cast<std::uint32_t>(table));
  store_le32(file, first + 20, 0);
  EXPECT_THAT(PeImage::parse(file).error().message, HasSubstr("overlap"));
}

TEST(LinuxKernelVersion, ReadsTheHeaderField) {
  Bytes image(0x400);
  std::ranges::copy(as_bytes("HdrS"), image.begin() + 0x202);
  store_le16(image, 0x20e, 0x100);
  std::ranges::copy(as_bytes("6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP"),
                    image.begin() + 0x300);
  EXPECT_EQ(*linux_kernel_version(image), "6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP");
  image[0x301] = std::byte{0x1b};
  EXPECT_EQ(linux_kernel_version(image).error().code, ErrorCode::not_found);
  store_le16(image, 0x20e, 0xffff);
  EXPECT_EQ(linux_kernel_version(image).error().code, ErrorCode::not_found);
  EXPECT_EQ(linux_kernel_version(ByteSpan(image).first(0x203)).error().code, ErrorCode::not_found);
}

TEST(Sbat, ReadsWhatGrubCarries) {
  const Bytes file = read_or_fail(kSignedGrub);
  const PeImage image = *PeImage::parse(file);
  const auto entries = parse_sbat(*image.section(".sbat"));
  ASSERT_TRUE(entries) << entries.error().describe();
  ASSERT_GE(entries->size(), 3U);
  EXPECT_EQ((*entries)[1].component, "grub");
  EXPECT_EQ((*entries)[1].package, "grub");
  EXPECT_EQ((*entries)[2].component, "grub.debian");
  EXPECT_THAT(summarize_sbat(*entries),
              ::testing::StartsWith(
                  fmt::format("grub,{};grub.debian,{}", (*entries)[1].generation, (*entries)[2].generation)));
}

TEST(Sbat, SaysWhatALevelRevokes) {
  const auto image = *parse_sbat(as_bytes(
      "sbat,1,SBAT Version,sbat,1,u\r\ngrub,4,FSF,grub,2.06,u\ngrub.debian,5,Debian,grub2,2.06-13,u\n"));
  EXPECT_EQ(first_revoked(image, *parse_sbat(as_bytes("sbat,1,2025021800\nshim,4\ngrub,5\n"))), "grub");
  EXPECT_EQ(first_revoked(image, *parse_sbat(as_bytes("sbat,1,2022111500\nshim,9\ngrub,4\n"))), "");
  EXPECT_EQ(image[2].version, "2.06-13");
}

TEST(Sbat, RefusesRowsWithoutAGeneration) {
  for (const std::string_view text :
       {"grub", "grub,x", "grub,", ",1", "grub,0", "grub,99999999999", "grub,1x", "gr\x1bub,1"}) {
    EXPECT_EQ(parse_sbat(as_bytes(text)).error().code, ErrorCode::corrupt) << text;
  }
  EXPECT_TRUE(parse_sbat(as_bytes(std::string_view("grub,1\n\0garbage", 15))));
  std::string many;
  for (int i = 0; i < 300; ++i) many += "a,1\n";
  EXPECT_EQ(parse_sbat(as_bytes(many)).error().code, ErrorCode::corrupt);
}

}  // namespace
}  // namespace bootseal::uefi

#include <gmock/gmock.h>

#include "bootseal/gallery/image.h"
#include "files.h"

namespace bootseal::gallery {
namespace {

using ::testing::HasSubstr;

TEST(Manifest, ReadsEveryField) {
  const Result<ImageManifest> manifest = parse_manifest(sample_manifest());
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_EQ(manifest->name, "debian-12-mini");
  EXPECT_EQ(manifest->version, "1.0.0");
  EXPECT_EQ(manifest->os_name, "Debian GNU/Linux 12 (mini)");
  EXPECT_EQ(manifest->disk_virtual_size_bytes, std::uint64_t{64} << 20);
  EXPECT_EQ(manifest->disk_sha256.to_hex(),
            "1f3853cc0584840189a66043addabcfbacb0cf55d2889837f6a4a0f2851bcb9b");
  EXPECT_EQ(format_time(manifest->created_time), "2026-01-01T00:00:00.000000Z");
  EXPECT_TRUE(manifest->agent);
  EXPECT_FALSE(manifest->cloud_init);
  ASSERT_EQ(manifest->boot_chain.size(), 2U);
  EXPECT_EQ(manifest->boot_chain[0].signers.size(), 2U);
  EXPECT_EQ(manifest->boot_chain[0].sbat, "shim,4;shim.debian,1");
  EXPECT_EQ(manifest->boot_chain[1].role, "kernel");
  EXPECT_EQ(manifest->kernel_package, "6.1.192-2");
}

TEST(Manifest, WhatIsWrittenIsWhatIsRead) {
  const ImageManifest manifest = *parse_manifest(sample_manifest());
  EXPECT_EQ(*parse_manifest(serialize_manifest(manifest)), manifest);
  // The sample differs from our text in its time and its layout only.
  json::Value written = *json::parse(serialize_manifest(manifest)), sample = *json::parse(sample_manifest());
  written.as_object()["createdTime"] = sample.at("createdTime");
  EXPECT_EQ(written, sample);
}

TEST(Manifest, NamesTheFieldThatIsWrong) {
  struct Case {
    const char* path;
    std::optional<json::Value> value;
    const char* message;
  };
  const Case cases[] = {
      {"/name", std::nullopt, "the manifest.name"},
      {"/name", "../../etc", "no name"},
      {"/version", "", "no name"},
      {"/osType", "Plan9", "osType"},
      {"/architecture", "arm64", "wanted 'x64'"},
      {"/hyperVGeneration", "V1", "wanted 'V2'"},
      {"/features/securityType", "ConfidentialVM", "securityType"},
      {"/disk/file", "/etc/shadow", "the manifest.disk.file"},
      {"/disk/file", "..", "the manifest.disk.file"},
      {"/disk/format", "raw", "wanted 'qcow2'"},
      {"/disk/virtualSizeBytes", 0, "virtualSizeBytes"},
      {"/disk/virtualSizeBytes", -1, "virtualSizeBytes"},
      {"/disk/sha256", "abc", "64 hex digits"},
      {"/createdTime", "yesterday", "createdTime"},
      {"/minimumMemoryMiB", std::uint64_t{1} << 40, "at most 16 TiB"},
      {"/bootChain", "none", "bootChain"},
      {"/bootChain/0/role", "rootkit", "bootChain[0].role"},
      {"/bootChain/1/authenticodeSha256", std::nullopt, "bootChain[1].authenticodeSha256"},
      {"/bootChain/1/signers", json::Array{1}, "bootChain[1].signers"},
      {"/packages/initrd", "1", "packages.initrd"},
      {"/extra", true, "the manifest.extra"},
  };
  for (const Case& each : cases) {
    const Result<ImageManifest> manifest = parse_manifest(manifest_with(each.path, each.value));
    ASSERT_FALSE(manifest) << each.path;
    EXPECT_EQ(manifest.error().code, ErrorCode::invalid_argument) << each.path;
    EXPECT_THAT(manifest.error().message, HasSubstr(each.message));
  }
}

TEST(Manifest, BoundsTheBootChain) {
  json::Array chain(33, json::parse(sample_manifest())->at("bootChain").at(0));
  EXPECT_THAT(parse_manifest(manifest_with("/bootChain", chain)).error().message, HasSubstr("at most 32"));
}

TEST(CompareVersions, OrdersNumbersByValue) {
  const std::vector<std::string_view> ordered = {"",       "1",  "1.0.0", "1.0.9", "1.0.10",   "1.2",   "2",
                                                 "2-beta", "10", "12.9",  "12.10", "bookworm", "trixie"};
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    for (std::size_t k = 0; k < ordered.size(); ++k) {
      EXPECT_EQ(compare_versions(ordered[i], ordered[k]), i <=> k) << ordered[i] << " and " << ordered[k];
    }
  }
  EXPECT_EQ(compare_versions("1.007", "1.7"), std::strong_ordering::equal);
}

}  // namespace
}  // namespace bootseal::gallery

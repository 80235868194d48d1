#include "bootseal/gallery/disk.h"

#include <gmock/gmock.h>

#include "bootseal/base/subprocess.h"
#include "files.h"

namespace bootseal::gallery {
namespace {

using ::testing::HasSubstr;

// An image made by qemu-img itself.
Bytes make_image(const std::string& file, std::vector<std::string> options) {
  const std::string path = std::filesystem::path(testing::TempDir()) / file;
  std::vector<std::string> arguments = {"qemu-img", "create", "-q", "-f", "qcow2"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), {path, "3M"});
  const auto made = run_checked({.arguments = arguments});
  EXPECT_TRUE(made) << made.error().describe();
  return read_file(path, std::size_t{1} << 20).value_or(Bytes{});
}

TEST(CheckQcow2, GivesTheVirtualSize) {
  for (const char* version : {"compat=0.10", "compat=1.1"}) {
    const Bytes image = make_image("plain.qcow2", {"-o", version});
    EXPECT_EQ(*check_qcow2(image), std::uint64_t{3} << 20);
    EXPECT_EQ(*check_qcow2(ByteSpan(image).first(512)), std::uint64_t{3} << 20);
  }
}

TEST(CheckQcow2, RefusesImagesThatReadOtherFiles) {
  make_image("base.qcow2", {});
  const std::string base = std::filesystem::path(testing::TempDir()) / "base.qcow2";
  EXPECT_THAT(check_qcow2(make_image("overlay.qcow2", {"-b", base, "-F", "qcow2"})).error().message,
              HasSubstr("backing file"));
  const std::string data = std::filesystem::path(testing::TempDir()) / "data.raw";
  EXPECT_THAT(check_qcow2(make_image("external.qcow2", {"-o", "data_file=" + data})).error().message,
              HasSubstr("another file"));
}

TEST(CheckQcow2, RefusesWhatItDoesNotKnow) {
  const Bytes good = make_image("good.qcow2", {});
  Bytes image = good;
  store_be32(image, 4, 4);
  EXPECT_EQ(check_qcow2(image).error().code, ErrorCode::unsupported);
  image = good;
  store_be32(image, 32, 1);
  EXPECT_EQ(check_qcow2(image).error().code, ErrorCode::unsupported);
  image = good;
  store_be64(image, 72, 1);
  EXPECT_THAT(check_qcow2(image).error().message, HasSubstr("qemu-img check"));
  image = good;
  store_be64(image, 24, 0);
  EXPECT_EQ(check_qcow2(image).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(check_qcow2(ByteSpan(good).first(76)).error().code, ErrorCode::corrupt);
  EXPECT_EQ(check_qcow2(as_bytes("raw bytes")).error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace bootseal::gallery

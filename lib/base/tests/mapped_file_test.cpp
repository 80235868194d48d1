#include "bootseal/base/mapped_file.h"

#include <gtest/gtest.h>

#include "bootseal/base/fds.h"

namespace bootseal {
namespace {

std::filesystem::path file_with(std::string_view content) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "mapped_file_test";
  EXPECT_TRUE(replace_file(path, as_bytes(content)));
  return path;
}

TEST(MappedFile, ShowsTheWholeFile) {
  Result<MappedFile> file = MappedFile::open(file_with("content"), 7);
  ASSERT_TRUE(file) << file.error().describe();
  MappedFile moved = *std::move(file);
  EXPECT_EQ(as_text(moved.view()), "content");
  moved = *MappedFile::open(file_with(""), 7);
  EXPECT_TRUE(moved.view().empty());
}

TEST(MappedFile, RefusesLargeAndMissingFiles) {
  EXPECT_EQ(MappedFile::open(file_with("content"), 6).error().code, ErrorCode::exhausted);
  EXPECT_EQ(MappedFile::open("/nowhere/at/all", 6).error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace bootseal

#include "bootseal/base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

namespace bootseal {
namespace {

TEST(ErrorTable, EveryCodeHasItsRowItsNameAndItsWayBack) {
  std::set<std::string_view> names;
  std::set<int> exit_codes;
  for (std::size_t i = 0; i < kErrorCodeCount; ++i) {
    const auto code = static_cast<ErrorCode>(i);
    const ErrorInfo& info = error_info(code);
    EXPECT_EQ(info.code, code);
    EXPECT_EQ(error_code_from_name(info.name), code);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_TRUE(exit_codes.insert(info.exit_code).second) << info.name;
    EXPECT_GE(info.http_status, 400);
    EXPECT_FALSE(info.summary.empty());
  }
}

TEST(Error, DescribesItsCauses) {
  const Error inner{ErrorCode::io_error, "disk gone", nullptr};
  const Error outer = fail(ErrorCode::unavailable, "cannot start", inner).value();
  EXPECT_EQ(outer.wrap("vm demo").describe(), "vm demo: cannot start: disk gone");
}

TEST(Error, ErrnoDecidesTheCode) {
  EXPECT_EQ(fail_errno(ENOENT, "x").value().code, ErrorCode::not_found);
  EXPECT_EQ(fail_errno(ENOSPC, "x").value().code, ErrorCode::exhausted);
  EXPECT_EQ(fail_errno(EIO, "x").value().code, ErrorCode::io_error);
}

Result<int> half(int value) {
  if (value % 2 != 0) return fail(ErrorCode::invalid_argument, "odd");
  return value / 2;
}
Result<int> quarter(int value) {
  BOOTSEAL_TRY(const int first, half(value));
  BOOTSEAL_TRY(const int second, half(first));
  return second;
}

TEST(Try, ReturnsTheFirstError) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().message, "odd");
}

}  // namespace
}  // namespace bootseal

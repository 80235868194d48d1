#include "bootseal/crypto/secret.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace bootseal::crypto {
namespace {

static_assert(!std::is_copy_constructible_v<Secret> && !std::is_copy_assignable_v<Secret>);

TEST(Secret, MovesItsBytesAndLeavesNothingBehind) {
  Secret first = Secret::copy_of(as_bytes("key"));
  Secret second = std::move(first);
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(as_text(second.view()), "key");
  EXPECT_EQ(as_text(second.duplicate().view()), "key");
  second = Secret();
  EXPECT_TRUE(second.empty());
}

TEST(Secret, RandomOnesDiffer) {
  EXPECT_FALSE(equal_constant_time(Secret::random(32).view(), Secret::random(32).view()));
  EXPECT_EQ(Secret::random(5000).size(), 5000U);
}

TEST(EqualConstantTime, ComparesLengthAndContent) {
  EXPECT_TRUE(equal_constant_time(as_bytes("ab"), as_bytes("ab")));
  EXPECT_FALSE(equal_constant_time(as_bytes("ab"), as_bytes("ac")));
  EXPECT_FALSE(equal_constant_time(as_bytes("ab"), as_bytes("abc")));
  EXPECT_TRUE(equal_constant_time({}, {}));
}

TEST(Wipe, OverwritesTheBytes) {
  Bytes bytes = to_bytes("secret");
  wipe(bytes);
  EXPECT_EQ(bytes, Bytes(6));
}

}  // namespace
}  // namespace bootseal::crypto

#include "bootseal/crypto/password_hash.h"

#include <crypt.h>
#include <gtest/gtest.h>

namespace bootseal::crypto {
namespace {

TEST(PasswordHash, IsOneThatALoginAccepts) {
  const std::string hash = hash_password("correct horse").value();
  EXPECT_TRUE(hash.starts_with("$y$"));
  EXPECT_EQ(hash, ::crypt("correct horse", hash.c_str()));
  EXPECT_NE(hash, ::crypt("correct horsf", hash.c_str()));
  EXPECT_NE(hash, hash_password("correct horse").value());
}

TEST(PasswordHash, IsRecognisedByItsPasswordAlone) {
  const std::string hash = hash_password("correct horse").value();
  EXPECT_TRUE(is_password_of("correct horse", hash));
  EXPECT_FALSE(is_password_of("correct horsf", hash));
  EXPECT_FALSE(is_password_of("", hash));
  EXPECT_FALSE(is_password_of("correct horse", ""));
  EXPECT_FALSE(is_password_of("correct horse", "not a hash"));
}

TEST(PasswordHash, NeedsAPassword) {
  for (const std::string& wrong : {std::string(), std::string(512, 'x'), std::string("a\0b", 3)})
    EXPECT_EQ(hash_password(wrong).error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace bootseal::crypto

#include "bootseal/base/bytes.h"

#include <gtest/gtest.h>

namespace bootseal {
namespace {

TEST(ByteReader, ReadsBothByteOrders) {
  const Bytes data = *from_hex("0102030405060708090a0b0c0d0e0f10");
  ByteReader reader(data);
  EXPECT_EQ(*reader.u8("a"), 0x01);
  EXPECT_EQ(*reader.le16("b"), 0x0302);
  EXPECT_EQ(*reader.be32("c"), 0x04050607U);
  EXPECT_EQ(*reader.le64("d"), 0x0f0e0d0c0b0a0908ULL);
  EXPECT_EQ(reader.remaining(), 1U);
}

TEST(ByteReader, ReadPastTheEndNamesTheFieldAndStaysInPlace) {
  const Bytes data(3);
  ByteReader reader(data);
  ASSERT_TRUE(reader.u8("first"));
  const auto value = reader.le32("length of the record");
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().code, ErrorCode::corrupt);
  EXPECT_NE(value.error().message.find("length of the record"), std::string::npos);
  EXPECT_EQ(reader.position(), 1U);
}

TEST(ByteWriter, WritesWhatTheReaderReads) {
  ByteWriter writer;
  writer.u8(1).le16(2).le32(3).le64(4).be16(5).be32(6).be64(7).text("ab").fill(2);
  const Bytes data = writer.take();
  ByteReader reader(data);
  EXPECT_EQ(*reader.u8(""), 1);
  EXPECT_EQ(*reader.le16(""), 2);
  EXPECT_EQ(*reader.le32(""), 3U);
  EXPECT_EQ(*reader.le64(""), 4U);
  EXPECT_EQ(*reader.be16(""), 5);
  EXPECT_EQ(*reader.be32(""), 6U);
  EXPECT_EQ(*reader.be64(""), 7U);
  EXPECT_EQ(to_hex(reader.rest()), "61620000");
}

TEST(Hex, RefusesOddLengthAndForeignCharacters) {
  EXPECT_FALSE(from_hex("abc"));
  EXPECT_FALSE(from_hex("zz"));
  EXPECT_EQ(to_hex(*from_hex("00FFa5")), "00ffa5");
}

// RFC 4648 section 10.
TEST(Base64, MatchesTheTestVectorsOfTheRfc) {
  const std::pair<std::string_view, std::string_view> vectors[] = {{"", ""},
                                                                   {"f", "Zg=="},
                                                                   {"fo", "Zm8="},
                                                                   {"foo", "Zm9v"},
                                                                   {"foob", "Zm9vYg=="},
                                                                   {"fooba", "Zm9vYmE="},
                                                                   {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : vectors) {
    EXPECT_EQ(to_base64(as_bytes(plain)), encoded);
    EXPECT_EQ(as_text(*from_base64(encoded)), plain);
  }
}

TEST(Base64, UrlFormHasNoPaddingAndItsOwnAlphabet) {
  const Bytes data = *from_hex("fbff");
  EXPECT_EQ(to_base64url(data), "-_8");
  EXPECT_EQ(*from_base64url("-_8"), data);
  EXPECT_FALSE(from_base64url("+/8"));
}

TEST(Base64, RefusesImpossibleLengthStrayBitsAndForeignCharacters) {
  for (const std::string_view text : {"A", "AAAAA", "Zh==", "Zm9", "Z m8=", "=", "===="})
    EXPECT_FALSE(from_base64(text)) << text;
}

TEST(Crc32, MatchesTheCheckValue) {
  EXPECT_EQ(crc32(as_bytes("123456789")), 0xcbf43926U);
}

TEST(Utf8, AcceptsWellFormedTextAndNothingElse) {
  for (const std::string_view good : {"", "plain", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                      "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << to_hex(as_bytes(good));
  }
  // Lone and missing continuation bytes, overlong forms, surrogates, beyond U+10FFFF (Unicode 15, table 3-7).
  for (const std::string_view bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xe2\x82"}) {
    EXPECT_FALSE(is_utf8(bad)) << to_hex(as_bytes(bad));
  }
}

}  // namespace
}  // namespace bootseal

#include "bootseal/crypto/digest.h"

#include <gtest/gtest.h>

namespace bootseal::crypto {
namespace {

// FIPS 180-4 examples; GB/T 32905 for SM3.
TEST(Digest, MatchesTheStandardsExamples) {
  EXPECT_EQ(to_hex(digest(HashAlgorithm::sha1, as_bytes("abc"))), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha256(as_bytes("abc")).to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(digest(HashAlgorithm::sm3, as_bytes("abc"))),
            "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");
  for (const auto algorithm : {HashAlgorithm::sha1, HashAlgorithm::sha256, HashAlgorithm::sha384,
                               HashAlgorithm::sha512, HashAlgorithm::sm3}) {
    EXPECT_EQ(digest(algorithm, as_bytes("abc")).size(), hash_size(algorithm));
    EXPECT_EQ(digest(algorithm, {as_bytes("a"), as_bytes("bc")}), digest(algorithm, as_bytes("abc")));
  }
}

TEST(Digest, ParsesItsOwnTextOnly) {
  EXPECT_EQ(*Sha256Digest::parse(sha256({}).to_hex()), sha256({}));
  EXPECT_FALSE(Sha256Digest::parse("00"));
}

// RFC 4231, test case 2.
TEST(Hmac, MatchesTheRfc) {
  EXPECT_EQ(to_hex(hmac(HashAlgorithm::sha256, as_bytes("Jefe"),
                        {as_bytes("what do ya want "), as_bytes("for nothing?")})),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

// RFC 5869, test case 1.
TEST(Hkdf, MatchesTheRfc) {
  const Bytes okm =
      hkdf_sha256(*from_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"),
                  *from_hex("000102030405060708090a0b0c"), *from_hex("f0f1f2f3f4f5f6f7f8f9"), 42);
  EXPECT_EQ(to_hex(okm),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

TEST(RandomBytes, DifferEachTime) {
  EXPECT_NE(random_bytes(16), random_bytes(16));
}

}  // namespace
}  // namespace bootseal::crypto

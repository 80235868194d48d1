#include "bootseal/crypto/aead.h"

#include <gtest/gtest.h>

namespace bootseal::crypto {
namespace {

// The Galois/Counter Mode of Operation (McGrew, Viega), test case 16.
TEST(AesGcm, MatchesTestCase16) {
  const Bytes key = *from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  const Bytes nonce = *from_hex("cafebabefacedbaddecaf888");
  const Bytes plain = *from_hex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aed"
      "f5aa0de657ba637b39");
  const Bytes associated = *from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const Sealed sealed = seal_aes_gcm(key, nonce, plain, associated);
  EXPECT_EQ(to_hex(sealed.ciphertext),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
            "c5f61e6393ba7a0abcc9f662");
  EXPECT_EQ(to_hex(sealed.tag), "76fc6ece0f4e1768cddf8853bb2d551b");
  EXPECT_EQ(*open_aes_gcm(key, nonce, sealed.ciphertext, sealed.tag, associated), plain);
}

TEST(AesGcm, RefusesAnyChange) {
  const Bytes key(32), nonce(12);
  const Sealed sealed = seal_aes_gcm(key, nonce, as_bytes("secret"), as_bytes("vm"));
  Bytes changed = sealed.ciphertext;
  changed[0] ^= std::byte{1};
  EXPECT_EQ(open_aes_gcm(key, nonce, changed, sealed.tag, as_bytes("vm")).error().code, ErrorCode::corrupt);
  EXPECT_FALSE(open_aes_gcm(key, nonce, sealed.ciphertext, sealed.tag, as_bytes("vn")));
  auto tag = sealed.tag;
  tag[15] ^= std::byte{0x80};
  EXPECT_FALSE(open_aes_gcm(key, nonce, sealed.ciphertext, tag, as_bytes("vm")));
  Bytes other_key(32);
  other_key[31] = std::byte{1};
  EXPECT_FALSE(open_aes_gcm(other_key, nonce, sealed.ciphertext, sealed.tag, as_bytes("vm")));
  EXPECT_FALSE(open_aes_gcm(key, nonce, sealed.ciphertext, ByteSpan(sealed.tag).first(15), as_bytes("vm")));
}

TEST(AesGcm, SealsEmptyData) {
  const Bytes key(32), nonce(12);
  const Sealed sealed = seal_aes_gcm(key, nonce, {});
  EXPECT_EQ(to_hex(sealed.tag), "530f8afbc74536b9a963b4f1c4cb738b");  // test case 13
  EXPECT_TRUE(open_aes_gcm(key, nonce, sealed.ciphertext, sealed.tag)->empty());
}

}  // namespace
}  // namespace bootseal::crypto

#include "state_envelope.h"

#include <gmock/gmock.h>

namespace bootseal::guest {
namespace {

Bytes hex(std::string_view text) {
  return from_hex(text).value();
}

TEST(StateEnvelope, HasSwtpmsFormForMigration) {
  EXPECT_EQ(to_hex(wrap_state(hex("aabbcc"))),
            "0201000a0004"
            "00000019"      // version 2, readable from 1 on, head of 10 bytes, migration data, 25 bytes
            "000400000009"  // migration data, 9 bytes
            "000100000003"
            "aabbcc");  // data, 3 bytes
}

TEST(StateEnvelope, OpensWhatItWrapped) {
  for (const std::size_t size : std::initializer_list<std::size_t>{0, 1, 1321, 70000}) {
    const Bytes state(size, std::byte{0x5A});
    EXPECT_EQ(to_bytes(unwrap_state(wrap_state(state)).value()), state);
  }
}

TEST(StateEnvelope, TakesPlainDataAndUnknownItemsAndALongerHead) {
  EXPECT_EQ(to_hex(to_bytes(unwrap_state(hex("0201000a0000000000120001"
                                             "00000002"
                                             "abcd"))
                                .value())),
            "abcd");
  EXPECT_EQ(to_hex(to_bytes(unwrap_state(hex("0201000c00000000001a"
                                             "0000"  // two bytes more in the head
                                             "0099"
                                             "00000001"
                                             "00"  // an item nobody knows
                                             "0001"
                                             "00000001"
                                             "7e"))
                                .value())),
            "7e");
}

TEST(StateEnvelope, RefusesWhatItCannotRead) {
  const Bytes good = wrap_state(hex("aabbcc"));
  for (std::size_t size = 0; size < good.size(); ++size) {
    const auto cut = unwrap_state(ByteSpan(good).first(size));
    ASSERT_FALSE(cut) << size;
    EXPECT_EQ(cut.error().code, ErrorCode::corrupt);
  }
  Bytes longer = good;
  longer.push_back(std::byte{0});
  EXPECT_EQ(unwrap_state(longer).error().code, ErrorCode::corrupt);
  EXPECT_EQ(unwrap_state(hex("0203000a00000000000a")).error().code, ErrorCode::unsupported);
  EXPECT_EQ(unwrap_state(hex("0201000a00010000000a")).error().code, ErrorCode::not_found);
  EXPECT_EQ(unwrap_state(hex("0201000a00020000000a")).error().code, ErrorCode::not_found);
  EXPECT_EQ(unwrap_state(hex("0201000a00000000000a")).error().code, ErrorCode::corrupt) << "no data";
  EXPECT_EQ(unwrap_state(hex("0201000900000000000a")).error().code, ErrorCode::corrupt) << "short head";
  EXPECT_EQ(unwrap_state(hex("0201000a0000000000110001"
                             "ffffffff"
                             "ab"))
                .error()
                .code,
            ErrorCode::corrupt);
}

}  // namespace
}  // namespace bootseal::guest

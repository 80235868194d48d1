#include "guest_state_envelope.h"

#include <gtest/gtest.h>

namespace bootseal::guest {
namespace {

TEST(Envelope, SurvivesARoundTripAndHasTheLayoutOfTheDocument) {
  const VmId vm = *VmId::parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
  const Bytes bytes = put_in_envelope(
      {.kind = BlobKind::uefi_flash, .vm = vm, .generation = {0x0102030405060708}}, as_bytes("flash"));
  EXPECT_EQ(to_hex(bytes),
            "425345414c475354"  // "BSEALGST"
            "0100"
            "02"
            "00"
            "05000000"
            "6ba7b8109dad11d180b400c04fd430c8"
            "0807060504030201"
            "666c617368");
  const auto opened = open_envelope(bytes);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->envelope.kind, BlobKind::uefi_flash);
  EXPECT_EQ(opened->envelope.vm, vm);
  EXPECT_EQ(opened->envelope.generation, Generation{0x0102030405060708});
  EXPECT_EQ(as_text(opened->payload), "flash");
}

TEST(Envelope, EveryFieldIsChecked) {
  const Bytes whole = put_in_envelope(
      {.kind = BlobKind::description, .vm = VmId::random(), .generation = {1}}, as_bytes("x"));
  const auto code = [&](std::size_t at, int value) {
    Bytes bytes = whole;
    bytes[at] = static_cast<std::byte>(value);
    const auto opened = open_envelope(bytes);
    return opened ? std::nullopt : std::optional(opened.error().code);
  };
  EXPECT_EQ(code(0, 'b'), ErrorCode::corrupt);
  EXPECT_EQ(code(8, 0), ErrorCode::unsupported);
  EXPECT_EQ(code(9, 1), ErrorCode::unsupported);
  EXPECT_EQ(code(10, 0), ErrorCode::corrupt);
  EXPECT_EQ(code(10, 7), ErrorCode::corrupt);
  EXPECT_EQ(code(11, 1), ErrorCode::corrupt);
  EXPECT_EQ(code(12, 0), ErrorCode::corrupt);
  EXPECT_EQ(code(12, 2), ErrorCode::corrupt);
  EXPECT_EQ(code(15, 255), ErrorCode::corrupt);
  EXPECT_EQ(code(32, 0), ErrorCode::corrupt);
  EXPECT_EQ(code(40, 'y'), std::nullopt);
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(open_envelope(ByteSpan(whole).first(size))) << size;
}

}  // namespace
}  // namespace bootseal::guest

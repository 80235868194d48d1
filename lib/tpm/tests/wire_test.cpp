#include "bootseal/tpm/wire.h"

#include <gtest/gtest.h>

namespace bootseal::tpm {
namespace {

// The bytes tpm2-tools 5.4 sends for `tpm2_nvundefine -C p 0x1500016` and `tpm2_pcrread sha256:0,8`.
TEST(MarshalCommand, MakesTheBytesOtherToolsSend) {
  EXPECT_EQ(to_hex(marshal_command({.code = CommandCode::nv_undefine_space,
                                    .handles = {0x4000000C, 0x01500016},
                                    .sessions = {kPasswordSession},
                                    .parameters = {}})),
            "80020000001f00000122"
            "4000000c01500016"
            "00000009"
            "40000009"
            "0000"
            "01"
            "0000");
  ByteWriter selection;
  write_pcr_selection(selection, {Algorithm::sha256, 0x101});
  EXPECT_EQ(to_hex(marshal_command({.code = CommandCode::pcr_read, .parameters = selection.take()})),
            "8001000000140000017e"
            "00000001"
            "000b"
            "03"
            "010100");
}

// Part 2, 6.6.3 and the examples of `tpm2_rc_decode`.
TEST(ResponseCodeText, NamesWhatTheCodePointsAt) {
  EXPECT_EQ(response_code_text(0), "TPM_RC_SUCCESS");
  EXPECT_EQ(response_code_text(0x18B),
            "TPM_RC_HANDLE (no such handle, or not correct for the use), handle 1");
  EXPECT_EQ(response_code_text(0x99D), "TPM_RC_POLICY_FAIL (a policy check failed), session 1");
  EXPECT_EQ(response_code_text(0x2C4),
            "TPM_RC_VALUE (value out of range or not correct for the context), parameter 2");
  EXPECT_EQ(response_code_text(0x14C),
            "TPM_RC_NV_DEFINED (the NV index or persistent object is defined already)");
  EXPECT_EQ(response_code_text(0x921), "TPM_RC_LOCKOUT (the TPM is in dictionary-attack lockout)");
  EXPECT_EQ(response_code_text(0x910),
            "TPM_RC_REFERENCE_H0 (handle 1 references an object that is not loaded)");
  EXPECT_EQ(response_code_text(0x17F), "a code this version does not know");
}

TEST(ParseResponse, TakesTheSessionsOffAndNothingElse) {
  const Command command{
      .code = CommandCode::nv_read, .handles = {1, 1}, .sessions = {kPasswordSession}, .parameters = {}};
  const auto reply = parse_response(command, *from_hex("800200000017000000000000000400026869"
                                                       "0000"
                                                       "01"
                                                       "0000"));
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(to_hex(reply->parameters), "00026869");
  EXPECT_EQ(parse_response(command, *from_hex("800200000018000000000000000400026869"
                                              "0000"
                                              "01"
                                              "0000"
                                              "00"))
                .error()
                .code,
            ErrorCode::corrupt);
  EXPECT_EQ(parse_response(command, *from_hex("800100000017000000000000000400026869"
                                              "0000"
                                              "01"
                                              "0000"))
                .error()
                .code,
            ErrorCode::corrupt);
}

TEST(PcrSelections, SurviveARoundTrip) {
  ByteWriter writer;
  const PcrSelection selection{Algorithm::sha384, 0x805BFF};
  write_pcr_selection(writer, selection);
  ByteReader reader(writer.view());
  const auto read = read_pcr_selections(reader);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, std::vector<PcrSelection>{selection});
  EXPECT_TRUE(reader.at_end());
}

TEST(PcrSelections, AreBounded) {
  const auto code_of = [](std::string_view hex) {
    const Bytes bytes = *from_hex(hex);
    ByteReader reader(bytes);
    const auto selections = read_pcr_selections(reader);
    return selections ? ErrorCode::internal : selections.error().code;
  };
  EXPECT_EQ(code_of("ffffffff"), ErrorCode::corrupt);
  EXPECT_EQ(code_of("00000001000b0400000001"), ErrorCode::corrupt);            // PCR 24
  EXPECT_EQ(code_of("00000002000b03010000000b03020000"), ErrorCode::corrupt);  // one bank twice
  EXPECT_EQ(code_of("00000001ffff03010000"), ErrorCode::unsupported);          // unknown bank
  EXPECT_EQ(code_of("00000001000b030100"), ErrorCode::corrupt);                // ends early
}

TEST(AlgorithmNames, AreTheOnesOfTheTable) {
  for (const Algorithm algorithm :
       {Algorithm::sha1, Algorithm::sha256, Algorithm::sha384, Algorithm::sha512, Algorithm::sm3_256}) {
    EXPECT_EQ(*algorithm_from_name(algorithm_name(algorithm)), algorithm);
    EXPECT_EQ(*algorithm_from_id(static_cast<std::uint16_t>(algorithm)), algorithm);
  }
  EXPECT_EQ(algorithm_from_name("SHA-256").error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace bootseal::tpm

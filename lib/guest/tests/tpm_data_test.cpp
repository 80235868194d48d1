#include "tpm_data.h"

#include <gtest/gtest.h>

#include "support.h"

namespace bootseal::guest {
namespace {

using namespace std::chrono_literals;

class TpmData : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(engine_.power_on(), kTpmSuccess); }
  std::string send(std::string_view hex, std::chrono::milliseconds at = 0ms) {
    Bytes output;
    session_.receive(from_hex(hex).value(), output);
    if (session_.waiting()) session_.give_up_if_late(TpmDataSession::Time(at), output);
    return to_hex(output);
  }
  std::string wait_until(std::chrono::milliseconds at) {
    Bytes output;
    session_.give_up_if_late(TpmDataSession::Time(at), output);
    return to_hex(output);
  }

  StateKeeper keeper_{test::open_memory_state(test::new_store())};
  TpmEngine engine_{keeper_, TpmEngine::WhenMissing::refuse, [](const std::string&) {}};
  TpmDataSession session_{engine_};
};

const std::string kStartup = "80010000000c000001440000";
const std::string kSuccess = "80010000000a00000000";
const std::string kAlreadyStarted = "80010000000a00000100";  // TPM_RC_INITIALIZE
const std::string kCommandSize = "80010000000a00000142";

TEST_F(TpmData, TakesCommandsInPiecesAndInOneRow) {
  EXPECT_EQ(send(kStartup + kStartup), kSuccess + kAlreadyStarted);
  for (std::size_t i = 0; i + 2 < kStartup.size(); i += 2) EXPECT_EQ(send(kStartup.substr(i, 2)), "");
  EXPECT_EQ(send(kStartup.substr(kStartup.size() - 2)), kAlreadyStarted);
  EXPECT_EQ(session_.deadline(), std::nullopt);
}

TEST_F(TpmData, AnswersACommandThatIsShorterThanAHeader) {
  EXPECT_EQ(send("800100000008000001"), kCommandSize);
  EXPECT_EQ(send(kStartup), kSuccess);
}

TEST_F(TpmData, AnswersACommandThatClaimsMoreThanTheBuffer) {
  EXPECT_EQ(send("8001ffffffff00000144" + std::string(200, '0')), kCommandSize);
  EXPECT_EQ(send("80010000100100000144"), kCommandSize);
  EXPECT_EQ(send(kStartup), kSuccess);
}

TEST_F(TpmData, GivesUpACommandWhoseRestDoesNotCome) {
  EXPECT_EQ(send("8001000000", 1000ms), "");
  EXPECT_EQ(session_.deadline(), TpmDataSession::Time(1500ms));
  EXPECT_EQ(wait_until(1499ms), "");
  EXPECT_EQ(wait_until(1500ms), kCommandSize);
  EXPECT_EQ(wait_until(9999ms), "") << "answered once";
  EXPECT_EQ(send(kStartup, 2000ms), kSuccess) << "and is in step again";
}

TEST_F(TpmData, UnderstandsTcgsFramingWhereItIsOffered) {
  session_ = TpmDataSession(engine_, {.framing = true});
  const std::string frame =
      "00000008"
      "00"
      "0000000c";
  EXPECT_EQ(send(frame + kStartup), "0000000a" + kSuccess + "00000000");
  EXPECT_EQ(send(kStartup), kAlreadyStarted) << "without a frame as before";
  const std::string framed = frame + kStartup;
  for (std::size_t i = 0; i + 2 < framed.size(); i += 2) EXPECT_EQ(send(framed.substr(i, 2)), "");
  EXPECT_EQ(send(framed.substr(framed.size() - 2)), "0000000a" + kAlreadyStarted + "00000000");
  EXPECT_EQ(send(frame, 1000ms), "");
  EXPECT_EQ(wait_until(1500ms), "0000000a" + kCommandSize + "00000000") << "its command does not come";
  EXPECT_EQ(send(kStartup, 2000ms), kAlreadyStarted);
}

TEST_F(TpmData, TakesALocalityAsACommandWhereItIsAllowed) {
  const auto set_locality = [](std::string_view locality) {
    return "80010000000b20001000" + std::string(locality);
  };
  EXPECT_EQ(send(set_locality("01")).substr(12), "00000143") << "libtpms knows no such command";
  session_ = TpmDataSession(engine_, {.set_locality_command = true});
  EXPECT_EQ(send(set_locality("01")).substr(12), "00000101") << "not allowed";
  session_ = TpmDataSession(
      engine_, {.set_locality_command = true, .allow_set_locality = true, .highest_locality = 3});
  EXPECT_EQ(send(set_locality("01")), kSuccess);
  EXPECT_EQ(send(set_locality("04")).substr(12), "00000907") << "TPM_RC_LOCALITY";
  EXPECT_EQ(send("80010000000a20001000").substr(12), "0000009a") << "TPM_RC_INSUFFICIENT";
}

}  // namespace
}  // namespace bootseal::guest

// The guest's probe against a software TPM: what it wrote is found after a power cycle, and another PCR 7
// keeps its secret shut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "bootseal/base/subprocess.h"
#include "tpm_server.h"

namespace bootseal {
namespace {

class TpmProbe : public ::testing::Test {
 protected:
  TpmProbe() : tpm_(tpm::testing::SoftwareTpm::manufacture()), client_(*tpm_) {
    std::string pattern = ::testing::TempDir() + "probe-XXXXXX";
    BOOTSEAL_CHECK(mkdtemp(pattern.data()) != nullptr && client_.startup());
    folder_ = pattern;
  }
  ~TpmProbe() override { std::filesystem::remove_all(folder_); }

  CommandOutput run(std::vector<std::string> arguments) {
    const tpm::testing::TpmServer server(*tpm_, folder_ / "tpm");
    arguments.insert(arguments.begin(), BOOTSEAL_PROBE_PROGRAM);
    auto output = run_command(
        {.arguments = std::move(arguments),
         .environment = std::map<std::string, std::string>{{"BOOTSEAL_PROBE_TPM", folder_ / "tpm"}}});
    BOOTSEAL_CHECK(output.has_value());
    return *std::move(output);
  }

  std::filesystem::path folder_;
  std::unique_ptr<tpm::testing::SoftwareTpm> tpm_;
  tpm::Client client_;
};

TEST_F(TpmProbe, FindsAfterAPowerCycleWhatItWrote) {
  for (int round = 0; round < 2; ++round) {  // writing again replaces what is there
    const CommandOutput written = run({"write"});
    EXPECT_EQ(written.exit_code, 0);
    ASSERT_THAT(
        written.standard_output,
        ::testing::MatchesRegex("PROBE-WRITTEN nv=[0-9a-f]{64} key=000b[0-9a-f]{64} sealed=[0-9a-f]{64}\n"));
    ASSERT_TRUE(client_.shutdown());
    tpm_->power_cycle();
    ASSERT_TRUE(client_.startup());
    const CommandOutput found = run({"check"});
    EXPECT_EQ(found.exit_code, 0);
    EXPECT_EQ(found.standard_output,
              "PROBE-FOUND" + written.standard_output.substr(sizeof "PROBE-WRITTEN" - 1));
  }
}

TEST_F(TpmProbe, SaysThatTheSecretStaysShutWhenPcr7Differs) {
  ASSERT_EQ(run({"write"}).exit_code, 0);
  ASSERT_TRUE(client_.pcr_extend(7, tpm::Algorithm::sha256, Bytes(32)));
  const CommandOutput found = run({"check"});
  EXPECT_EQ(found.exit_code, 1);
  EXPECT_THAT(found.standard_output, ::testing::EndsWith(" sealed=FAILED:0x99d\n"));
}

TEST_F(TpmProbe, SaysWhatANewTpmDoesNotHave) {
  const CommandOutput found = run({"check"});
  EXPECT_EQ(found.exit_code, 1);
  EXPECT_EQ(found.standard_output, "PROBE-FOUND nv=FAILED:0x18b key=FAILED:0x18b sealed=FAILED:0x18b\n");
}

TEST_F(TpmProbe, WritesAGivenSecret) {
  EXPECT_EQ(run({"secret", "c0ffee"}).standard_output, "PROBE-SECRET nv=0x01500018\n");
  EXPECT_EQ(to_hex(*client_.nv_read(tpm::kOwner, 0x01500018)), "c0ffee");
  EXPECT_EQ(run({"secret", "xyz"}).exit_code, 1);
  EXPECT_EQ(run({"bogus"}).exit_code, 2);
}

}  // namespace
}  // namespace bootseal

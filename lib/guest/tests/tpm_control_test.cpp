#include "tpm_control.h"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include "control_host.h"
#include "support.h"

namespace bootseal::guest {
namespace {

using test::control_request;
using test::MemoryStore;

class TpmControl : public testing::Test {
 protected:
  void SetUp() override {
    // libtpms keeps the bit for as long as the process lives.
    ASSERT_EQ(engine_.power_on(), kTpmSuccess);
    ASSERT_EQ(engine_.reset_established(3), kTpmSuccess);
    engine_.power_off();
  }
  // The answer to one request, as hex.
  std::string call(std::uint32_t command, std::initializer_list<std::uint32_t> words = {}) {
    return send(control_request(command, words));
  }
  std::string send(ByteSpan request, UniqueFd fd = {}) {
    Bytes output;
    session_.receive(request, std::move(fd), output);
    return to_hex(output);
  }

  std::shared_ptr<MemoryStore> store_ = test::new_store();
  StateKeeper keeper_{test::open_memory_state(store_)};
  TpmEngine engine_{keeper_, TpmEngine::WhenMissing::refuse, [](const std::string&) {}};
  test::ControlHost host_{engine_};
  TpmControlSession session_{engine_, host_};
};

const std::string kOk = "00000000";

TEST_F(TpmControl, AnswersQemusStartResetAndExitAsRecorded) {
  UniqueFd peer = std::move(make_socket_pair()->first);
  EXPECT_EQ(send(control_request(0x10), std::move(peer)), kOk);
  EXPECT_EQ(host_.data_channels.size(), 1U);
  EXPECT_EQ(call(0x01), "0000000000017fff");
  const auto reset = [&] {
    EXPECT_EQ(call(0x0E), kOk);
    EXPECT_EQ(call(0x11, {0}).substr(0, 8), kOk);
    EXPECT_EQ(call(0x0E), kOk);
    EXPECT_EQ(call(0x11, {0xF80}),
              "00000000"
              "00000f80"
              "00000af8"
              "00001000");
    EXPECT_EQ(call(0x02, {0}), kOk);
    EXPECT_TRUE(engine_.running());
  };
  reset();
  EXPECT_EQ(call(0x04), "0000000000000000");
  EXPECT_EQ(send(from_hex("0000000500000000").value()), kOk);  // SET_LOCALITY(0), 4 bytes
  tpm::Client client(engine_);
  EXPECT_TRUE(client.startup());
  for (int i = 0; i < 3; ++i) reset();
  EXPECT_TRUE(client.startup()) << "a reset TPM wants TPM2_Startup again";
  EXPECT_EQ(call(0x03), kOk);
  EXPECT_FALSE(engine_.running());
  EXPECT_EQ(call(0x02, {0}), kOk) << "INIT starts it again after SHUTDOWN";
}

TEST_F(TpmControl, GivesTheSameAnswersToRequestsInPiecesAndInOneRow) {
  Bytes requests;
  for (const Bytes& request :
       {control_request(0x01), control_request(0x02, {0}), from_hex("0000000503").value(),
        from_hex("0000000500000000").value(), control_request(0x06), control_request(0x07, {5}),
        to_bytes("hello"), control_request(0x08), control_request(0x04), from_hex("0000000B03000000").value(),
        control_request(0x0F), control_request(0x12, {0, 1, 0, 0}), control_request(0x13, {300}),
        control_request(0x0E)}) {
    append(requests, request);
  }
  const std::string whole = send(requests);
  std::string in_pieces;
  for (const std::byte& byte : requests) in_pieces += send({&byte, 1});
  EXPECT_EQ(in_pieces, whole);
  const std::string start = "0000000000017fff" + kOk + kOk + kOk + kOk + kOk + kOk + "0000000001000000" + kOk;
  EXPECT_EQ(whole.substr(0, start.size()), start);
}

TEST_F(TpmControl, TakesLocalitiesOfOneAndOfFourBytes) {
  EXPECT_EQ(send(from_hex("0000000504").value()), kOk);
  EXPECT_EQ(send(from_hex("00000001").value()), "0000000000017fff");
  EXPECT_EQ(send(from_hex("0000000504000000").value()), kOk);
  EXPECT_EQ(send(from_hex("00000001").value()), "0000000000017fff");
  EXPECT_EQ(send(from_hex("0000000505").value()), "0000003d");
  EXPECT_EQ(send(from_hex("0000000505000000").value()), "0000003d");
  EXPECT_EQ(send(from_hex("0000000f").value()), "0000000000000001");
}

TEST_F(TpmControl, RefusesWhatNeedsARunningTpmWithoutShorteningTheFourFullAnswers) {
  EXPECT_EQ(call(0x06), "0000000a");                // HASH_START
  EXPECT_EQ(send(control_request(0x07, {3})), "");  // HASH_DATA takes its data first
  EXPECT_EQ(send(to_bytes("abc")), "0000000a");
  EXPECT_EQ(call(0x08), "0000000a");  // HASH_END
  EXPECT_EQ(call(0x09), "0000000a");  // CANCEL_TPM_CMD
  EXPECT_EQ(call(0x0A), "0000000a");  // STORE_VOLATILE
  EXPECT_EQ(send(from_hex("0000000b03").value()), "0000000a");
  EXPECT_EQ(call(0x0C, {1, 1, 0}),
            "0000000a"
            "000000000000000000000000");      // GET_STATEBLOB, full head
  EXPECT_EQ(call(0x04), "0000000000000000");  // GET_TPMESTABLISHED never fails
  EXPECT_EQ(call(0x11, {4096}).substr(0, 16), "0000000000001000");
}

TEST_F(TpmControl, RefusesBadStateBlobsAndReadsPastThem) {
  const auto set_state = [&](std::uint32_t type, ByteSpan blob) {
    Bytes request = control_request(0x0D, {0, type, static_cast<std::uint32_t>(blob.size())});
    append(request, blob);
    return send(request);
  };
  EXPECT_EQ(set_state(4, as_bytes("x")), "00000003");
  EXPECT_EQ(set_state(1, as_bytes("\x02\x01 is no envelope")), "00000003");
  EXPECT_EQ(set_state(1, from_hex("0203000a00000000000a").value()), "0000002e") << "from a newer version";
  EXPECT_EQ(set_state(1, from_hex("0202000a00020000000a").value()), "0000000d")
      << "encrypted, and there is no migration key";
  EXPECT_EQ(set_state(2, {}), kOk) << "an empty blob stands for none";
  EXPECT_EQ(set_state(1, Bytes((512 << 10) + 1)), "00000017") << "too large";
  EXPECT_EQ(call(0x01), "0000000000017fff") << "the session is in step";
  EXPECT_EQ(call(0x02, {0}), kOk);
  EXPECT_EQ(set_state(1, as_bytes("whatever")), "0000000a") << "the TPM is running";
}

TEST_F(TpmControl, KeepsTheStateInsideOutsideOfAMigration) {
  host_.migrating = false;
  ASSERT_EQ(call(0x02, {0}), kOk);
  EXPECT_EQ(call(0x01), "0000000000017fff") << "QEMU reads the bits once and would block migration for good";
  for (const std::uint32_t type : {1U, 2U, 3U}) {
    EXPECT_EQ(call(0x0C, {1, type, 0}),
              "00000008"
              "000000000000000000000000")
        << "the full head, for old QEMUs";
  }
  EXPECT_EQ(call(0x0A), "00000008");
  host_.migrating = true;
  const std::string answer = call(0x0C, {1, 1, 0});
  ASSERT_EQ(answer.substr(0, 8), kOk);
  const Bytes blob = from_hex(answer.substr(32)).value();
  host_.migrating = false;
  ASSERT_EQ(call(0x0E), kOk);
  const auto put_in = [&] {
    Bytes request = control_request(0x0D, {0, 1, static_cast<std::uint32_t>(blob.size())});
    append(request, blob);
    return send(request);
  };
  EXPECT_EQ(put_in(), "00000008");
  EXPECT_EQ(call(0x01), "0000000000017fff") << "the blob was read past";
  host_.migrating = true;
  EXPECT_EQ(put_in(), kOk);
}

TEST_F(TpmControl, TellsItsHostOfShutdownAfterTheTpmIsOff) {
  ASSERT_EQ(call(0x02, {0}), kOk);
  EXPECT_EQ(call(0x03), kOk);
  EXPECT_EQ(host_.shutdowns, 1);
  EXPECT_FALSE(engine_.running());
}

TEST_F(TpmControl, SaysThatThereIsNoSaveState) {
  ASSERT_EQ(call(0x02, {0}), kOk);
  EXPECT_EQ(call(0x0C, {1, 3, 0}),
            "00000800"
            "000000000000000000000000");
  EXPECT_EQ(call(0x0C, {1, 9, 0}),
            "00000003"
            "000000000000000000000000");
  EXPECT_EQ(call(0x0C, {1, 1, 0xFFFFFFFF}),
            "00000003"
            "000000000000000000000000");
}

TEST_F(TpmControl, HandsOutStateFromAnOffset) {
  ASSERT_EQ(call(0x02, {0}), kOk);
  const std::string whole = call(0x0C, {1, 1, 0});
  const std::string rest = call(0x0C, {1, 1, 100});
  EXPECT_EQ(rest.substr(32), whole.substr(32 + 200));
  EXPECT_EQ(rest.substr(16, 8), whole.substr(16, 8)) << "the total length stays";
}

TEST_F(TpmControl, RefusesSetDataFdWithoutADescriptorOrOverALiveChannel) {
  EXPECT_EQ(call(0x10), "0000001f");
  host_.accept_data_channels = false;
  EXPECT_EQ(send(control_request(0x10), std::move(make_socket_pair()->first)), "0000001f");
}

TEST_F(TpmControl, AnswersUnknownCommandsAndGoesOn) {
  EXPECT_EQ(send(from_hex("deadbeef00000001").value()), "0000000a");
  EXPECT_EQ(call(0x01), "0000000000017fff");
}

TEST_F(TpmControl, MeasuresADynamicLaunchIntoPcr17) {
  ASSERT_EQ(call(0x02, {0}), kOk);
  tpm::Client client(engine_);
  ASSERT_TRUE(client.startup());
  EXPECT_EQ(call(0x06), kOk);
  EXPECT_EQ(send(control_request(0x07, {3})), "");
  EXPECT_EQ(send(to_bytes("a")), "");
  EXPECT_EQ(send(to_bytes("bc")), kOk);
  EXPECT_EQ(call(0x08), kOk);
  // TCG PC Client: PCR17 = H(0^32 || H("abc")) after the hash sequence.
  const auto values = client.pcr_read({tpm::Algorithm::sha256, 1U << 17}).value();
  EXPECT_EQ(to_hex(values.at(0).digest), "589f9ffed4c477966bfb8d41f37895b08c69047df8f911d6f3b57fbe08faee8d");
  EXPECT_EQ(call(0x04), "0000000001000000") << "TPM Established";
}

TEST_F(TpmControl, DescribesTheTpmInChunks) {
  ASSERT_EQ(call(0x02, {0}), kOk);
  const std::string answer = call(0x12, {0, 1, 0, 0});
  ASSERT_EQ(answer.substr(0, 8), kOk);
  const std::string text(as_text(from_hex(answer.substr(24)).value()));
  EXPECT_THAT(text, testing::HasSubstr("TPMSpecification"));
  EXPECT_EQ(text.back(), '\0');
  EXPECT_EQ(call(0x12, {0, 1, 0x10000, 0}),
            "00000003"
            "0000000000000000");
}

}  // namespace
}  // namespace bootseal::guest

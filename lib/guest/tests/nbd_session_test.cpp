#include "nbd_session.h"

#include <gmock/gmock.h>

#include "support.h"

namespace bootseal::guest {
namespace {

using test::MemoryStore;

class Nbd : public testing::Test {
 protected:
  std::string send(ByteSpan data) {
    Bytes output;
    session_.receive(data, VariableFlash::Time(), output);
    return to_hex(output);
  }
  std::string send_hex(std::string_view hex) { return send(from_hex(hex).value()); }
  static Bytes option(std::uint32_t number, std::string_view data_hex = "") {
    const Bytes data = from_hex(data_hex).value();
    ByteWriter writer;
    writer.text("IHAVEOPT").be32(number).be32(static_cast<std::uint32_t>(data.size())).bytes(data);
    return writer.take();
  }
  static Bytes request(std::uint16_t type, std::uint64_t offset, std::uint32_t size, ByteSpan data = {},
                       std::uint16_t flags = 0) {
    ByteWriter writer;
    writer.be32(0x25609513)
        .be16(flags)
        .be16(type)
        .be64(0x0123456789abcdef)
        .be64(offset)
        .be32(size)
        .bytes(data);
    return writer.take();
  }
  void enter_transmission() {
    ASSERT_EQ(send_hex("00000003"), "");
    ASSERT_NE(send(option(7, kGoVariables)), "");
  }

  static constexpr std::string_view kGoVariables =
      "00000009"
      "7661726961626c6573"
      "0000";
  static constexpr std::uint16_t kRead = 0, kWrite = 1, kDisconnect = 2, kFlush = 3, kTrim = 4, kFua = 1;
  std::shared_ptr<MemoryStore> store_ = test::new_store();
  StateKeeper keeper_{test::open_memory_state(store_)};
  VariableFlash flash_ = VariableFlash::load(keeper_).value();
  NbdSession session_{flash_};
};

std::string reply(std::uint32_t error) {
  ByteWriter writer;
  writer.be32(0x67446698).be32(error).be64(0x0123456789abcdef);
  return to_hex(writer.view());
}

std::string option_reply(std::string_view rest) {
  return "0003e889045565a9" + std::string(rest);
}

TEST_F(Nbd, GreetsWithTheFixedNewstyleHandshake) {
  EXPECT_EQ(to_hex(NbdSession::greeting()),
            "4e42444d41474943"
            "49484156454f5054"
            "0003");
}

TEST_F(Nbd, DescribesItsExportAndGoes) {
  ASSERT_EQ(send_hex("00000003"), "");
  for (const std::uint32_t number : {6U, 7U}) {
    const std::string go = "0000000" + std::to_string(number);
    EXPECT_EQ(send(option(number, kGoVariables)), option_reply(go + "00000003"
                                                                    "0000000c"
                                                                    "0000"
                                                                    "0000000000084000"
                                                                    "000d") +
                                                      option_reply(go + "00000003"
                                                                        "0000000e"
                                                                        "0003"
                                                                        "00000001"
                                                                        "00001000"
                                                                        "00084000") +
                                                      option_reply(go + "00000001"
                                                                        "00000000"));
  }
  EXPECT_EQ(send(request(kFlush, 0, 0)), reply(0));
}

TEST_F(Nbd, ListsItsOneExport) {
  ASSERT_EQ(send_hex("00000003"), "");
  EXPECT_EQ(send(option(3)), option_reply("00000003"
                                          "00000002"
                                          "0000000d"
                                          "00000009"
                                          "7661726961626c6573") +
                                 option_reply("00000003"
                                              "00000001"
                                              "00000000"));
}

TEST_F(Nbd, TakesTheOldOptionWithAndWithoutZeroes) {
  ASSERT_EQ(send_hex("00000003"), "");
  EXPECT_EQ(send(option(1, "7661726961626c6573")),
            "0000000000084000"
            "000d");
  NbdSession with_zeroes(flash_);
  Bytes output;
  Bytes input = from_hex("00000001").value();
  append(input, option(1));
  with_zeroes.receive(input, VariableFlash::Time(), output);
  EXPECT_EQ(output.size(), 8U + 2U + 124U);
}

TEST_F(Nbd, RefusesUnknownOptionsAndExportsAndStaysInStep) {
  ASSERT_EQ(send_hex("00000003"), "");
  EXPECT_EQ(send(option(8)).substr(16, 16),
            "00000008"
            "80000001")
      << "structured replies";
  EXPECT_EQ(send(option(5)).substr(16, 16),
            "00000005"
            "80000001")
      << "TLS";
  EXPECT_EQ(send(option(99, "abcd")).substr(16, 16),
            "00000063"
            "80000001");
  EXPECT_EQ(send(option(7,
                        "0000000361626300"
                        "00"))
                .substr(16, 16),
            "00000007"
            "80000006");
  EXPECT_EQ(send(option(7,
                        "000000ff616263"
                        "0000"))
                .substr(16, 16),
            "00000007"
            "80000003");
  EXPECT_EQ(send(option(7,
                        "00000000"
                        "0001"))
                .substr(16, 16),
            "00000007"
            "80000003");
  EXPECT_EQ(send(option(3, "00")).substr(16, 16),
            "00000003"
            "80000003");
  EXPECT_TRUE(session_.open());
  EXPECT_NE(send(option(7, kGoVariables)), "");
  EXPECT_EQ(send(request(kFlush, 0, 0)), reply(0));
}

TEST_F(Nbd, EndsOnAbortUnknownOldExportBadMagicAndOversizedOptions) {
  const auto ends = [&](const Bytes& data) {
    NbdSession session(flash_);
    Bytes output;
    session.receive(from_hex("00000003").value(), VariableFlash::Time(), output);
    session.receive(data, VariableFlash::Time(), output);
    return !session.open();
  };
  EXPECT_TRUE(ends(option(2)));
  EXPECT_TRUE(ends(option(1, "616263")));
  EXPECT_TRUE(ends(Bytes(16, std::byte{7})));
  EXPECT_TRUE(ends(from_hex("49484156454f5054"
                            "00000007"
                            "00002001")
                       .value()));
  Bytes many;
  for (int i = 0; i < 65; ++i) append(many, option(99));
  EXPECT_TRUE(ends(many));
  NbdSession unknown_flags(flash_);
  Bytes output;
  unknown_flags.receive(from_hex("80000003").value(), VariableFlash::Time(), output);
  EXPECT_FALSE(unknown_flags.open());
}

TEST_F(Nbd, ReadsWhatWasWritten) {
  enter_transmission();
  EXPECT_EQ(send(request(kWrite, 1000, 3, as_bytes("abc"))), reply(0));
  EXPECT_EQ(send(request(kRead, 999, 5)), reply(0) + "ff616263ff");
  EXPECT_EQ(send(request(kRead, 0, 0)), reply(0));
  EXPECT_EQ(store_->commits, 0U);
  EXPECT_EQ(send(request(kFlush, 0, 0)), reply(0));
  EXPECT_EQ(store_->commits, 1U);
  EXPECT_EQ(as_text(ByteSpan(store_->blobs[Blob::uefi_flash]).subspan(1000, 3)), "abc");
}

TEST_F(Nbd, CommitsAFuaWriteBeforeItsReply) {
  enter_transmission();
  EXPECT_EQ(send(request(kWrite, 1000, 3, as_bytes("abc"), kFua)), reply(0));
  EXPECT_EQ(store_->commits, 1U);
}

TEST_F(Nbd, RefusesWhatLiesOutsideAndUnknownRequestsAndGoesOn) {
  enter_transmission();
  constexpr std::uint64_t kEnd = kVariableFlashSize;
  EXPECT_EQ(send(request(kRead, kEnd, 1)), reply(22));
  EXPECT_EQ(send(request(kRead, kEnd - 1, 2)), reply(22));
  EXPECT_EQ(send(request(kRead, ~std::uint64_t{0}, 2)), reply(22));
  EXPECT_EQ(send(request(kRead, 0, 0xFFFFFFFF)), reply(22));
  EXPECT_EQ(send(request(kWrite, kEnd - 1, 2, as_bytes("xy"))), reply(28));
  EXPECT_EQ(send(request(kWrite, ~std::uint64_t{0}, 2, as_bytes("xy"))), reply(28));
  EXPECT_EQ(send(request(kTrim, 0, 512)), reply(22));
  EXPECT_EQ(send(request(77, 0, 512)), reply(22));
  EXPECT_EQ(send(request(kRead, 0, 1, {}, 2)), reply(22)) << "a flag that was not offered";
  EXPECT_EQ(send(request(kFlush, 1, 0)), reply(22));
  EXPECT_EQ(send(request(kRead, kEnd - 1, 1)), reply(0) + "ff");
  EXPECT_EQ(store_->commits, 0U);
}

TEST_F(Nbd, EndsOnDisconnectBadMagicAndAWriteLargerThanTheFlash) {
  enter_transmission();
  EXPECT_EQ(send(request(kDisconnect, 0, 0)), "");
  EXPECT_FALSE(session_.open());
  for (const Bytes& data : {Bytes(28), request(kWrite, 0, kVariableFlashSize + 1)}) {
    NbdSession session(flash_);
    Bytes output;
    session.receive(from_hex("00000003").value(), VariableFlash::Time(), output);
    session.receive(option(7, kGoVariables), VariableFlash::Time(), output);
    ASSERT_TRUE(session.open());
    session.receive(data, VariableFlash::Time(), output);
    EXPECT_FALSE(session.open());
  }
}

TEST_F(Nbd, TakesAWriteOfTheWholeFlashInPieces) {
  enter_transmission();
  const Bytes content(kVariableFlashSize, std::byte{0x3C});
  const Bytes whole = request(kWrite, 0, kVariableFlashSize, content);
  for (std::size_t at = 0; at < whole.size(); at += 60000) {
    const bool last = at + 60000 >= whole.size();
    EXPECT_EQ(send(ByteSpan(whole).subspan(at, std::min<std::size_t>(60000, whole.size() - at))),
              last ? reply(0) : "");
  }
  EXPECT_EQ(to_bytes(flash_.read(0, kVariableFlashSize)), content);
}

TEST_F(Nbd, AnswersIoErrorWhenACommitFails) {
  enter_transmission();
  store_->commit_error = ErrorCode::io_error;
  EXPECT_EQ(send(request(kWrite, 1000, 3, as_bytes("abc"), kFua)), reply(5));
  EXPECT_EQ(send(request(kWrite, 2000, 3, as_bytes("abc"))), reply(5));
  EXPECT_EQ(send(request(kFlush, 0, 0)), reply(5));
}

TEST_F(Nbd, HoldsRequestsBackWhileItsOutputIsNotRead) {
  enter_transmission();
  Bytes requests;
  for (int i = 0; i < 20; ++i) append(requests, request(kRead, 0, kVariableFlashSize));
  Bytes output;
  session_.receive(requests, VariableFlash::Time(), output);
  const std::size_t one = 16 + kVariableFlashSize;
  EXPECT_LE(output.size(), NbdSession::kOutputLimit + one);
  std::size_t replies = 0;
  while (!output.empty()) {
    replies += output.size() / one;
    output.clear();
    session_.receive({}, VariableFlash::Time(), output);
  }
  EXPECT_EQ(replies, 20U);
}

}  // namespace
}  // namespace bootseal::guest

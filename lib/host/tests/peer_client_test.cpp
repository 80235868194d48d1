#include "bootseal/host/peer_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <thread>

#include "display_text.h"
#include "guestd_messages.h"
#include "qemu_machine.h"

namespace bootseal::host {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(LineSplitter, JoinsPiecesAndDropsEmptyLines) {
  LineSplitter splitter(100);
  std::vector<std::string> lines;
  const auto take = [&](std::string_view line) { lines.emplace_back(line); };
  for (const char* piece : {"on", "e\ntw", "o\r\n", "\n\r\nthree", "\n", "rest"})
    ASSERT_TRUE(splitter.feed(piece, take));
  EXPECT_THAT(lines, testing::ElementsAre("one", "two", "three"));
}

TEST(LineSplitter, ALineThatIsTooLongIsCorrupt) {
  LineSplitter splitter(8);
  const auto ignore = [](std::string_view) {};
  EXPECT_TRUE(splitter.feed("12345678\n", ignore));
  EXPECT_TRUE(splitter.feed("1234", ignore));
  EXPECT_EQ(splitter.feed("56789", ignore).error().code, ErrorCode::corrupt);
}

TEST(PeerMessages, OfQmp) {
  const auto parse = [](std::string_view line) { return parse_peer_message(Dialect::qmp, line); };
  EXPECT_EQ(parse(R"({"QMP":{"version":{},"capabilities":[]}})")->kind, PeerMessage::Kind::greeting);
  const auto event = parse(
      R"({"timestamp":{"seconds":1,"microseconds":2},"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}})");
  EXPECT_EQ(event->name, "SHUTDOWN");
  EXPECT_TRUE(event->content.at("guest").as_bool());
  const auto answer = parse(R"({"return":{"status":"running"},"id":7})");
  EXPECT_EQ(answer->id, 7U);
  EXPECT_EQ(answer->content.at("status").as_string(), "running");
  const auto error = parse(R"({"id":8,"error":{"class":"CommandNotFound","desc":"no such thing"}})");
  EXPECT_EQ(error->error->code, ErrorCode::unsupported);
  EXPECT_EQ(error->error->message, "no such thing");
  for (const char* bad : {"", "[]", "{}", "null", R"({"return":{}})", R"({"return":{},"id":-1})",
                          R"({"event":5})", R"({"error":"x","id":1})", "{\"id\":1"})
    EXPECT_FALSE(parse(bad)) << bad;
}

TEST(PeerMessages, OfBootseal) {
  const auto parse = [](std::string_view line) { return parse_peer_message(Dialect::bootseal, line); };
  EXPECT_EQ(parse(R"({"event":"hello","agentVersion":"1"})")->content.at("agentVersion").as_string(), "1");
  EXPECT_EQ(parse(R"({"id":1,"error":{"code":"GuestStateStale","message":"old"}})")->error->code,
            ErrorCode::guest_state_stale);
  EXPECT_EQ(parse(R"({"id":1,"error":{"code":"Nonsense","message":"x"}})")->error->code, ErrorCode::internal);
}

TEST(PeerMessages, TextOfAPeerIsShortAndHarmless) {
  const std::string text(5000, 'x');
  const auto message = parse_peer_message(
      Dialect::bootseal, R"({"id":1,"error":{"code":"Timeout","message":"a\u001b[31m\n)" + text + "\"}}");
  ASSERT_TRUE(message);
  EXPECT_LE(message->error->message.size(), 1000U);
  EXPECT_EQ(message->error->message.find_first_of("\x1b\n"), std::string::npos);
}

TEST(PeerMessages, RequestsOfBothDialects) {
  EXPECT_EQ(format_request(Dialect::qmp, 3, "cont", nullptr), R"({"execute":"cont","id":3})");
  EXPECT_EQ(format_request(Dialect::qmp, 3, "x", json::Object{{"a", 1}}),
            R"({"execute":"x","arguments":{"a":1},"id":3})");
  EXPECT_EQ(format_request(Dialect::bootseal, 4, "status", nullptr), R"({"id":4,"method":"status"})");
}

// A peer at the other end of a socket pair, driven by the test.
class PeerClientTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = EventLoop::start().value();
    SocketPair pair = make_socket_pair().value();
    peer_ = std::move(pair.second);
    PeerClient::Handlers handlers;
    handlers.event = [this](const PeerMessage& message) { events_.push_back(message.name); };
    handlers.closed = [this](const Error& reason) { closed_.set_value(reason.code); };
    client_ = PeerClient::open(*loop_, std::move(pair.first), Dialect::bootseal, "the peer", 4096, rate_,
                               std::move(handlers))
                  .value();
  }
  void TearDown() override {
    client_.reset();
    loop_.reset();
  }
  void say(std::string_view text) { ASSERT_TRUE(write_all(peer_.get(), as_bytes(text))); }
  std::string hear() {
    std::string line;
    for (char letter = 0; ::recv(peer_.get(), &letter, 1, 0) == 1 && letter != '\n';) line += letter;
    return line;
  }

  std::optional<LineRate> rate_;
  std::unique_ptr<EventLoop> loop_;
  UniqueFd peer_;
  std::shared_ptr<PeerClient> client_;
  std::vector<std::string> events_;  // loop thread
  std::promise<ErrorCode> closed_;
};

TEST_F(PeerClientTest, AnswersFindTheirCalls) {
  std::thread server([&]() {
    EXPECT_EQ(hear(), R"({"id":1,"method":"first","params":{"a":1}})");
    EXPECT_EQ(hear(), R"({"id":2,"method":"second"})");
    // The other way round, with noise between.
    say("garbage\n{\"id\":99,\"result\":1}\n{\"id\":2,\"result\":\"two\"}\n{\"id\":1,\"error\":{\"code\":"
        "\"Conflict\",\"message\":\"no\"}}\n");
  });
  std::promise<Result<json::Value>> first;
  client_->call_async("first", json::Object{{"a", 1}}, seconds(20),
                      [&](Result<json::Value> result) { first.set_value(std::move(result)); });
  EXPECT_EQ(client_->call("second", nullptr, seconds(20)).value().as_string(), "two");
  const auto refused = first.get_future().get();
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  EXPECT_EQ(refused.error().message, "the peer: no");
  server.join();
}

TEST_F(PeerClientTest, ACallEndsAtItsLimitAndALateAnswerIsDropped) {
  EXPECT_EQ(client_->call("silence", nullptr, milliseconds(20)).error().code, ErrorCode::timeout);
  say("{\"id\":1,\"result\":1}\n");
  std::thread server([&]() {
    hear();
    hear();
    say("{\"id\":2,\"result\":2}\n");
  });
  EXPECT_EQ(client_->call("again", nullptr, seconds(20)).value().as_int64(), 2);
  server.join();
}

TEST_F(PeerClientTest, AClosedPeerFailsEveryCall) {
  std::promise<Result<json::Value>> waiting;
  client_->call_async("x", nullptr, seconds(20),
                      [&](Result<json::Value> result) { waiting.set_value(std::move(result)); });
  peer_.reset();
  EXPECT_EQ(waiting.get_future().get().error().code, ErrorCode::unavailable);
  EXPECT_EQ(client_->call("y", nullptr, seconds(20)).error().code, ErrorCode::unavailable);
  EXPECT_EQ(closed_.get_future().get(), ErrorCode::unavailable);
}

TEST_F(PeerClientTest, AnEndlessLineEndsTheConnection) {
  const std::string line(5000, 'x');
  say(line);
  EXPECT_EQ(closed_.get_future().get(), ErrorCode::corrupt);
  EXPECT_EQ(client_->call("y", nullptr, seconds(20)).error().code, ErrorCode::unavailable);
}

TEST_F(PeerClientTest, APeerThatDoesNotReadIsLeft) {
  const std::string large(3000, 'x');
  for (int i = 0; i < 1000; ++i)
    client_->call_async("m", json::Object{{"x", large}}, seconds(20), [](const Result<json::Value>&) {});
  EXPECT_EQ(closed_.get_future().get(), ErrorCode::exhausted);
}

class RateLimited : public PeerClientTest {
 protected:
  RateLimited() { rate_ = LineRate{.per_second = 50, .burst = 10}; }
};

TEST_F(RateLimited, AFloodIsSlowedDownAndNothingIsLost) {
  std::thread flood([&]() {
    for (int i = 0; i < 30; ++i) say("{\"event\":\"e\"}\n");
    hear();
    say("{\"id\":1,\"result\":1}\n");
  });
  EXPECT_TRUE(client_->call("x", nullptr, seconds(60)));
  flood.join();
  std::size_t count = 0;
  loop_->run([&]() { count = events_.size(); });
  EXPECT_EQ(count, 30U);
}

class BytesLimited : public PeerClientTest {
 protected:
  // Lines are free here.
  BytesLimited() {
    rate_ = LineRate{.per_second = 1e9, .burst = 1e9, .bytes_per_second = 1, .burst_bytes = 100'000};
  }
};

TEST_F(BytesLimited, AFloodOfEmptyLinesIsNotReadForLong) {
  // Far more than the socket's buffers hold: a peer that were read on could send all of it.
  const std::string nothing(1 << 16, '\n');
  const timeval limit{.tv_sec = 0, .tv_usec = 300'000};
  ASSERT_EQ(::setsockopt(peer_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
  std::size_t sent = 0;
  ssize_t done = 0;
  while (sent < (std::size_t{64} << 20) &&
         (done = ::send(peer_.get(), nothing.data(), nothing.size(), MSG_NOSIGNAL)) > 0)
    sent += static_cast<std::size_t>(done);
  EXPECT_EQ(done, -1);
  EXPECT_LT(sent, std::size_t{8} << 20);
}

TEST(TokenBucket, GivesCreditAndFillsWithTime) {
  const TokenBucket::Time start{};
  TokenBucket bucket(10, 100, start);
  EXPECT_EQ(bucket.take(100, start).count(), 0);
  EXPECT_EQ(bucket.take(5, start).count(), 501);
  EXPECT_EQ(bucket.take(0, start + milliseconds(400)).count(), 101);
  EXPECT_EQ(bucket.take(100, start + seconds(3600)).count(), 0) << "never more than its size";
  EXPECT_EQ(bucket.take(1, start + seconds(3600)).count(), 101);
}

TEST(GuestdMessages, TheReadyLine) {
  EXPECT_EQ(parse_ready_line(R"({"event":"ready","generation":12})").value().value, 12U);
  const auto refused = parse_ready_line(
      R"({"event":"refused","error":{"code":"GuestStateForeign","message":"of another VM"}})");
  EXPECT_EQ(refused.error().code, ErrorCode::guest_state_foreign);
  EXPECT_EQ(refused.error().message, "of another VM");
  for (const char* bad : {"", "x", "{}", R"({"event":"ready"})", R"({"event":"other","generation":1})",
                          R"({"id":1,"result":{}})", R"({"event":"refused"})"})
    EXPECT_FALSE(parse_ready_line(bad)) << bad;
}

TEST(GuestdMessages, ReadyComesThroughThePipeOrSaysWhyNot) {
  Pipe pipe = make_pipe().value();
  ASSERT_TRUE(write_all(pipe.write_end.get(), as_bytes("{\"event\":\"ready\",\"generation\":3}\n")));
  EXPECT_EQ(wait_ready(pipe.read_end.get(), seconds(20)).value().value, 3U);
  EXPECT_EQ(wait_ready(pipe.read_end.get(), milliseconds(10)).error().code, ErrorCode::timeout);
  pipe.write_end.reset();
  EXPECT_EQ(wait_ready(pipe.read_end.get(), seconds(20)).error().code, ErrorCode::unavailable);
}

TEST(GuestdMessages, StatusEventsAndKeys) {
  const auto status = parse_guestd_status(
      json::parse(R"({"vmId":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","generation":9,"tpm":{}})").value());
  EXPECT_EQ(status->generation.value, 9U);
  EXPECT_FALSE(parse_guestd_status(json::Object{{"vmId", "x"}, {"generation", 1}}));
  const auto event = parse_guestd_event(
      parse_peer_message(Dialect::bootseal, R"({"event":"generation","generation":10})").value());
  EXPECT_EQ(event->generation.value, 10U);
  EXPECT_FALSE(parse_guestd_event(
      parse_peer_message(Dialect::bootseal, R"({"event":"generation","generation":-1})").value()));
  const auto keys = parse_certificates_wanted(json::Object{{"ekRsa", "AQI="}, {"ak", "Aw=="}});
  EXPECT_EQ(keys->ek_rsa.size(), 2U);
  EXPECT_TRUE(keys->ek_ecc.empty());
  EXPECT_FALSE(parse_certificates_wanted(json::Object{{"ekRsa", "AQI="}}));
  EXPECT_EQ(json::serialize(certificates_json({{}, {std::byte{1}}, {std::byte{2}}})),
            R"({"akCertificate":"Ag==","ekEccCertificate":"AQ=="})");
}

TEST(DisplayText, IsCutBetweenCharactersAndHasNoControls) {
  EXPECT_EQ(display_text("plain", 10), "plain");
  EXPECT_EQ(display_text("\x1b]0;title\x07", 100), " ]0;title ");
  EXPECT_EQ(display_text("a\xC2\x9B"
                         "31m",
                         100),
            "a  31m");
  EXPECT_EQ(display_text("Gr\xC3\xBC\xC3\x9F"
                         "e",
                         100),
            "Gr\xC3\xBC\xC3\x9F"
            "e");
  EXPECT_EQ(display_text("Gr\xC3\xBC\xC3\x9F"
                         "e",
                         3),
            "Gr");
  EXPECT_EQ(display_text("Gr\xC3\xBC\xC3\x9F"
                         "e",
                         4),
            "Gr\xC3\xBC");
}

TEST(AgentHello, IsCutAndChecked) {
  const auto hello = parse_agent_hello(
      json::Object{{"event", "hello"}, {"agentVersion", std::string(1000, 'v')}, {"kernelRelease", "6.1"}});
  EXPECT_EQ(hello->agent_version.size(), 200U);
  EXPECT_EQ(hello->kernel_release, "6.1");
  EXPECT_EQ(parse_agent_hello(json::Object{{"agentVersion", "1\x1b[2J\n2"}})->agent_version, "1 [2J 2");
  EXPECT_FALSE(parse_agent_hello(json::Object{{"event", "hello"}}));
  EXPECT_FALSE(parse_agent_hello("hello"));
}

}  // namespace
}  // namespace bootseal::host

#include "agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <fstream>

#include "bootseal/base/subprocess.h"
#include "bootseal/json/json.h"
#include "bootseal/tpm/public_key.h"
#include "bootseal/tpm/quote.h"
#include "port.h"
#include "tpm_server.h"

namespace bootseal::agent {
namespace {

using ::testing::HasSubstr;
using tpm::testing::SoftwareTpm;

TEST(LineBuffer, GivesWholeLinesHoweverTheyArrive) {
  LineBuffer lines(16);
  lines.feed(as_bytes("one\ntw"));
  EXPECT_EQ(lines.next()->text, "one");
  EXPECT_FALSE(lines.next());
  lines.feed(as_bytes("o\n\n"));
  EXPECT_EQ(lines.next()->text, "two");
  EXPECT_EQ(lines.next()->text, "");
  EXPECT_FALSE(lines.next());
}

TEST(LineBuffer, TellsALineThatIsTooLongOnceAndGoesOnBehindIt) {
  LineBuffer lines(4);
  for (int i = 0; i < 1000; ++i) {
    lines.feed(as_bytes("endless"));
    EXPECT_FALSE(lines.next());
  }
  lines.feed(as_bytes("end\nnext\nlonger\n"));
  EXPECT_TRUE(lines.next()->too_long);
  EXPECT_EQ(lines.next()->text, "next");
  EXPECT_TRUE(lines.next()->too_long);
  EXPECT_FALSE(lines.next());
  lines.feed(as_bytes("half"));
  lines.clear();
  lines.feed(as_bytes("new\n"));
  EXPECT_EQ(lines.next()->text, "new");
}

// The examples of os-release(5).
TEST(PrettyName, ReadsOsRelease) {
  EXPECT_EQ(pretty_name("NAME=Fedora\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n"),
            "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(pretty_name("PRETTY_NAME='Fedora 32'"), "Fedora 32");
  EXPECT_EQ(pretty_name("PRETTY_NAME=\"a \\\"quoted\\\" name\""), "a \"quoted\" name");
  EXPECT_EQ(pretty_name("PRETTY_NAME=Alpine\n"), "Alpine");
  EXPECT_EQ(pretty_name("XPRETTY_NAME=no\n"), "Linux");
  EXPECT_EQ(pretty_name(""), "Linux");
}

TEST(Text, IsMadeValid) {
  EXPECT_EQ(to_valid_utf8("plain \xc3\xa4 \xf0\x9f\x90\xa7"), "plain \xc3\xa4 \xf0\x9f\x90\xa7");
  EXPECT_EQ(to_valid_utf8("\xff\xc3"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  EXPECT_EQ(to_valid_utf8("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");                  // '/' in two bytes
}

class ScriptTest : public ::testing::Test {
 protected:
  ScriptTest() { ::unlink(configuration_.c_str()); }
  ~ScriptTest() override { ::unlink(configuration_.c_str()); }
  static LineBuffer::Line line(json::Object parameters) {
    return {
        json::serialize(json::Object{{"id", 5}, {"method", "runCommand"}, {"params", std::move(parameters)}}),
        false};
  }
  // The whole answer to a script.
  json::Value run(json::Object parameters) {
    if (!parameters.contains("timeoutSeconds")) parameters["timeoutSeconds"] = 30;
    std::string answer = agent_.answer(line(std::move(parameters)));
    while (answer.empty()) {
      std::array<pollfd, 3> waiting{pollfd{agent_.script()->process(), POLLIN, 0},
                                    pollfd{agent_.script()->output(), POLLIN, 0},
                                    pollfd{agent_.script()->errors(), POLLIN, 0}};
      ::poll(waiting.data(), waiting.size(), static_cast<int>(agent_.script()->patience().count()));
      if (const auto ended = agent_.script_answer()) answer = *ended;
    }
    return json::parse(answer).value();
  }
  void configure(const std::string& text) { std::ofstream(configuration_) << text; }

  std::string configuration_ = "/tmp/bootseal-agent-" + std::to_string(::getpid()) + ".toml";
  Agent agent_{Settings{.configuration = configuration_}};
};

TEST_F(ScriptTest, SaysWhatItSaidAndHowItEnded) {
  const json::Value answer = run({{"script", "echo out; echo err >&2; exit 7"}});
  EXPECT_EQ(answer.at("id").to_number<std::int64_t>(), 5);
  EXPECT_EQ(answer.at_pointer("/result/exitCode").to_number<std::int64_t>(), 7);
  EXPECT_EQ(answer.at_pointer("/result/stdout").as_string(), "out\n");
  EXPECT_EQ(answer.at_pointer("/result/stderr").as_string(), "err\n");
}

TEST_F(ScriptTest, HasItsParametersByNameAndInTheirOrder) {
  const json::Value answer =
      run({{"script", "echo \"$1|$2|$colour\"; ps -o sid= -p $$ | tr -d ' ' | grep -qx $$ && echo session"},
           {"parameters", json::Array{json::Object{{"name", "colour"}, {"value", "blue; rm -rf /"}},
                                      json::Object{{"name", "size"}, {"value", "2"}}}}});
  EXPECT_EQ(answer.at_pointer("/result/stdout").as_string(), "blue; rm -rf /|2|blue; rm -rf /\nsession\n");
}

TEST_F(ScriptTest, KeepsTheEndOfItsOutput) {
  const json::Value answer =
      run({{"script", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"}});
  const std::string output(answer.at_pointer("/result/stdout").as_string());
  EXPECT_EQ(output.size(), kKeptOutput);
  EXPECT_TRUE(output.ends_with("line 2999\n"));
}

TEST_F(ScriptTest, IsKilledWithAllItsProcessesAtItsLimit) {
  const json::Value answer = run({{"script", "sleep 1000 & echo $!; sleep 1000"}, {"timeoutSeconds", 1}});
  EXPECT_EQ(answer.at_pointer("/error/code").as_string(), "Timeout");
  const std::string message(answer.at_pointer("/error/message").as_string());
  const pid_t background = std::stoi(message.substr(message.rfind(": ") + 2));
  // A signal takes a moment.
  if (const auto left = identify_process(background)) {
    EXPECT_TRUE(wait_for_end(*left, std::chrono::seconds(10)).value_or(false));
  }
}

TEST_F(ScriptTest, DoesNotWaitForWhatItLeftInTheBackground) {
  const json::Value answer = run({{"script", "sleep 30 & echo done"}});
  EXPECT_EQ(answer.at_pointer("/result/stdout").as_string(), "done\n");
}

TEST_F(ScriptTest, RunsOneAtATimeAndOtherQuestionsAreAnsweredMeanwhile) {
  EXPECT_EQ(agent_.answer(line({{"script", "sleep 1000"}, {"timeoutSeconds", 1000}})), "");
  EXPECT_THAT(agent_.answer(line({{"script", "true"}, {"timeoutSeconds", 1}})), HasSubstr("Conflict"));
  EXPECT_THAT(agent_.answer({R"({"id":0,"method":"hello"})", false}), HasSubstr("kernelRelease"));
}

TEST_F(ScriptTest, IsRefusedWhereTheGuestForbidsIt) {
  for (const char* text :
       {"run_command = false\n", "# none\nrun_command=false # never", "run_command = \"yes\""}) {
    configure(text);
    EXPECT_EQ(run({{"script", "true"}}).at_pointer("/error/code").as_string(), "PermissionDenied") << text;
  }
  configure("other = 1\nrun_command = true # all\n");
  EXPECT_EQ(run({{"script", "true"}}).at_pointer("/result/exitCode").to_number<std::int64_t>(), 0);
}

TEST_F(ScriptTest, AShellThatIsNotThereIsTold) {
  const json::Value answer = run({{"script", "true"}, {"shell", "/no/such/shell"}});
  EXPECT_EQ(answer.at_pointer("/result/exitCode").to_number<std::int64_t>(), 127);
  EXPECT_THAT(std::string(answer.at_pointer("/result/stderr").as_string()), HasSubstr("shell"));
}

class AgentTest : public ::testing::Test {
 protected:
  AgentTest() {
    std::string pattern = ::testing::TempDir() + "agent-XXXXXX";
    BOOTSEAL_CHECK(mkdtemp(pattern.data()) != nullptr);
    folder_ = pattern;
  }
  ~AgentTest() override { std::filesystem::remove_all(folder_); }

  // A TPM as guestd makes one, on folder_/tpm, and an event log.
  void provide_tpm(std::function<void(tpm::Client&)> before_quote = {}) {
    tpm_ = SoftwareTpm::manufacture();
    tpm::Client client(*tpm_);
    BOOTSEAL_CHECK(client.startup().has_value());
    const auto ak = client.create_primary(tpm::kEndorsement, tpm::ak_template_rsa2048());
    BOOTSEAL_CHECK(ak && client.evict_control(tpm::kOwner, ak->handle, tpm::kAttestationKey) &&
                   client.flush_context(ak->handle));
    public_area_ = ak->public_area;
    Bytes padded = certificate_;
    padded.resize(900, std::byte{0xFF});
    BOOTSEAL_CHECK(client.nv_define(tpm::kOwner, tpm::kNvAttestationKeyCertificate,
                                    tpm::kNvOwnerWrite | tpm::kNvAuthRead | tpm::kNvNoDa, 900) &&
                   client.nv_write(tpm::kOwner, tpm::kNvAttestationKeyCertificate, padded));
    server_.emplace(*tpm_, folder_ / "tpm", std::move(before_quote));
    BOOTSEAL_CHECK(replace_file(folder_ / "log", as_bytes("the event log")).has_value());
  }

  [[nodiscard]] Agent agent() const {
    return Agent({.tpm = folder_ / "tpm", .event_log = folder_ / "log", .version = "1.2.3"});
  }
  [[nodiscard]] json::Object ask(std::string line) const {
    const auto answer = json::parse(agent().answer({.text = std::move(line), .too_long = false}));
    BOOTSEAL_CHECK(answer && answer->is_object());
    return answer->as_object();
  }
  static std::string error_code(const json::Object& answer) {
    return std::string(answer.at("error").at("code").as_string());
  }
  static std::string attest_request(ByteSpan nonce, const std::string& pcrs = "[0,7,8]") {
    return R"({"id":7,"method":"attest","params":{"nonce":")" + to_base64(nonce) + R"(","pcrs":)" + pcrs +
           R"(,"bank":"sha256"}})";
  }
  static Bytes bytes_of(const json::Value& value) { return *from_base64(value.as_string()); }

  std::filesystem::path folder_;
  std::unique_ptr<SoftwareTpm> tpm_;
  Bytes public_area_;
  Bytes certificate_ = *from_hex(
      "3082000830060201"
      "01020102");
  Bytes nonce_ = Bytes(32, std::byte{0x5A});
  std::optional<tpm::testing::TpmServer> server_;
};

TEST_F(AgentTest, GivesEvidenceThatVerifies) {
  provide_tpm();
  const json::Object answer = ask(attest_request(nonce_));
  EXPECT_EQ(answer.at("id").to_number<std::int64_t>(), 7);
  ASSERT_TRUE(answer.contains("result")) << json::serialize(answer);
  const json::Object& evidence = answer.at("result").as_object();
  const auto area = tpm::parse_public(public_area_);
  const auto quote = tpm::verify_quote(bytes_of(evidence.at("quote")), bytes_of(evidence.at("signature")),
                                       *tpm::key_of(*area), nonce_, {tpm::Algorithm::sha256, 0x181});
  ASSERT_TRUE(quote) << quote.error().message;
  EXPECT_EQ(evidence.at("pcrs").at("bank").as_string(), "sha256");
  std::vector<tpm::PcrValue> values;
  for (const auto& [index, value] : evidence.at("pcrs").at("values").as_object()) {
    values.push_back({static_cast<unsigned>(std::stoul(std::string(index))), *from_hex(value.as_string())});
  }
  EXPECT_TRUE(tpm::check_pcr_values(*quote, values));
  EXPECT_EQ(bytes_of(evidence.at("akCertificate")), certificate_);
  EXPECT_EQ(as_text(bytes_of(evidence.at("eventLog"))), "the event log");
  EXPECT_EQ(evidence.at("agentVersion").as_string(), "1.2.3");
  EXPECT_FALSE(evidence.at("kernelRelease").as_string().empty());
  EXPECT_FALSE(evidence.at("osName").as_string().empty());
  EXPECT_EQ(evidence.at("bootId").as_string().size(), 36U);
}

TEST_F(AgentTest, QuotesAgainWhenPcrsChangeMeanwhile) {
  int quotes = 0;
  provide_tpm([&](tpm::Client& client) {
    if (++quotes <= 2) BOOTSEAL_CHECK(client.pcr_extend(8, tpm::Algorithm::sha256, Bytes(32)).has_value());
  });
  const json::Object answer = ask(attest_request(nonce_));
  ASSERT_TRUE(answer.contains("result")) << json::serialize(answer);
  EXPECT_EQ(quotes, 3);
  const auto quote = tpm::parse_quote(bytes_of(answer.at("result").at("quote")));
  std::vector<tpm::PcrValue> values;
  for (const auto& [index, value] : answer.at("result").at("pcrs").at("values").as_object()) {
    values.push_back({static_cast<unsigned>(std::stoul(std::string(index))), *from_hex(value.as_string())});
  }
  EXPECT_TRUE(tpm::check_pcr_values(*quote, values));
}

TEST_F(AgentTest, GivesUpWhenPcrsNeverComeToRest) {
  provide_tpm([](tpm::Client& client) {
    BOOTSEAL_CHECK(client.pcr_extend(8, tpm::Algorithm::sha256, Bytes(32)).has_value());
  });
  EXPECT_EQ(error_code(ask(attest_request(nonce_))), "Unavailable");
}

TEST_F(AgentTest, NamesWhatIsMissing) {
  EXPECT_EQ(error_code(ask(attest_request(nonce_))), "NotFound");  // no TPM
  provide_tpm();
  std::filesystem::remove(folder_ / "log");
  const json::Object no_log = ask(attest_request(nonce_));
  EXPECT_EQ(error_code(no_log), "NotFound");
  EXPECT_THAT(std::string(no_log.at("error").at("message").as_string()), HasSubstr("event log"));
  tpm::Client client(*tpm_);
  server_.reset();
  ASSERT_TRUE(client.evict_control(tpm::kOwner, tpm::kAttestationKey, tpm::kAttestationKey));
  server_.emplace(*tpm_, folder_ / "tpm");
  EXPECT_THAT(std::string(ask(attest_request(nonce_)).at("error").at("message").as_string()),
              HasSubstr("TPM2_Quote"));
}

TEST_F(AgentTest, RefusesBadRequestsAndKeepsTheirId) {
  const auto attest = [](const std::string& nonce, const std::string& pcrs, const std::string& bank) {
    return R"({"id":5,"method":"attest","params":{"nonce":")" + nonce + R"(","pcrs":)" + pcrs +
           R"(,"bank":")" + bank + R"("}})";
  };
  const std::string nonce = to_base64(Bytes(16));
  for (const auto& [request, code] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"({"id":5,"method":"reboot"})", "Unsupported"},
           {R"({"id":5})", "InvalidArgument"},
           {R"({"id":5,"method":"attest"})", "InvalidArgument"},
           {attest("AAAA", "[1]", "sha256"), "InvalidArgument"},
           {attest(nonce, "[24]", "sha256"), "InvalidArgument"},
           {attest(nonce, "[-1]", "sha256"), "InvalidArgument"},
           {attest(nonce, R"(["1"])", "sha256"), "InvalidArgument"},
           {attest(nonce, "[]", "sha256"), "InvalidArgument"},
           {attest(nonce, "[1]", "md5"), "InvalidArgument"},
       }) {
    const json::Object answer = ask(request);
    EXPECT_EQ(error_code(answer), code) << request;
    EXPECT_EQ(answer.at("id").to_number<std::int64_t>(), 5) << request;
  }
  for (const char* request : {"", "{", "[]", "\xff", R"({"id":-1,"method":"hello"})"}) {
    const json::Object answer = ask(request);
    EXPECT_EQ(error_code(answer), "InvalidArgument") << request;
    EXPECT_TRUE(answer.at("id").is_null()) << request;
  }
  EXPECT_THAT(agent().answer({.text = {}, .too_long = true}), HasSubstr("Exhausted"));
}

TEST_F(AgentTest, SaysHelloWhenAsked) {
  const json::Object hello = ask(R"({"id":0,"method":"hello"})");
  EXPECT_EQ(hello.at("event").as_string(), "hello");
  EXPECT_EQ(hello.at("agentVersion").as_string(), "1.2.3");
}

TEST_F(AgentTest, FindsThePortByItsName) {
  for (const auto& [device, name] : std::initializer_list<std::pair<const char*, const char*>>{
           {"vport0p1", "org.qemu.guest_agent.0\n"}, {"vport2p3", "org.bootseal.agent.0\n"}}) {
    std::filesystem::create_directories(folder_ / device);
    ASSERT_TRUE(replace_file(folder_ / device / "name", as_bytes(name)));
  }
  std::filesystem::create_directories(folder_ / "vport3p1");  // a port without a name
  EXPECT_EQ(find_port(folder_, kPortName), "/dev/vport2p3");
  EXPECT_EQ(find_port(folder_, "org.bootseal.agent"), std::nullopt);
  EXPECT_EQ(find_port(folder_ / "absent", kPortName), std::nullopt);
}

}  // namespace
}  // namespace bootseal::agent

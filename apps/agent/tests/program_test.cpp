// The static program as it runs in a guest, with a socket in the port's place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include "agent.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/json/json.h"
#include "tpm_server.h"

namespace bootseal::agent {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kLimit = 30s;

// The host's end of the port.
class Host {
 public:
  explicit Host(const std::filesystem::path& path) : listener_(*listen_unix(path)) {}
  void accept_agent() {
    const auto ready = wait_readable(listener_.get(), kLimit);
    BOOTSEAL_CHECK(ready && *ready);
    connection_ = UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    received_.clear();
  }
  void send(const std::string& text) {
    BOOTSEAL_CHECK(write_all(connection_.get(), as_bytes(text)).has_value());
  }
  void hang_up() { connection_.reset(); }
  json::Object receive() {
    while (received_.find('\n') == std::string::npos) {
      const auto ready = wait_readable(connection_.get(), kLimit);
      BOOTSEAL_CHECK(ready && *ready);
      char piece[4096];
      const ssize_t count = read(connection_.get(), piece, sizeof piece);
      BOOTSEAL_CHECK(count > 0);
      received_.append(piece, static_cast<std::size_t>(count));
    }
    const std::size_t end = received_.find('\n');
    const auto line = json::parse(received_.substr(0, end));
    received_.erase(0, end + 1);
    BOOTSEAL_CHECK(line.has_value());
    return line->as_object();
  }

 private:
  UniqueFd listener_;
  UniqueFd connection_;
  std::string received_;
};

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() {
    std::string pattern = ::testing::TempDir() + "agent-XXXXXX";
    BOOTSEAL_CHECK(mkdtemp(pattern.data()) != nullptr);
    folder_ = pattern;
  }
  ~ProgramTest() override { std::filesystem::remove_all(folder_); }
  [[nodiscard]] std::vector<std::string> arguments() const {
    return {BOOTSEAL_AGENT_PROGRAM, "--port",      folder_ / "port", "--tpm",
            folder_ / "tpm",        "--event-log", folder_ / "log"};
  }
  std::filesystem::path folder_;
};

TEST_F(ProgramTest, TellsItsVersionAndItsUse) {
  EXPECT_EQ(*run_checked({.arguments = {BOOTSEAL_AGENT_PROGRAM, "--version"}}),
            "bootseal-agent " BOOTSEAL_VERSION "\n");
  EXPECT_THAT(*run_checked({.arguments = {BOOTSEAL_AGENT_PROGRAM, "--help"}}),
              ::testing::HasSubstr("--event-log"));
  EXPECT_EQ(run_command({.arguments = {BOOTSEAL_AGENT_PROGRAM, "--bogus"}})->exit_code, 2);
  EXPECT_EQ(run_command({.arguments = {BOOTSEAL_AGENT_PROGRAM, "--port"}})->exit_code, 2);
  const auto no_port = run_command({.arguments = arguments()});
  EXPECT_EQ(no_port->exit_code, error_info(ErrorCode::not_found).exit_code);
  EXPECT_THAT(no_port->standard_error, ::testing::HasSubstr("port"));
}

TEST_F(ProgramTest, ServesOneHostAfterTheOther) {
  const auto tpm = tpm::testing::SoftwareTpm::manufacture();
  tpm::Client client(*tpm);
  ASSERT_TRUE(client.startup());
  const auto ak = client.create_primary(tpm::kEndorsement, tpm::ak_template_ecc_p256());
  ASSERT_TRUE(ak && client.evict_control(tpm::kOwner, ak->handle, tpm::kAttestationKey));
  ASSERT_TRUE(client.nv_define(tpm::kOwner, tpm::kNvAttestationKeyCertificate,
                               tpm::kNvOwnerWrite | tpm::kNvOwnerRead, 8));
  ASSERT_TRUE(client.nv_write(tpm::kOwner, tpm::kNvAttestationKeyCertificate, Bytes(8, std::byte{1})));
  const tpm::testing::TpmServer server(*tpm, folder_ / "tpm");
  // As large as real logs get, so that an answer does not fit the socket's buffer.
  ASSERT_TRUE(replace_file(folder_ / "log", Bytes(600000, std::byte{'e'})));
  Host host(folder_ / "port");
  const auto process = spawn({.arguments = arguments()});
  ASSERT_TRUE(process) << process.error().message;

  for (int round = 0; round < 2; ++round) {
    host.accept_agent();
    const json::Object hello = host.receive();
    EXPECT_EQ(hello.at("event").as_string(), "hello");
    EXPECT_EQ(hello.at("agentVersion").as_string(), BOOTSEAL_VERSION);
    host.send(std::string(kMaximumRequest + 1, 'x'));
    host.send(
        "\n"
        R"({"id":1,"method":"att)");
    EXPECT_EQ(host.receive().at("error").at("code").as_string(), "Exhausted");
    host.send(
        R"(est","params":{"nonce":"AAAAAAAAAAAAAAAAAAAAAA==","pcrs":[0,1,2,3,4,5,6,7],"bank":"sha256"}})"
        "\n"
        R"({"id":2,"method":"nothing"})"
        "\n");
    const json::Object evidence = host.receive();
    ASSERT_TRUE(evidence.contains("result")) << json::serialize(evidence);
    EXPECT_EQ(evidence.at("result").at("eventLog").as_string().size(), 800000U);
    EXPECT_EQ(evidence.at("result").at("pcrs").at("values").as_object().size(), 8U);
    EXPECT_EQ(host.receive().at("id").as_int64(), 2);
    host.hang_up();
  }
  ASSERT_TRUE(signal_process(*process, SIGTERM));
  EXPECT_TRUE(*wait_for_end(*process, kLimit));
}

}  // namespace
}  // namespace bootseal::agent

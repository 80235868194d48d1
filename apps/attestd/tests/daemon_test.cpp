// The program itself: waits for the vault's certificate, serves, stops.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "../../../lib/attest/tests/test_tpm.h"
#include "bootseal/base/fds.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/net/client.h"
#include "bootseal/net/server.h"

namespace bootseal {
namespace {

using attest::testing::Site;
using testing::HasSubstr;
using namespace std::chrono_literals;

class AttestDaemon : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/bootseal-attestd-XXXXXX";
    folder_ = ::mkdtemp(name);
    ASSERT_EQ(::chmod(folder_.c_str(), 0711), 0);
    const UniqueFd log = *open_file(folder_ / "log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    Command command;
    command.arguments = {BOOTSEAL_ATTESTD};
    command.environment = {{"BOOTSEAL_HOME", folder_.string()}, {"BOOTSEAL_RUN", (folder_ / "run").string()}};
    // Only a sanitizer build reads it: its leak check wants to trace the daemon, which forbids that.
    command.environment->emplace("ASAN_OPTIONS", "detect_leaks=0");
    command.fds = {{2, log.get()}};
    const Result<ProcessIdentity> started = spawn(command);
    ASSERT_TRUE(started) << started.error().describe();
    process_ = *started;
  }
  void TearDown() override {
    if (process_) static_cast<void>(signal_process(*process_, SIGKILL));
    if (process_) static_cast<void>(wait_for_end(*process_, 10s));
    std::filesystem::remove_all(folder_);
  }
  std::string log() { return std::string(as_text(*read_file(folder_ / "log", 1 << 20))); }
  void wait_for_log(std::string_view text) {
    while (is_running(*process_) && log().find(text) == std::string::npos) ::sched_yield();
    EXPECT_THAT(log(), HasSubstr(std::string(text)));
  }
  int end() {
    int status = 0;
    EXPECT_EQ(::waitpid(process_->pid, &status, 0), process_->pid);
    process_.reset();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::filesystem::path folder_;
  std::optional<ProcessIdentity> process_;
};

TEST_F(AttestDaemon, WaitsForTheVaultAndServesUntilItIsStopped) {
  wait_for_log("attest.waiting_for_vault");
  const Site site{};
  net::Router router;
  router.on("GET", "/v1/ca", [&](const net::Request&) {
    return net::Response::json(200, {{"certificatePem", site.certificate.pem()}});
  });
  net::ServerOptions options;
  options.unix_listener = *listen_unix(folder_ / "run" / "vaultd.sock", 0666);
  const auto vault = *net::Server::start(std::move(options), std::move(router));
  wait_for_log("attest.serving");

  net::ClientOptions client_options;
  client_options.unix_socket = folder_ / "run" / "attestd.sock";
  client_options.base_url = "http://attestd";
  const auto client = *net::Client::create(client_options);
  const Result<json::Value> challenge =
      client->call_json("POST", "/v1/vms/" + VmId::random().to_string() + "/challenges");
  ASSERT_TRUE(challenge) << challenge.error().describe();
  EXPECT_EQ(from_base64(challenge->at("nonce").as_string())->size(), attest::kNonceSize);
  EXPECT_EQ(client->call_json("GET", "/v1/vms/" + VmId::random().to_string() + "/verdict").error().code,
            ErrorCode::not_found);
  ASSERT_TRUE(signal_process(*process_, SIGTERM));
  EXPECT_EQ(end(), 0) << log();
}

TEST_F(AttestDaemon, StopsWhileItWaits) {
  wait_for_log("attest.waiting_for_vault");
  ASSERT_TRUE(signal_process(*process_, SIGTERM));
  EXPECT_EQ(end(), 0) << log();
}

}  // namespace
}  // namespace bootseal

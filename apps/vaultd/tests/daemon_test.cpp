// The program itself: passphrase by descriptor, socket, sandbox, stop.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "bootseal/base/fds.h"
#include "bootseal/base/ids.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/log/audit.h"
#include "bootseal/net/client.h"

namespace bootseal {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

class VaultDaemon : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/bootseal-vaultd-XXXXXX";
    folder_ = ::mkdtemp(name);
    ASSERT_EQ(::chmod(folder_.c_str(), 0711), 0);
  }
  void TearDown() override {
    if (process_) static_cast<void>(signal_process(*process_, SIGKILL));
    if (process_) static_cast<void>(wait_for_end(*process_, 10s));
    std::filesystem::remove_all(folder_);
  }

  // Starts the daemon; its standard error goes to a file.
  void start(std::string_view passphrase, const std::vector<std::string>& more = {}) {
    const Pipe pipe = *make_pipe();
    ASSERT_TRUE(write_all(pipe.write_end.get(), as_bytes(passphrase)));
    const UniqueFd log = *open_file(folder_ / "log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    Command command;
    command.arguments = {BOOTSEAL_VAULTD, "--passphrase-fd", "7"};
    command.arguments.insert(command.arguments.end(), more.begin(), more.end());
    command.environment = {{"BOOTSEAL_HOME", folder_.string()}, {"BOOTSEAL_RUN", (folder_ / "run").string()}};
    // Only a sanitizer build reads it: its leak check wants to trace the daemon, which forbids that.
    command.environment->emplace("ASAN_OPTIONS", "detect_leaks=0");
    command.fds = {{2, log.get()}, {7, pipe.read_end.get()}};
    Result<ProcessIdentity> started = spawn(command);
    ASSERT_TRUE(started) << started.error().describe();
    process_ = *started;
  }
  int end() {
    int status = 0;
    EXPECT_EQ(::waitpid(process_->pid, &status, 0), process_->pid);
    process_.reset();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string log() { return std::string(as_text(*read_file(folder_ / "log", 1 << 20))); }
  // Asks again until the daemon answers or has ended.
  Result<json::Value> call(std::string method, std::string target, const json::Value& body = nullptr) {
    net::ClientOptions options;
    options.unix_socket = folder_ / "run" / "vaultd.sock";
    options.base_url = "http://vaultd";
    const auto client = *net::Client::create(options);
    while (true) {
      Result<json::Value> answer = client->call_json(method, target, body);
      if (answer || answer.error().code != ErrorCode::unavailable || !is_running(*process_)) return answer;
    }
  }

  std::filesystem::path folder_;
  std::optional<ProcessIdentity> process_;
};

TEST_F(VaultDaemon, ServesStopsAndServesTheSameAgain) {
  start("a passphrase of the site\n");
  const std::string vm = VmId::random().to_string();
  const json::Value claim = {{"hostId", "rack-1"}, {"epoch", 1}};
  const Result<json::Value> ca = call("GET", "/v1/ca");
  ASSERT_TRUE(ca) << ca.error().describe() << log();
  ASSERT_TRUE(call("PUT", "/v1/placements/" + vm, claim));
  ASSERT_TRUE(call("POST", "/v1/keys/" + vm, claim));
  const json::Value key = *call("POST", "/v1/keys/" + vm + "/release", claim);
  ASSERT_TRUE(signal_process(*process_, SIGTERM));
  EXPECT_EQ(end(), 0) << log();
  EXPECT_THAT(log(), HasSubstr("vault.stopping"));
  EXPECT_EQ(log().find(std::string(key.at("key").as_string())), std::string::npos);

  start("a passphrase of the site");  // the new line at the end does not count
  EXPECT_EQ(*call("GET", "/v1/ca"), *ca);
  EXPECT_EQ(*call("POST", "/v1/keys/" + vm + "/release", claim), key);
  ASSERT_TRUE(signal_process(*process_, SIGKILL));
  EXPECT_EQ(end(), 128 + SIGKILL);
  EXPECT_TRUE(log::AuditChain::verify(folder_ / "vaultd" / "audit.jsonl",
                                      [](ByteSpan bytes) { return crypto::sha256(bytes).to_hex(); }));

  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "vaultd").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
  if (::geteuid() == 0) {
    EXPECT_NE(status.st_uid, 0U) << "the daemon gives root up";
  }
}

TEST_F(VaultDaemon, AuditChainThatWasCutIsRefusedUntilSomebodyDecides) {
  start("a passphrase of the site");
  for (const char* epoch : {"1", "2"}) {
    const std::string vm = VmId::random().to_string();
    ASSERT_TRUE(call("PUT", "/v1/placements/" + vm, {{"hostId", "rack-1"}, {"epoch", std::stoi(epoch)}}));
  }
  ASSERT_TRUE(signal_process(*process_, SIGTERM));
  ASSERT_EQ(end(), 0);
  const std::filesystem::path chain = folder_ / "vaultd" / "audit.jsonl";
  const std::string text(as_text(*read_file(chain, 1 << 20)));
  std::filesystem::resize_file(chain, text.rfind('\n', text.size() - 2) + 1);

  start("a passphrase of the site");
  EXPECT_EQ(end(), error_info(ErrorCode::corrupt).exit_code);
  EXPECT_THAT(log(), HasSubstr("the chain was cut off after 2 of 3 entries"));
  EXPECT_THAT(log(), HasSubstr("back from a backup"));

  start("a passphrase of the site", {"--begin-new-audit-chain"});
  ASSERT_TRUE(call("GET", "/v1/ca")) << log();
  ASSERT_TRUE(signal_process(*process_, SIGTERM));
  ASSERT_EQ(end(), 0);
  start("a passphrase of the site");
  EXPECT_TRUE(call("GET", "/v1/ca")) << log();
}

TEST_F(VaultDaemon, WrongOrShortPassphraseEndsItWithItsReason) {
  start("a passphrase of the site");
  ASSERT_TRUE(call("GET", "/v1/ca"));
  ASSERT_TRUE(signal_process(*process_, SIGTERM));
  ASSERT_EQ(end(), 0);
  start("another passphrase of it");
  EXPECT_EQ(end(), error_info(ErrorCode::permission_denied).exit_code);
  EXPECT_THAT(log(), HasSubstr("the passphrase does not open the master key"));
  start("short");
  EXPECT_EQ(end(), error_info(ErrorCode::invalid_argument).exit_code);
}

}  // namespace
}  // namespace bootseal

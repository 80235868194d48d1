#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/inotify.h>

#include <array>
#include <csignal>
#include <fstream>
#include <functional>

#include "bootseal/net/client.h"
#include "daemons.h"

namespace bootseal::app {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::chrono::seconds kPatience{30};

class SupervisorTest : public ::testing::Test {
 protected:
  SupervisorTest() {
    std::string text = "/tmp/bs-up-XXXXXX";
    EXPECT_NE(::mkdtemp(text.data()), nullptr);
    paths_.home = text;
    paths_.run = paths_.home / "run";
    paths_.programs = paths_.home / "bin";
    for (const auto& folder : {paths_.run, paths_.programs, paths_.home / "log"})
      std::filesystem::create_directories(folder);
    for (const std::string_view name : kDaemons)
      std::filesystem::create_symlink(BOOTSEAL_FAKE_DAEMON,
                                      paths_.programs / ("bootseal-" + std::string(name)));
    std::ofstream(paths_.home / "passphrase") << "a passphrase of the vault\n";
  }

  ~SupervisorTest() override {
    end(SIGTERM);
    for (const std::string_view name : kDaemons) {
      if (const auto left = running_process(paths_, name)) {
        EXPECT_TRUE(end_process(*left, kPatience));
      }
    }
    std::error_code ignored;
    std::filesystem::remove_all(paths_.home, ignored);
  }

  // Starts a supervisor; what it printed until it was ready or ended.
  std::string start() {
    Command command;
    command.arguments = {BOOTSEAL_SUPERVISOR_CHILD};
    command.environment = std::map<std::string, std::string>{
        {"BOOTSEAL_HOME", paths_.home}, {"BOOTSEAL_RUN", paths_.run}, {"BOOTSEAL_BIN", paths_.programs}};
    Pipe pipe = make_pipe().value();
    const UniqueFd null = open_file("/dev/null", O_WRONLY).value();
    command.fds = {{1, pipe.write_end.get()}, {2, null.get()}};
    supervisor_ = spawn(command).value();
    pipe.write_end.reset();
    std::string output;
    std::array<char, 512> buffer{};
    while (output.find("ready\n") == std::string::npos) {
      const ssize_t got = ::read(pipe.read_end.get(), buffer.data(), buffer.size());
      if (got <= 0) break;
      output.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return output;
  }

  void end(int signal_number) {
    if (!supervisor_) return;
    EXPECT_TRUE(signal_process(*supervisor_, signal_number));
    EXPECT_TRUE(wait_for_end(*supervisor_, kPatience).value());
    supervisor_.reset();
  }

  // The pid that answers on a daemon's socket; 0 = nobody.
  std::int64_t pid_of(std::string_view name) {
    const json::Value answer = ask(name);
    return answer.is_object() ? answer.at("pid").to_number<std::int64_t>() : 0;
  }

  json::Value ask(std::string_view name) {
    net::ClientOptions options;
    options.unix_socket = paths_.socket_of(name);
    options.base_url = "http://daemon";
    const auto client = net::Client::create(std::move(options)).value();
    return client->call_json("GET", "/").value_or(json::Value());
  }

  // Looks again whenever a file of the run folder comes or goes: a daemon that answers, a new pid file.
  bool until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    const UniqueFd watch(::inotify_init1(IN_CLOEXEC));
    EXPECT_GE(::inotify_add_watch(watch.get(), paths_.run.c_str(), IN_CREATE | IN_MOVED_TO | IN_DELETE), 0);
    while (!condition()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0 || !wait_readable(watch.get(), left).value_or(false)) return false;
      std::array<char, 4096> events{};
      if (::read(watch.get(), events.data(), events.size()) <= 0) return false;
    }
    return true;
  }

  Paths paths_;
  std::optional<ProcessIdentity> supervisor_;
};

TEST_F(SupervisorTest, StartsAllInOrderAndEachAnswersWhenItIsReady) {
  EXPECT_EQ(start(),
            "starting bootseal-vaultd\nstarting bootseal-attestd\nstarting bootseal-hostd\nstarting "
            "bootseal-controld\nready\n");
  for (const std::string_view name : kDaemons) {
    EXPECT_NE(pid_of(name), 0) << name;
    EXPECT_EQ(running_process(paths_, name).value().pid, pid_of(name));
  }
}

TEST_F(SupervisorTest, OnlyTheVaultGetsThePassphrase) {
  start();
  for (const std::string_view name : kDaemons)
    EXPECT_EQ(ask(name).at("passphraseFd").get_bool(), name == "vaultd") << name;
}

TEST_F(SupervisorTest, ADaemonThatIsKilledIsStartedAgainAndTheOthersStay) {
  start();
  const std::int64_t vaultd = pid_of("vaultd");
  for (int round = 0; round < 3; ++round) {
    const std::int64_t before = pid_of("hostd");
    ASSERT_TRUE(signal_process(running_process(paths_, "hostd").value(), SIGKILL));
    EXPECT_TRUE(until([&] {
      const std::int64_t now = pid_of("hostd");
      const auto named = running_process(paths_, "hostd");
      return now != 0 && now != before && named && named->pid == now;
    }));
  }
  EXPECT_EQ(pid_of("vaultd"), vaultd);
}

TEST_F(SupervisorTest, EndsAllOnRequestAndLeavesNothing) {
  start();
  end(SIGTERM);
  for (const std::string_view name : kDaemons) {
    EXPECT_FALSE(running_process(paths_, name)) << name;
    EXPECT_FALSE(std::filesystem::exists(pid_file(paths_, name)));
    EXPECT_FALSE(std::filesystem::exists(paths_.socket_of(name)));
    EXPECT_THAT(end_of_log(paths_, name), HasSubstr("ended on request"));
  }
}

TEST_F(SupervisorTest, TakesOverFromASupervisorThatWasKilled) {
  start();
  const std::int64_t orphan = pid_of("attestd");
  end(SIGKILL);
  EXPECT_EQ(pid_of("attestd"), orphan);
  const std::string output = start();
  EXPECT_THAT(output, HasSubstr("ending the bootseal-attestd that an earlier supervisor left"));
  EXPECT_THAT(output, HasSubstr("ready"));
  EXPECT_NE(pid_of("attestd"), orphan);
}

TEST_F(SupervisorTest, ADaemonWhosePidFileIsLostIsFoundByItsSocket) {
  start();
  const std::int64_t orphan = pid_of("hostd");
  end(SIGKILL);
  std::filesystem::remove(pid_file(paths_, "hostd"));
  ASSERT_TRUE(running_process(paths_, "hostd"));
  EXPECT_EQ(running_process(paths_, "hostd")->pid, orphan);
  EXPECT_THAT(start(), HasSubstr("ending the bootseal-hostd that an earlier supervisor left"));
}

// Until the supervisor has ended, so that all it started has ended too.
TEST_F(SupervisorTest, ADaemonThatDoesNotStartEndsTheStartWithItsOwnWords) {
  std::ofstream(paths_.run / "hostd.broken").close();
  const std::string output = start();
  EXPECT_THAT(output, HasSubstr("error: bootseal-hostd ended before it answered"));
  EXPECT_THAT(output, HasSubstr("told to be broken"));
  EXPECT_FALSE(running_process(paths_, "vaultd"));
  EXPECT_FALSE(running_process(paths_, "attestd"));
}

TEST_F(SupervisorTest, TheErrorOfADaemonIsSaidInOneSentenceAndOldOnesAreNot) {
  std::ofstream(paths_.run / "controld.broken") << "an old trouble";
  EXPECT_THAT(start(), HasSubstr("error: bootseal-controld cannot start: an old trouble\n"));
  end(SIGTERM);
  std::ofstream(paths_.run / "controld.broken") << "port 1 is in use";
  const std::string output = start();
  EXPECT_THAT(output, ::testing::EndsWith("\nerror: bootseal-controld cannot start: port 1 is in use\n"));
  EXPECT_THAT(output, Not(HasSubstr("old trouble")));
  EXPECT_THAT(output, Not(HasSubstr("{\"")));
}

TEST_F(SupervisorTest, APidFileOfAnotherProcessIsNotTakenForTheDaemon) {
  ProcessIdentity self = identify_process(::getpid()).value();
  ASSERT_TRUE(write_pid_file(paths_, "vaultd", self));
  EXPECT_TRUE(running_process(paths_, "vaultd"));
  ++self.start_time_ticks;  // the pid was reused
  ASSERT_TRUE(write_pid_file(paths_, "vaultd", self));
  EXPECT_FALSE(running_process(paths_, "vaultd"));
  std::ofstream(pid_file(paths_, "vaultd")) << "nonsense";
  EXPECT_FALSE(running_process(paths_, "vaultd"));
}

}  // namespace
}  // namespace bootseal::app

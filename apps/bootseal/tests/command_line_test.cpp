// The program as people run it, without a site.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdlib>

#include "bootseal/base/fds.h"
#include "bootseal/base/subprocess.h"

namespace bootseal::app {
namespace {

using ::testing::HasSubstr;

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    std::string text = "/tmp/bs-cmd-XXXXXX";
    EXPECT_NE(::mkdtemp(text.data()), nullptr);
    home_ = text;
  }
  ~CommandLineTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(home_, ignored);
  }

  CommandOutput run(std::vector<std::string> arguments) const {
    Command command;
    command.arguments = {BOOTSEAL_PROGRAM};
    command.arguments.insert(command.arguments.end(), arguments.begin(), arguments.end());
    command.environment =
        std::map<std::string, std::string>{{"BOOTSEAL_HOME", home_}, {"PATH", "/usr/bin:/bin"}};
    return run_command(command, {}, std::chrono::seconds(30)).value();
  }

  std::filesystem::path home_;
};

std::vector<std::vector<std::string>> all_commands() {
  std::vector<std::vector<std::string>> commands = {
      {"up"}, {"down"}, {"status"}, {"version"}, {"completion"}, {"image", "build"}, {"image", "list"}};
  for (const char* name : {"create", "list", "show", "start", "stop", "restart", "deallocate", "kill",
                           "delete", "attest", "reset-guest-state", "console", "log"}) {
    commands.push_back({"vm", name});
  }
  return commands;
}

TEST_F(CommandLineTest, EveryCommandHasHelpWithExamples) {
  for (std::vector<std::string> command : all_commands()) {
    std::string name = "bootseal";
    for (const std::string& part : command) name += " " + part;
    command.emplace_back("--help");
    const CommandOutput output = run(command);
    EXPECT_EQ(output.exit_code, 0) << name;
    EXPECT_THAT(output.standard_output, HasSubstr("Examples:\n")) << name;
    EXPECT_THAT(output.standard_output, HasSubstr("Usage: " + name)) << name;
  }
}

// docs/cli.md is what the program says. BOOTSEAL_UPDATE_GENERATED=1 writes it.
TEST_F(CommandLineTest, TheReferenceInTheTreeIsThisPrograms) {
  const std::filesystem::path path = std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "docs/cli.md";
  const std::string wanted = run({"help-markdown"}).standard_output;
  for (const std::vector<std::string>& command : all_commands()) {
    std::string heading = "\n## bootseal";
    for (const std::string& part : command) heading += " " + part;
    EXPECT_THAT(wanted, HasSubstr(heading + "\n"));
  }
  if (std::getenv("BOOTSEAL_UPDATE_GENERATED") != nullptr) {
    ASSERT_TRUE(replace_file(path, as_bytes(wanted), 0644));
  }
  const auto content = read_file(path, std::size_t{1} << 20);
  ASSERT_TRUE(content);
  EXPECT_TRUE(as_text(*content) == wanted)
      << "docs/cli.md is out of date; write it with BOOTSEAL_UPDATE_GENERATED=1 app_test";
}

TEST_F(CommandLineTest, WrongInputGetsOneErrorAndTheExitCodeOfItsKind) {
  const struct {
    std::vector<std::string> arguments;
    int exit_code;
    const char* says;
  } cases[] = {
      {{}, 2, "subcommand"},
      {{"dance"}, 2, "dance"},
      {{"vm", "create", "--image", "x"}, 2, "--name"},
      {{"vm", "create", "--name", "x", "--image", "a:b:c"}, 2, "'a:b:c' is no image"},
      {{"vm", "create", "--name", "x", "--image", "i", "--enable-vtpm", "maybe"}, 2, "--enable-vtpm"},
      {{"vm", "create", "--name", "x", "--image", "i", "--ssh-key-values", "ssh-ed25519 AAAA"},
       2,
       "--admin-username"},
      {{"vm", "create", "--name", "x", "--image", "i", "--tags", "=v"}, 2, "tag"},
      {{"vm", "show"}, 2, "name is missing"},
      {{"vm", "show", "a", "--name", "b"}, 2, "--name"},
      {{"vm", "list", "-o", "xml"}, 2, "xml"},
      {{"vm", "console", "a", "--timeout", "-1"}, 2, "--timeout"},
      {{"vm", "list"}, 3, "bootseal up"},
      {{"status"}, 3, "bootseal up"},
      {{"image", "build", "../x"}, 2, "not an image name"},
      {{"vm", "console", "a", "--timeout", "soon"}, 2, "--timeout"},
  };
  for (const auto& one : cases) {
    const CommandOutput output = run(one.arguments);
    const std::string shown = ::testing::PrintToString(one.arguments);
    EXPECT_EQ(output.exit_code, one.exit_code) << shown << output.standard_error;
    EXPECT_THAT(output.standard_error, ::testing::StartsWith("error: ")) << shown;
    EXPECT_EQ(output.standard_error.find("error:", 1), std::string::npos) << shown << output.standard_error;
    EXPECT_THAT(output.standard_error, HasSubstr(one.says)) << shown;
    EXPECT_EQ(output.standard_output, "") << shown;
  }
}

TEST_F(CommandLineTest, OutputThatCannotBeWrittenIsAnErrorAndNeverAnAbort) {
  for (const std::string arguments : {"version", "help-markdown", "vm --help", "completion bash", "down"}) {
    Command command;
    command.arguments = {"/bin/sh", "-c", std::string(BOOTSEAL_PROGRAM) + " " + arguments + " >/dev/full"};
    command.environment =
        std::map<std::string, std::string>{{"BOOTSEAL_HOME", home_}, {"PATH", "/usr/bin:/bin"}};
    const CommandOutput output = run_command(command, {}, std::chrono::seconds(30)).value();
    EXPECT_EQ(output.exit_code, error_info(ErrorCode::io_error).exit_code) << arguments;
    EXPECT_THAT(output.standard_error, ::testing::StartsWith("error: writing the output: ")) << arguments;
    EXPECT_EQ(output.standard_error.find('\n'), output.standard_error.size() - 1) << output.standard_error;
  }
}

TEST_F(CommandLineTest, DownWithoutASiteSaysSo) {
  const CommandOutput output = run({"down"});
  EXPECT_EQ(output.exit_code, 0);
  EXPECT_EQ(output.standard_output, "Bootseal is not running.\n");
}

TEST_F(CommandLineTest, UpNamesWhatTheMachineLacks) {
  Command command;
  command.arguments = {BOOTSEAL_PROGRAM, "up"};
  command.environment = std::map<std::string, std::string>{
      {"BOOTSEAL_HOME", home_}, {"BOOTSEAL_BIN", home_}, {"PATH", "/nowhere"}};
  const CommandOutput output = run_command(command, {}, std::chrono::seconds(30)).value();
  EXPECT_EQ(output.exit_code, 12);
  EXPECT_THAT(output.standard_error, HasSubstr("bootseal-vaultd is not there"));
  EXPECT_THAT(output.standard_error, HasSubstr("apt-get install qemu-system-x86"));
  EXPECT_TRUE(std::filesystem::is_empty(home_)) << "a refused start leaves nothing";
}

TEST_F(CommandLineTest, BashCompletesCommandsAndOptions) {
  const auto complete = [&](const std::string& words, int index) {
    Command command;
    command.arguments = {"/bin/bash", "-c",
                         "source <(" BOOTSEAL_PROGRAM " completion bash); COMP_WORDS=(" + words +
                             "); COMP_CWORD=" + std::to_string(index) +
                             "; _bootseal; echo \"${COMPREPLY[*]}\""};
    return run_checked(command, {}, std::chrono::seconds(30)).value();
  };
  EXPECT_EQ(complete("bootseal vm st", 2), "start stop\n");
  EXPECT_THAT(complete("bootseal ''", 1), HasSubstr("up down status image vm"));
  EXPECT_THAT(complete("bootseal vm create --enable-", 3), HasSubstr("--enable-secure-boot --enable-vtpm"));
}

}  // namespace
}  // namespace bootseal::app

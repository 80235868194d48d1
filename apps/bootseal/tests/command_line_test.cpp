// The program as people run it, without a site.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "bootseal/base/fds.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/cli/site_client.h"

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
  std::vector<std::vector<std::string>> commands = {{"up"},
                                                    {"down"},
                                                    {"status"},
                                                    {"version"},
                                                    {"completion"},
                                                    {"image", "build"},
                                                    {"image", "list"},
                                                    {"image", "show"},
                                                    {"image", "delete"}};
  for (const char* name : {"create", "list", "show", "start", "stop", "restart", "deallocate", "kill",
                           "delete", "attest", "reset-guest-state", "console", "log"}) {
    commands.push_back({"vm", name});
  }
  for (const char* name :
       {"create", "write", "dump", "dump-headers", "dump-file-table", "query-size", "query-encryption",
        "encrypt", "update-key", "move", "delete", "check", "repair"}) {
    commands.push_back({"vmgs", name});
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
      {{},
       2,
       "a command is missing; there are: up, down, status, image, vm, identity, cloud, vmgs, version, "
       "completion; for"},
      {{"image"},
       2,
       "a command is missing; there are: build, list, show, delete; for help run: bootseal image"},
      {{"dance"}, 2, "unknown command 'dance'; for help run: bootseal --help"},
      {{"help"}, 2, "unknown command 'help'"},
      {{"VM", "list"}, 2, "unknown command 'VM'; did you mean 'vm'? for help run: bootseal --help"},
      {{"vm", "shw", "web"},
       2,
       "unknown command 'shw'; did you mean 'show'? for help run: bootseal vm --help"},
      {{"image", "remove", "x"}, 2, "unknown command 'remove'; for help run: bootseal image --help"},
      {{"image", "delete", "x"}, 3, "there is no image 'x' here"},
      {{"image", "show", "x:1.0.0"}, 3, "there is no image 'x:1.0.0' here"},
      {{"vm", "create", "-n", "x", "--image", "i", "--location", "westeurope"},
       2,
       "there is no location 'westeurope': this site's is 'local'"},
      {{"vm", "create", "-n", "x", "--image", "i", "--security-type", "Standard", "--enable-secure-boot",
        "true"},
       2,
       "--enable-secure-boot is not possible with --security-type Standard"},
      {{"vm", "show", "web", "--outptu", "json"}, 2, "unknown option '--outptu'; did you mean '--output'?"},
      {{"vm", "show", "web", "x"}, 2, "unexpected argument 'x'"},
      {{"vm", "create", "--name", "we b!", "--image", "i"}, 2, "the name 'we b!' is invalid: "},
      {{"vm", "create", "--name", "w", "-g", "a/b", "--image", "i"},
       2,
       "the resource group 'a/b' is invalid: "},
      {{"vm", "show", "../x"}, 2, "the name '../x' is invalid: "},
      {{"vm", "list", "-g", "a/b"}, 2, "the resource group 'a/b' is invalid: "},
      {{"vm", "create", "--name", "x", "--image", "i", "--tags", "foo"}, 2, "the tag 'foo' has no '='"},
      {{"vm", "create", "--name", "x", "--image", "i", "--custom-data", "./gone"}, 3, "./gone: no such file"},
      {{"vm", "create", "--name", "x", "--image", "i", "--custom-data", "@gone"}, 3, "gone: no such file"},
      {{"vm", "create", "--name", "x", "--image", "i", "--custom-data", "/"}, 2, "a folder"},
      {{"vm", "create", "--name", "x", "--image", "i", "--admin-username", "u", "--ssh-key-values", "/gone"},
       3,
       "/gone: no such file; give a file that is there, or the public key itself"},
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
      {{"vm", "console", "a", "--timeout", "soon"}, 2, "wanted a number of seconds"},
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

TEST_F(CommandLineTest, AnImageThatCannotBeBuiltIsRefusedBeforeAnyStep) {
  ASSERT_TRUE(std::filesystem::create_directories(home_ / "images/debian-12-mini/1.0.0"));
  ASSERT_TRUE(replace_file(home_ / "images/debian-12-mini/1.0.0/manifest.json", as_bytes("{}"), 0644));
  const struct {
    std::vector<std::string> arguments;
    int exit_code;
    const char* says;
  } cases[] = {
      {{"debian-13"}, 3, "there is no recipe 'debian-13'; there are: debian-12, debian-12-mini"},
      {{"debian-12-mini", "--version", "a b"}, 2, "the version 'a b' is invalid"},
      {{"debian-12-mini", "--version", "x.y"}, 2, "wanted three whole numbers, for example 1.1.0"},
      {{"debian-12-mini", "--version", "2.0"}, 2, "the version '2.0' is invalid"},
      {{"debian-12-mini", "--version", "2.0.0.0"}, 2, "the version '2.0.0.0' is invalid"},
      {{"debian-12-mini", "--version", "2..0"}, 2, "the version '2..0' is invalid"},
      {{"debian-12-mini", "--version", "2.0."}, 2, "the version '2.0.' is invalid"},
      {{"debian-12-mini", "--version", "2.0.0", "--add", "/gone=/x"}, 3, "/gone: no such file"},
      {{"debian-12-mini", "--version", "2.0.0", "--add", "/etc/passwd"}, 2, "--add wants FILE=/PATH"},
      {{"debian-12-mini"}, 4, "'debian-12-mini:1.0.0' exists already"},
      {{"debian-12-mini", "--version", "1.0.0"}, 4, "exists already"},
      {{"debian-12-mini", "--version", "1.0.0", "--if-missing"}, 0, ""},
  };
  for (const auto& one : cases) {
    Command command;
    command.arguments = {BOOTSEAL_PROGRAM, "image", "build"};
    command.arguments.insert(command.arguments.end(), one.arguments.begin(), one.arguments.end());
    command.environment = std::map<std::string, std::string>{
        {"BOOTSEAL_HOME", home_}, {"BOOTSEAL_SHARE", BOOTSEAL_SOURCE_DIR}, {"PATH", "/usr/bin:/bin"}};
    const CommandOutput output = run_command(command, {}, std::chrono::seconds(30)).value();
    const std::string shown = ::testing::PrintToString(one.arguments);
    EXPECT_EQ(output.exit_code, one.exit_code) << shown << output.standard_error;
    EXPECT_THAT(output.standard_error, HasSubstr(one.says)) << shown;
    EXPECT_EQ(output.standard_error.find('['), std::string::npos) << shown << "a step of a build";
  }
}

TEST_F(CommandLineTest, ImagesAreShownAndDeletedByVersion) {
  for (const std::string version : {"1.0.0", "1.10.0", "1.9.0"}) {
    ASSERT_TRUE(std::filesystem::create_directories(home_ / "images/small" / version));
    ASSERT_TRUE(replace_file(home_ / "images/small" / version / "manifest.json",
                             as_bytes(R"({"osName":"Small OS","cloudInit":false})"), 0644));
  }
  const std::string shown = run({"image", "show", "small"}).standard_output;
  EXPECT_THAT(shown, HasSubstr("1.10.0"));
  EXPECT_THAT(shown, HasSubstr("it has no cloud-init"));
  EXPECT_THAT(run({"image", "delete", "small", "--yes"}).standard_error, HasSubstr("1.10.0, 1.9.0, 1.0.0"));
  EXPECT_THAT(run({"image", "delete", "small:1.9.0"}).standard_error, HasSubstr("--yes"));
  EXPECT_EQ(run({"image", "delete", "small:1.9.0", "--yes"}).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(home_ / "images/small/1.9.0"));
  EXPECT_TRUE(std::filesystem::exists(home_ / "images/small/1.10.0"));
  // A site with VMs that cannot be asked about them keeps its images.
  ASSERT_TRUE(std::filesystem::create_directories(home_ / "vms/one"));
  EXPECT_EQ(run({"image", "delete", "small:1.0.0", "--yes"}).exit_code, 3);
  EXPECT_TRUE(std::filesystem::exists(home_ / "images/small/1.0.0"));
}

TEST_F(CommandLineTest, WhatOnlyCloudInitTakesIsRefusedForAnImageWithoutIt) {
  ASSERT_TRUE(std::filesystem::create_directories(home_ / "images/small/1.0.0"));
  ASSERT_TRUE(
      replace_file(home_ / "images/small/1.0.0/manifest.json", as_bytes(R"({"cloudInit":false})"), 0644));
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"--admin-username", "ops", "--generate-ssh-keys"},
        {"--custom-data", "#cloud-config"}}) {
    std::vector<std::string> arguments = {"vm", "create", "-n", "x", "--image", "small"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandOutput refused = run(arguments);
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.standard_error,
                HasSubstr("the image 'small' has no cloud-init, so " + more.front() + " would do nothing"));
  }
}

TEST_F(CommandLineTest, TheVersionIsThereAsACommandAndAsAnOption) {
  const CommandOutput option = run({"--version"});
  EXPECT_EQ(option.exit_code, 0);
  EXPECT_THAT(option.standard_output, ::testing::StartsWith("bootseal "));
  EXPECT_EQ(option.standard_output, run({"version"}).standard_output);
}

TEST_F(CommandLineTest, ASiteThatIsDownIsSaidToBeDown) {
  cli::Profile profile;
  profile.endpoint = "https://127.0.0.1:1";
  profile.tenant = profile.subscription = "s";
  profile.token = "x";
  ASSERT_TRUE(profile.save(home_ / "cli"));
  Command certificate;
  certificate.arguments = {"/usr/bin/openssl",
                           "req",
                           "-x509",
                           "-newkey",
                           "ec",
                           "-pkeyopt",
                           "ec_paramgen_curve:P-256",
                           "-nodes",
                           "-subj",
                           "/CN=nobody",
                           "-keyout",
                           "/dev/null",
                           "-out",
                           (home_ / "cli/ca.pem").string()};
  ASSERT_TRUE(run_checked(certificate, {}, std::chrono::seconds(30)));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"vm", "list"}, {"status"}, {"vm", "console", "web"}, {"vm", "log", "web"}}) {
    const CommandOutput output = run(arguments);
    EXPECT_EQ(output.exit_code, 8);
    EXPECT_EQ(output.standard_error,
              "error: Bootseal is not running here (" + home_.string() + "); start it with: bootseal up\n");
  }
}

TEST_F(CommandLineTest, AHomeThatIsNoFolderIsOneClearError) {
  ASSERT_TRUE(replace_file(home_ / "file", as_bytes("x"), 0644));
  for (const std::string name : {"up", "down", "status"}) {
    Command command;
    command.arguments = {BOOTSEAL_PROGRAM, name};
    command.environment =
        std::map<std::string, std::string>{{"BOOTSEAL_HOME", home_ / "file"}, {"PATH", "/usr/bin:/bin"}};
    const CommandOutput output = run_command(command, {}, std::chrono::seconds(30)).value();
    EXPECT_EQ(output.exit_code, 2) << name;
    EXPECT_EQ(output.standard_error, "error: " + (home_ / "file").string() +
                                         " is no folder; set BOOTSEAL_HOME to the folder of the site\n");
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

TEST_F(CommandLineTest, AnAddressThatCannotBeListenedOnIsRefusedBeforeAnythingIsMade) {
  ASSERT_TRUE(make_folder(home_ / "bin"));
  for (const char* name : {"vaultd", "attestd", "hostd", "controld", "guestd"})
    ASSERT_TRUE(
        replace_file(home_ / "bin" / (std::string("bootseal-") + name), as_bytes("#!/bin/sh\n"), 0755));
  const UniqueFd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(taken.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(taken.get(), 1), 0);
  ASSERT_EQ(::getsockname(taken.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string busy = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const struct {
    std::string listen;
    int exit_code;
    const char* says;
  } cases[] = {{"8443", 2, "is not ADDRESS:PORT"},
               {"127.0.0.1:http", 2, "is not ADDRESS:PORT"},
               {"127.0.0.1:65536", 2, "is not ADDRESS:PORT"},
               {"somewhere:8443", 2, "is not ADDRESS:PORT"},
               {busy, 5, "is in use by another program"}};
  for (const auto& one : cases) {
    Command command;
    command.arguments = {BOOTSEAL_PROGRAM, "up"};
    command.environment = std::map<std::string, std::string>{{"BOOTSEAL_HOME", home_ / "site"},
                                                             {"BOOTSEAL_BIN", home_ / "bin"},
                                                             {"BOOTSEAL_LISTEN", one.listen},
                                                             {"PATH", "/usr/bin:/bin"}};
    const CommandOutput output = run_command(command, {}, std::chrono::seconds(30)).value();
    EXPECT_EQ(output.exit_code, one.exit_code) << one.listen << output.standard_error;
    EXPECT_THAT(output.standard_error, HasSubstr(one.says)) << one.listen;
    EXPECT_FALSE(std::filesystem::exists(home_ / "site"));
  }
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
  EXPECT_EQ(complete("bootseal vm list -o ''", 4), "json table tsv\n");
  EXPECT_EQ(complete("bootseal vm create --enable-vtpm f", 4), "false\n");
  EXPECT_EQ(complete("bootseal vm create --name x --security-type ''", 6), "TrustedLaunch Standard\n");
  EXPECT_EQ(complete("bootseal vm create --custom-data ''", 4), "\n") << "left to the names of files";
  EXPECT_THAT(complete("bootseal ''", 1), HasSubstr("up down status image vm"));
  EXPECT_THAT(complete("bootseal vm create --enable-", 3), HasSubstr("--enable-secure-boot --enable-vtpm"));
}

// What `bootseal` would answer with a site stands in for it.
TEST_F(CommandLineTest, BashCompletesTheNamesOfVmsImagesAndRecipes) {
  const auto complete = [&](const std::string& words, int index) {
    Command command;
    command.arguments = {"/bin/bash", "-c",
                         "source <(" BOOTSEAL_PROGRAM
                         " completion bash); bootseal() { [ \"$1\" = complete ] && printf '%s\\n' \"$2-one\" "
                         "\"$2-two\"; }; COMP_WORDS=(" +
                             words + "); COMP_CWORD=" + std::to_string(index) +
                             "; _bootseal; echo \"${COMPREPLY[*]}\""};
    return run_checked(command, {}, std::chrono::seconds(30)).value();
  };
  EXPECT_EQ(complete("bootseal vm show vm", 3), "vm-one vm-two\n");
  EXPECT_EQ(complete("bootseal vm show --name ''", 4), "vm-one vm-two\n");
  EXPECT_EQ(complete("bootseal vm start -n vm-t", 4), "vm-two\n");
  EXPECT_EQ(complete("bootseal vm create --image ''", 4), "image-one image-two\n");
  EXPECT_EQ(complete("bootseal vm list -g ''", 4), "group-one group-two\n");
  EXPECT_EQ(complete("bootseal vm create --size ''", 4), "size-one size-two\n");
  EXPECT_EQ(complete("bootseal image delete im", 3), "image-one image-two\n");
  EXPECT_EQ(complete("bootseal vm create --name ''", 4), "\n") << "a new name";
  EXPECT_EQ(complete("bootseal image build r", 3), "recipe-one recipe-two\n");
}

TEST_F(CommandLineTest, NamesForTheCompletionAreNeverAnError) {
  EXPECT_THAT(run({"complete", "recipe"}).standard_output, HasSubstr("debian-12-mini\n"));
  const CommandOutput none = run({"complete", "vm"});
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_EQ(none.standard_output + none.standard_error, "");
}

TEST_F(CommandLineTest, AUserOfTheGuestNeedsAKeyWhichCanBeMade) {
  const auto create = [&](std::vector<std::string> more) {
    Command command;
    command.arguments = {BOOTSEAL_PROGRAM, "vm", "create", "-n", "x", "--image", "i"};
    command.arguments.insert(command.arguments.end(), more.begin(), more.end());
    command.environment = std::map<std::string, std::string>{
        {"BOOTSEAL_HOME", home_ / "site"}, {"HOME", home_}, {"PATH", "/usr/bin:/bin"}};
    return run_command(command, {}, std::chrono::seconds(30)).value();
  };
  const CommandOutput refused = create({"--admin-username", "ops"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.standard_error, HasSubstr("--generate-ssh-keys"));
  EXPECT_THAT(create({"--generate-ssh-keys"}).standard_error, HasSubstr("needs --admin-username"));
  EXPECT_FALSE(std::filesystem::exists(home_ / ".ssh"));
  EXPECT_EQ(create({"--admin-username", "ops", "--generate-ssh-keys", "--tags", "x"}).exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(home_ / ".ssh")) << "refused input makes no key";
  // There is no site, which is said after the key was made.
  const CommandOutput made = create({"--admin-username", "ops", "--generate-ssh-keys"});
  EXPECT_THAT(made.standard_error, HasSubstr("made the key pair " + (home_ / ".ssh/id_ed25519").string()));
  EXPECT_THAT(made.standard_error, HasSubstr("bootseal up"));
  const auto fingerprint =
      run_checked({.arguments = {"ssh-keygen", "-l", "-f", home_ / ".ssh/id_ed25519.pub"}});
  EXPECT_TRUE(fingerprint) << fingerprint.error().describe();
  // Now it is there and is used, also without the flag.
  const CommandOutput again = create({"--admin-username", "ops"});
  EXPECT_EQ(again.exit_code, 3);
  EXPECT_THAT(again.standard_error, ::testing::Not(HasSubstr("made the key pair")));
}

// A builder that is a script, in place of the real one.
class FakeBuilderTest : public CommandLineTest {
 protected:
  void use_builder(const std::string& script) const {
    const std::filesystem::path images = home_ / "share/images";
    ASSERT_TRUE(make_folder(home_ / "share"));
    for (const auto& folder : {images, images / "recipes", images / "lib"}) ASSERT_TRUE(make_folder(folder));
    ASSERT_TRUE(replace_file(images / "lib/first-version", as_bytes("7.5.0\n"), 0644));
    ASSERT_TRUE(replace_file(images / "recipes/one.sh", as_bytes("x"), 0644));
    ASSERT_TRUE(replace_file(images / "build-image", as_bytes("#!/bin/bash\n" + script), 0755));
  }
  Command build_command() const {
    Command command;
    command.arguments = {BOOTSEAL_PROGRAM, "image", "build", "one"};
    command.environment = std::map<std::string, std::string>{
        {"BOOTSEAL_HOME", home_}, {"BOOTSEAL_SHARE", home_ / "share"}, {"PATH", "/usr/bin:/bin"}};
    return command;
  }
  std::vector<std::string> build_folders() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(home_)) {
      if (entry.path().filename().string().starts_with(".image-build-"))
        names.push_back(entry.path().filename());
    }
    return names;
  }
  // Waits for a line of the builder; bounded by the time limit of the test run.
  static std::string read_line(int fd) {
    std::string line;
    char c = 0;
    while (::read(fd, &c, 1) == 1 && c != '\n') line += c;
    return line;
  }
};

TEST_F(FakeBuilderTest, InterruptsEndTheBuildWithAllItStartedAndLeaveNothing) {
  use_builder("echo x >\"$2/part\"\nsleep 1000 &\necho \"[1/1] $$ $!\" >&2\nwait\n");
  auto pipe = make_pipe();
  ASSERT_TRUE(pipe);
  Command command = build_command();
  command.fds = {{2, pipe->write_end.get()}};
  const auto program = spawn(command);
  ASSERT_TRUE(program);
  pipe->write_end.reset();
  int builder = 0, grandchild = 0;
  ASSERT_EQ(std::sscanf(read_line(pipe->read_end.get()).c_str(), "[1/1] %d %d", &builder, &grandchild), 2);
  EXPECT_THAT(build_folders(), ::testing::ElementsAre(".image-build-one-7.5.0"));
  // While it goes on, nobody else begins the same.
  const CommandOutput other = run_command(build_command(), {}, std::chrono::seconds(30)).value();
  EXPECT_EQ(other.exit_code, 5);
  EXPECT_THAT(other.standard_error, HasSubstr("another `bootseal image build` is making 'one:7.5.0' now"));
  ASSERT_TRUE(signal_process(*program, SIGINT));
  ASSERT_TRUE(signal_process(*program, SIGINT));
  const std::string said = read_line(pipe->read_end.get());
  EXPECT_EQ(said, "error: building the image 'one': stopped on request; nothing of it is left");
  int status = 0;
  ASSERT_EQ(::waitpid(program->pid, &status, 0), program->pid);
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 10);
  for (const pid_t pid : {builder, grandchild}) {
    const auto left = identify_process(pid);
    EXPECT_TRUE(!left || wait_for_end(*left, std::chrono::seconds(10)).value_or(false)) << pid;
  }
  EXPECT_THAT(build_folders(), ::testing::IsEmpty());
}

TEST_F(FakeBuilderTest, WhatAKilledBuildLeftGoesWithTheNextOne) {
  use_builder("exit 1\n");
  ASSERT_TRUE(std::filesystem::create_directories(home_ / ".image-build-0badc0de/root"));
  ASSERT_TRUE(std::filesystem::create_directories(home_ / ".image-build-one-7.5.0/root"));
  EXPECT_EQ(run_command(build_command(), {}, std::chrono::seconds(30)).value().exit_code, 8);
  EXPECT_THAT(build_folders(), ::testing::IsEmpty());
}

TEST_F(FakeBuilderTest, AFullDiskIsNamedAndHasItsExitCode) {
  use_builder("echo 'tar: ./usr/lib/x: No space left on device' >&2\necho 'dpkg: error' >&2\nexit 1\n");
  const CommandOutput full = run_command(build_command(), {}, std::chrono::seconds(30)).value();
  EXPECT_EQ(full.exit_code, 11);
  EXPECT_THAT(full.standard_error, HasSubstr("became full ("));
  EXPECT_THAT(full.standard_error, ::testing::Not(HasSubstr("tar:")));
  use_builder("echo 'build-image: one needs about 9 MiB in /x' >&2\nexit 11\n");
  const CommandOutput early = run_command(build_command(), {}, std::chrono::seconds(30)).value();
  EXPECT_EQ(early.exit_code, 11);
  EXPECT_EQ(early.standard_error, "error: building the image 'one': one needs about 9 MiB in /x\n");
}

TEST_F(FakeBuilderTest, AFailureShowsWholeLines) {
  use_builder("for i in $(seq 9); do printf 'line %d %0200d\\n' $i 0 >&2; done; exit 3\n");
  const CommandOutput failed = run_command(build_command(), {}, std::chrono::seconds(30)).value();
  EXPECT_EQ(failed.exit_code, 8);
  EXPECT_THAT(failed.standard_error, HasSubstr("exit code 3: line 5 0"));
}

// A builder that tells what it was called with.
TEST_F(FakeBuilderTest, AUserWithoutAHomeKeepsThePackagesWithTheSite) {
  use_builder("echo \"called with $*\" >&2\nexit 1\n");
  const auto build = [&](std::map<std::string, std::string> environment) {
    environment.insert(
        {{"BOOTSEAL_HOME", home_}, {"BOOTSEAL_SHARE", home_ / "share"}, {"PATH", "/usr/bin:/bin"}});
    Command command = build_command();
    command.environment = std::move(environment);
    return run_command(command, {}, std::chrono::seconds(30)).value().standard_error;
  };
  EXPECT_THAT(build({}), HasSubstr("--cache " + (home_ / "cache/packages").string()));
  EXPECT_THAT(build({}), HasSubstr("--image-version 7.5.0"));
  EXPECT_THAT(build({{"HOME", "/root"}}), ::testing::Not(HasSubstr("--cache")));
}

}  // namespace
}  // namespace bootseal::app

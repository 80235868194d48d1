#include "bootseal/sandbox/vm_process.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "bootseal/base/subprocess.h"
#include "bootseal/sandbox/sandbox.h"
#include "ordinary_user.h"

namespace bootseal::sandbox {
namespace {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = "/tmp/bootseal-vm-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
    std::filesystem::permissions(path_, std::filesystem::perms(0755));
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

Result<CommandOutput> run_confined(const VmProcess& process, std::vector<std::string> arguments) {
  BOOTSEAL_TRY(std::function<int()> before, confine_vm_process(process));
  Command command;
  command.arguments = std::move(arguments);
  command.before_exec = std::move(before);
  return run_command(command);
}

std::map<std::string, std::string> status_of_confined(const VmProcess& process) {
  const Result<CommandOutput> output = run_confined(process, {"/bin/cat", "/proc/self/status"});
  EXPECT_TRUE(output) << output.error().describe();
  std::map<std::string, std::string> fields;
  if (!output) return fields;
  std::istringstream lines(output->standard_output);
  for (std::string line; std::getline(lines, line);) {
    if (const std::size_t colon = line.find(":\t"); colon != std::string::npos)
      fields[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return fields;
}

VmProcess slot_seven() {
  VmProcess process;
  process.uid = vm_uid(7);
  return process;
}

void expect_confined() {
  const auto status = status_of_confined(slot_seven());
  const std::string uid = fmt::format("{0}\t{0}\t{0}\t{0}", vm_uid(7));
  EXPECT_EQ(status.at("Uid"), uid);
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_EQ(status.at(set), "0000000000000000") << set;
  EXPECT_EQ(status.at("NoNewPrivs"), "1");
  for (const char* space : {"mnt", "net", "ipc", "uts"}) {
    const std::string link = fmt::format("/proc/self/ns/{}", space);
    const Result<CommandOutput> theirs = run_confined(slot_seven(), {"/bin/readlink", link});
    ASSERT_TRUE(theirs) << theirs.error().describe();
    EXPECT_EQ(theirs->exit_code, 0);
    EXPECT_NE(theirs->standard_output, std::filesystem::read_symlink(link).native() + "\n") << space;
  }
}

TEST(VmProcess, HasItsOwnUidNoCapabilityAndItsOwnNamespaces) {
  expect_confined();
}

TEST(VmProcess, AnOrdinaryUserGetsTheSameInAUserNamespace) {
  if (!is_ordinary_user()) return;
  ASSERT_TRUE(enter_hostd());
  expect_confined();
}

TEST(VmProcess, RootsVmHasNoGroupsButKvmsWhenAsked) {
  if (::geteuid() != 0) return;
  EXPECT_EQ(status_of_confined(slot_seven()).at("Groups"), " ");
  VmProcess process = slot_seven();
  process.kvm_group = 1234;
  EXPECT_EQ(status_of_confined(process).at("Groups"), "1234 ");
}

TEST(VmProcess, SeesOnlyALoopbackThatIsDown) {
  const Result<CommandOutput> devices = run_confined(slot_seven(), {"/bin/cat", "/proc/self/net/dev"});
  ASSERT_TRUE(devices) << devices.error().describe();
  std::istringstream lines(devices->standard_output);
  int interfaces = 0;
  for (std::string line; std::getline(lines, line);)
    interfaces += line.find(':') != std::string::npos ? 1 : 0;
  EXPECT_EQ(interfaces, 1) << devices->standard_output;
  EXPECT_NE(devices->standard_output.find("lo:"), std::string::npos);
  // A loopback that is down has no address at all.
  const Result<CommandOutput> routes = run_confined(slot_seven(), {"/bin/cat", "/proc/self/net/fib_trie"});
  ASSERT_TRUE(routes);
  EXPECT_EQ(routes->standard_output.find("127.0.0.1"), std::string::npos);
}

TEST(VmProcess, WritesNoCoreAndHasTheLimitsAskedFor) {
  VmProcess process = slot_seven();
  process.open_files = 321;
  const Result<CommandOutput> limits = run_confined(process, {"/bin/cat", "/proc/self/limits"});
  ASSERT_TRUE(limits);
  const auto row = [&](const std::string& name) {
    const std::size_t at = limits->standard_output.find(name);
    std::istringstream line(limits->standard_output.substr(at + name.size(), 60));
    std::string soft, hard;
    line >> soft >> hard;
    return soft + " " + hard;
  };
  EXPECT_EQ(row("Max core file size"), "0 0");
  EXPECT_EQ(row("Max open files"), "321 321");
  EXPECT_EQ(row("Max locked memory"), "0 0");
}

class MountView : public testing::Test {
 protected:
  void SetUp() override {
    const auto& home = folder_.path();
    for (const char* name : {"vaultd", "vms/mine", "vms/other", "images"})
      std::filesystem::create_directories(home / name);
    std::ofstream(home / "vaultd" / "master.json") << "secret";
    std::ofstream(home / "vms/mine/disk") << "my disk";
    std::ofstream(home / "vms/other/disk") << "other disk";
    std::ofstream(home / "images/base") << "base";
    for (const auto& entry : std::filesystem::recursive_directory_iterator(home)) {
      std::filesystem::permissions(entry.path(), std::filesystem::perms(entry.is_directory() ? 0777 : 0666));
    }
    process_.uid = vm_uid(7);
    process_.hidden = {home};
    process_.visible = {{home / "vms/mine", false}, {home / "images", true}};
  }
  CommandOutput shell(const std::string& script) {
    const Result<CommandOutput> output = run_confined(process_, {"/bin/sh", "-c", script});
    EXPECT_TRUE(output) << output.error().describe();
    return output.value_or(CommandOutput{});
  }
  TemporaryFolder folder_;
  VmProcess process_;
};

TEST_F(MountView, HidesWhatIsNotNamed) {
  const std::string seen = shell(fmt::format("cd {}; for name in vaultd vaultd/master.json vms/other "
                                             "vms/other/disk vms/mine/disk images/base; do "
                                             "test -e $name && echo $name; done; true",
                                             folder_.path().native()))
                               .standard_output;
  EXPECT_EQ(seen, "vms/mine/disk\nimages/base\n");
}

TEST_F(MountView, ItsOwnFolderIsWritableAndTheImagesAreNot) {
  EXPECT_EQ(shell(fmt::format("echo changed > {}/vms/mine/disk", folder_.path().native())).exit_code, 0);
  EXPECT_NE(shell(fmt::format("echo changed > {}/images/base", folder_.path().native())).exit_code, 0);
  EXPECT_NE(shell(fmt::format("mkdir {}/vms/new", folder_.path().native())).exit_code, 0);
  std::string content;
  std::ifstream(folder_.path() / "vms/mine/disk") >> content;
  EXPECT_EQ(content, "changed");
  std::ifstream(folder_.path() / "images/base") >> content;
  EXPECT_EQ(content, "base");
}

TEST_F(MountView, TheMachineOutsideIsUntouched) {
  shell("true");
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "vaultd/master.json"));
}

TEST_F(MountView, AFolderThatIsNotThereNeedsNoHiding) {
  process_.hidden.push_back("/nowhere/at/all");
  EXPECT_EQ(shell("true").exit_code, 0);
}

TEST_F(MountView, AVisiblePathOutsideEveryHiddenFolderIsRefused) {
  process_.visible.push_back({"/usr", true});
  const auto result = confine_vm_process(process_);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::invalid_argument);
}

TEST(VmProcess, RootWithoutAUidForTheVmIsRefused) {
  if (::geteuid() != 0) return;
  const auto result = confine_vm_process(VmProcess{});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::invalid_argument);
}

TEST(VmProcess, RelativePathsAreRefused) {
  VmProcess process = slot_seven();
  process.hidden = {"relative"};
  ASSERT_FALSE(confine_vm_process(process));
}

TEST(Hostd, KeepsOnlyWhatStartingVmsNeedsAndCanStillConfine) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (!enter_hostd()) ::_exit(1);
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("CapEff:\t") && ::geteuid() == 0) {
        const auto mask = std::stoull(line.substr(8), nullptr, 16);
        for (const int lost : {CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_MODULE, CAP_SYS_PTRACE, CAP_SYS_RAWIO,
                               CAP_MKNOD, CAP_BPF, CAP_SYS_BOOT}) {
          if ((mask >> lost & 1) != 0) ::_exit(2);
        }
      }
      if (line == "NoNewPrivs:\t0") ::_exit(3);
    }
    expect_confined();
    ::_exit(testing::Test::HasFailure() ? 4 : 0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace bootseal::sandbox

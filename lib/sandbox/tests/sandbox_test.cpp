#include "bootseal/sandbox/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "bootseal/base/fds.h"
#include "ordinary_user.h"

namespace bootseal::sandbox {
namespace {

// Exit code, or 1000 + signal.
int run_in_child(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

std::string status_field(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":\t")) return line.substr(name.size() + 2);
  }
  return "?";
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = "/tmp/bootseal-sandbox-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
    std::filesystem::permissions(path_, std::filesystem::perms(0711));
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(Identity, TheUidBaseComesFromTheEnvironmentAndNonsenseIsIgnored) {
  ::unsetenv("BOOTSEAL_UID_BASE");
  EXPECT_EQ(uid_base(), 1890000000U);
  ::setenv("BOOTSEAL_UID_BASE", "2000000", 1);
  EXPECT_EQ(uid_base(), 2000000U);
  for (const char* nonsense : {"0", "12", "4294967295", "abc", "2000000x", "-5", ""}) {
    ::setenv("BOOTSEAL_UID_BASE", nonsense, 1);
    EXPECT_EQ(uid_base(), 1890000000U) << nonsense;
  }
  ::unsetenv("BOOTSEAL_UID_BASE");
}

TEST(Identity, RootGivesEachDaemonAndEachVmItsOwnUid) {
  if (::geteuid() != 0) return;
  EXPECT_EQ(daemon_uid(Role::vaultd), uid_base() + 1);
  EXPECT_EQ(daemon_uid(Role::attestd), uid_base() + 2);
  EXPECT_EQ(daemon_uid(Role::controld), uid_base() + 3);
  EXPECT_EQ(daemon_uid(Role::hostd), 0U);
  EXPECT_EQ(vm_uid(0), uid_base() + 1000);
  EXPECT_EQ(vm_uid(7), uid_base() + 1007);
  // And says so still when it has dropped its own.
  EXPECT_EQ(run_in_child([]() {
              return ::setuid(65534) == 0 && daemon_uid(Role::hostd) == 0 &&
                             daemon_uid(Role::vaultd) == uid_base() + 1
                         ? 0
                         : 1;
            }),
            0);
}

TEST(Identity, OfAnOrdinaryUserIsOneForAll) {
  if (!is_ordinary_user()) return;
  EXPECT_EQ(daemon_uid(Role::vaultd), ::geteuid());
  EXPECT_EQ(daemon_uid(Role::hostd), ::geteuid());
  EXPECT_EQ(vm_uid(3), ::geteuid());
}

TEST(Daemon, AfterEnteringNoRightIsLeft) {
  const TemporaryFolder folder;
  const std::filesystem::path state = folder.path() / "vaultd";
  std::filesystem::create_directories(state / "inner");
  std::ofstream(state / "inner" / "file") << "x";
  EXPECT_EQ(run_in_child([&]() {
              if (!enter_daemon(Role::vaultd, state)) return 1;
              const uid_t uid = daemon_uid(Role::vaultd);
              if (status_field("Uid") != fmt::format("{0}\t{0}\t{0}\t{0}", ::getuid())) return 2;
              if (::getuid() != uid && ::getuid() != daemon_uid(Role::hostd)) return 3;
              for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
                if (status_field(set) != "0000000000000000") return 4;
              }
              if (status_field("NoNewPrivs") != "1" || status_field("Seccomp") != "2") return 5;
              if (::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return 6;
              // Its own folder is still its own.
              if (!replace_file(state / "inner" / "file", as_bytes("y"))) return 7;
              return 0;
            }),
            0);
  if (::geteuid() == 0) {
    struct stat status {};
    ASSERT_EQ(::stat((state / "inner" / "file").c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, uid_base() + 1);
    ASSERT_EQ(::stat(state.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0700U);
  }
}

TEST(Daemon, ARootDaemonLosesItsGroupsAndItsBoundingSet) {
  if (::geteuid() != 0) return;
  const TemporaryFolder folder;
  EXPECT_EQ(run_in_child([&]() {
              const gid_t group = 4;
              if (::setgroups(1, &group) != 0) return 1;
              if (!enter_daemon(Role::attestd, folder.path() / "attestd")) return 2;
              if (::getgroups(0, nullptr) != 0) return 3;
              if (status_field("CapBnd") != "0000000000000000") return 4;
              if (::getgid() != uid_base() + 2) return 5;
              return ::open("/etc/shadow", O_RDONLY) < 0 && errno == EACCES ? 0 : 6;
            }),
            0);
}

TEST(Daemon, ALinkInItsFolderDoesNotGiveAwayAFileElsewhere) {
  if (::geteuid() != 0) return;
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "precious") << "x";
  std::filesystem::create_directories(folder.path() / "vaultd");
  std::filesystem::create_symlink(folder.path() / "precious", folder.path() / "vaultd" / "link");
  EXPECT_EQ(run_in_child([&]() { return enter_daemon(Role::vaultd, folder.path() / "vaultd") ? 0 : 1; }), 0);
  struct stat status {};
  ASSERT_EQ(::stat((folder.path() / "precious").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0U);
}

TEST(Daemon, RunningAProgramEndsIt) {
  const TemporaryFolder folder;
  EXPECT_EQ(run_in_child([&]() {
              if (!enter_daemon(Role::controld, folder.path() / "controld")) return 1;
              ::execl("/bin/true", "true", nullptr);
              return 2;
            }),
            1000 + SIGSYS);
}

TEST(Daemon, ForkingIsRefused) {
  const TemporaryFolder folder;
  EXPECT_EQ(run_in_child([&]() {
              if (!enter_daemon(Role::controld, folder.path() / "controld")) return 1;
              return ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr) < 0 && errno == EPERM
                         ? 0
                         : 2;
            }),
            0);
}

TEST(GuestdFilter, OpenDescriptorsWorkOn) {
  EXPECT_EQ(run_in_child([]() {
              const Result<SocketPair> pair = make_socket_pair();
              const int file = ::memfd_create("state", 0);
              if (!pair || file < 0 || !install_guestd_filter()) return 1;
              if (!write_all(pair->first.get(), as_bytes("hello"))) return 2;
              if (!write_all_at(file, as_bytes("sealed"), 4096) || ::fdatasync(file) != 0) return 3;
              Bytes memory(std::size_t{8} << 20, std::byte{1});
              return memory.back() == std::byte{1} ? 0 : 4;
            }),
            0);
}

TEST(GuestdFilter, EndsTheProcessThatAsksForMore) {
  const std::vector<std::pair<const char*, std::function<void()>>> attempts = {
      {"socket", []() { ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
      {"connect", []() { ::syscall(SYS_connect, 0, nullptr, 0); }},
      {"execve", []() { ::execl("/bin/true", "true", nullptr); }},
      {"fork", []() { ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr); }},
      {"ptrace", []() { ::syscall(SYS_ptrace, 0, 0, 0, 0); }},
      {"executable memory",
       []() { ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
      {"unlink", []() { ::unlink("/nowhere"); }},
      {"kill", []() { ::kill(1, 0); }},
      {"setuid", []() { ::syscall(SYS_setuid, 0); }},
  };
  for (const auto& entry : attempts) {
    EXPECT_EQ(run_in_child([&]() {
                if (!install_guestd_filter()) return 1;
                entry.second();
                return 2;
              }),
              1000 + SIGSYS)
        << entry.first;
  }
}

TEST(GuestdFilter, OpeningAFileIsRefused) {
  EXPECT_EQ(run_in_child([]() {
              if (!install_guestd_filter()) return 1;
              return ::open("/etc/hostname", O_RDONLY) < 0 && errno == EACCES ? 0 : 2;
            }),
            0);
}

TEST(MissingProtections, AnOrdinaryUserIsToldAboutTheSharedUid) {
  if (!is_ordinary_user()) return;
  const std::vector<std::string> missing = missing_protections();
  EXPECT_TRUE(std::ranges::any_of(
      missing, [](const std::string& line) { return line.find("ordinary user") != std::string::npos; }));
}

TEST(Daemon, AnOrdinaryUsersDaemonHasNoRightsLeftEither) {
  if (!is_ordinary_user()) return;
  const TemporaryFolder folder;
  EXPECT_EQ(run_in_child([&]() {
              if (!enter_daemon(Role::vaultd, folder.path() / "vaultd")) return 1;
              if (status_field("NoNewPrivs") != "1" || status_field("Seccomp") != "2") return 2;
              return ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 3;
            }),
            0);
}

TEST(MissingProtections, ALostCapabilityIsNamed) {
  if (::geteuid() != 0) return;
  EXPECT_EQ(run_in_child([]() {
              __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
              __user_cap_data_struct data[2]{};
              if (::syscall(SYS_capget, &header, data) != 0) return 1;
              data[0].effective &= ~(1U << CAP_SYS_ADMIN);
              data[0].permitted &= ~(1U << CAP_SYS_ADMIN);
              if (::syscall(SYS_capset, &header, data) != 0) return 2;
              const std::vector<std::string> missing = missing_protections();
              const auto mentions = [&](std::string_view word) {
                return std::ranges::any_of(
                    missing, [&](const std::string& line) { return line.find(word) != std::string::npos; });
              };
              return mentions("CAP_SYS_ADMIN") && mentions("network namespace") && mentions("mount namespace")
                         ? 0
                         : 3;
            }),
            0);
}

}  // namespace
}  // namespace bootseal::sandbox

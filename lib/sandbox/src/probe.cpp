#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "bootseal/sandbox/sandbox.h"

namespace bootseal::sandbox {
namespace {

// Runs an async-signal-safe probe in a child; 0, or the errno value it returned.
template <typename Probe>
int in_child(Probe probe) {
  const pid_t pid = ::fork();
  if (pid < 0) return errno;
  if (pid == 0) ::_exit(probe() & 0xff);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}

struct Namespace {
  int flag;
  const char* what_is_lost;
};
constexpr std::array kNamespaces = {
    Namespace{CLONE_NEWNS, "a mount namespace: VM processes see the whole file system"},
    Namespace{CLONE_NEWNET, "a network namespace: VM processes could reach the network"},
    Namespace{CLONE_NEWIPC, "an ipc namespace: VM processes share System V IPC with the machine"},
};

// The capabilities that hostd and the daemons use to get rid of rights.
struct NeededCapability {
  int number;
  const char* use;
};
constexpr std::array kNeeded = {
    NeededCapability{CAP_SETUID, "give each daemon and each VM its own uid"},
    NeededCapability{CAP_SETGID, "give each daemon and each VM its own gid and no groups"},
    NeededCapability{CAP_CHOWN, "give a VM its files"},
    NeededCapability{CAP_SETPCAP, "empty the capability bounding set"},
    NeededCapability{CAP_SYS_ADMIN, "make namespaces for VM processes"},
    NeededCapability{CAP_KILL, "end VM processes"},
};

std::string capability_name(int number) {
  char* text = cap_to_name(static_cast<cap_value_t>(number));
  if (text == nullptr) return fmt::format("capability {}", number);
  std::string name(text);
  cap_free(text);
  for (char& letter : name)
    letter = static_cast<char>(letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter);
  return name;
}

bool has_capability(int number) {
  cap_t capabilities = cap_get_proc();
  if (capabilities == nullptr) return false;
  cap_flag_value_t value = CAP_CLEAR;
  const int problem = cap_get_flag(capabilities, static_cast<cap_value_t>(number), CAP_PERMITTED, &value);
  cap_free(capabilities);
  return problem == 0 && value == CAP_SET;
}

void probe_identity(std::vector<std::string>& missing) {
  const uid_t uid = ::geteuid();
  if (uid != 0) {
    missing.push_back(
        fmt::format("this is the ordinary user {}: daemons and virtual machines share this uid, which keeps "
                    "them apart less well than a uid for each "
                    "(run as root to have that)",
                    uid));
    return;
  }
  for (const NeededCapability& needed : kNeeded) {
    if (!has_capability(needed.number))
      missing.push_back(fmt::format("{} is not allowed here: Bootseal cannot {}",
                                    capability_name(needed.number), needed.use));
  }
  const int problem =
      in_child([uid = vm_uid(0)]() { return ::syscall(SYS_setresuid, uid, uid, uid) == 0 ? 0 : errno; });
  if (problem != 0)
    missing.push_back(fmt::format("the uid {} of virtual machines cannot be taken here: {}", vm_uid(0),
                                  std::strerror(problem)));
}

void probe_namespaces(std::vector<std::string>& missing) {
  int base = 0;
  if (::geteuid() != 0) {
    const int problem = in_child([]() { return ::unshare(CLONE_NEWUSER) == 0 ? 0 : errno; });
    if (problem != 0) {
      missing.push_back(
          fmt::format("user namespaces are not allowed here ({}): virtual machines of an ordinary user "
                      "cannot be confined and do not start",
                      std::strerror(problem)));
      return;
    }
    base = CLONE_NEWUSER;
  }
  bool mounts = true;
  for (const Namespace& probe : kNamespaces) {
    const int problem = in_child([flags = probe.flag | base]() { return ::unshare(flags) == 0 ? 0 : errno; });
    if (problem == 0) continue;
    missing.push_back(fmt::format("{} ({})", probe.what_is_lost, std::strerror(problem)));
    if (probe.flag == CLONE_NEWNS) mounts = false;
  }
  if (!mounts) return;
  const int problem = in_child([flags = CLONE_NEWNS | base]() {
    if (::unshare(flags) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return errno;
    return ::syscall(SYS_open_tree, AT_FDCWD, "/", 1 | O_CLOEXEC | 0x8000) >= 0 ? 0 : errno;
  });
  if (problem != 0)
    missing.push_back(fmt::format("files of other virtual machines cannot be hidden from a VM process: {}",
                                  std::strerror(problem)));
}

void probe_kernel(std::vector<std::string>& missing) {
  // A null filter is EFAULT where filters exist and EINVAL or ENOSYS where they do not (seccomp(2)).
  const int seccomp = in_child([]() {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, nullptr) == 0 ? 0 : errno;
  });
  if (seccomp != EFAULT)
    missing.push_back(fmt::format("seccomp filters are not available ({}): system calls are not restricted",
                                  std::strerror(seccomp)));
  constexpr std::size_t kKeys = 64 * 1024;
  const int lock = in_child([]() {
    void* memory = ::mmap(nullptr, kKeys, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return errno;
    return ::mlock(memory, kKeys) == 0 ? 0 : errno;
  });
  if (lock != 0)
    missing.push_back(
        fmt::format("memory cannot be locked ({}): keys could reach swap space", std::strerror(lock)));
  const int pidfd = in_child([]() { return ::syscall(SYS_pidfd_open, ::getpid(), 0) >= 0 ? 0 : errno; });
  if (pidfd != 0)
    missing.push_back(fmt::format(
        "pidfds are not available ({}): the end of a VM process is not seen at once", std::strerror(pidfd)));
}

}  // namespace

std::vector<std::string> missing_protections() {
  std::vector<std::string> missing;
  probe_identity(missing);
  probe_namespaces(missing);
  probe_kernel(missing);
  return missing;
}

}  // namespace bootseal::sandbox

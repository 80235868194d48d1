#include "process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <memory>

#include "option_string.h"

namespace bootseal::swtpm {
namespace {

constexpr mode_t kPidFileMode = 0644;

constexpr std::array kForbidden = {
    // other programs and processes
    "execve", "execveat", "fork", "vfork", "clone", "clone3", "ptrace", "process_vm_readv",
    "process_vm_writev", "kcmp", "personality", "unshare", "setns",
    // other users
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
    "setsid", "setpgid", "capset",
    // the machine
    "mount", "umount2", "move_mount", "fsmount", "fsopen", "open_tree", "pivot_root", "chroot", "swapon",
    "swapoff", "reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "quotactl",
    "acct", "syslog", "iopl", "ioperm", "vhangup", "mknod", "mknodat", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "add_key", "request_key", "keyctl", "fanotify_init", "seccomp",
    "lookup_dcookie",
    // memory shared with others
    "semget", "semop", "shmget", "shmat", "shmctl", "shmdt", "msgget", "msgsnd", "msgrcv", "msgctl",
    "mq_open", "mq_unlink", "memfd_create"};

// The exit code of a child that has ended, or the signal that ended it, sent to this process too.
int end_like(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return EXIT_FAILURE;
  if (WIFSIGNALED(status)) ::kill(::getpid(), WTERMSIG(status));
  return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

}  // namespace

Status run_as(const std::string& user) {
  uid_t uid = 0;
  gid_t gid = 0;
  if (const auto number = parse_number(user, 10, UINT_MAX - 1)) {
    uid = gid = static_cast<uid_t>(*number);
    // The groups of the user before are not those of this one.
    if (uid != ::geteuid() && ::setgroups(0, nullptr) != 0)
      return fail_errno(errno, "giving up the groups of the user before");
  } else {
    std::array<char, 16384> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
      return fail(ErrorCode::not_found, fmt::format("Error: User '{}' does not exist.", user));
    if (::initgroups(found->pw_name, found->pw_gid) != 0)
      return fail_errno(errno, fmt::format("taking the groups of user '{}'", user));
    uid = found->pw_uid;
    gid = found->pw_gid;
  }
  if (::setgid(gid) != 0) return fail_errno(errno, fmt::format("changing to group {}", gid));
  if (::setuid(uid) != 0) return fail_errno(errno, fmt::format("changing to user {}", uid));
  return {};
}

Result<Background> Background::enter() {
  BOOTSEAL_TRY(Pipe pipe, make_pipe());
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "going into the background");
  if (child == 0) {
    if (::setsid() < 0) return fail_errno(errno, "leaving the terminal's session");
    return Background(std::move(pipe.write_end));
  }
  pipe.write_end.reset();
  char ready = 0;
  ssize_t count = 0;
  do {
    count = ::read(pipe.read_end.get(), &ready, 1);
  } while (count < 0 && errno == EINTR);
  ::_exit(count == 1 ? EXIT_SUCCESS : end_like(child));
}

Status Background::ready(bool logs) {
  if (::chdir("/") != 0) return fail_errno(errno, "changing to the root folder");
  BOOTSEAL_TRY(const UniqueFd null, open_file("/dev/null", O_RDWR));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (!(logs && fd == STDERR_FILENO) && ::dup2(null.get(), fd) < 0)
      return fail_errno(errno, "sending the output to /dev/null");
  const UniqueFd pipe = std::move(pipe_);
  return write_all(pipe.get(), as_bytes("R"));
}

Result<PidFile> PidFile::write(const std::filesystem::path& path, UniqueFd fd) {
  if (!fd.valid()) {
    BOOTSEAL_TRY(fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, kPidFileMode));
  }
  BOOTSEAL_TRY_STATUS(write_all(fd.get(), as_bytes(fmt::format("{}", ::getpid()))));
  return PidFile(path);
}

PidFile::~PidFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<UniqueFd> catch_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return fail_errno(errno, "blocking signals");
  std::signal(SIGPIPE, SIG_IGN);
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return fail_errno(errno, "making a descriptor for signals");
  return fd;
}

Status forbid_system_calls(Seccomp action) {
  if (action == Seccomp::none) return {};
  const auto failed = [](int problem) {
    return fail(ErrorCode::unsupported,
                fmt::format("the seccomp filter cannot be installed (error {}); the kernel needs "
                            "CONFIG_SECCOMP_FILTER, or give --seccomp action=none",
                            -problem));
  };
  const std::unique_ptr<void, decltype(&seccomp_release)> context(seccomp_init(SCMP_ACT_ALLOW),
                                                                  &seccomp_release);
  if (!context) return failed(-ENOMEM);
  const std::uint32_t denied = action == Seccomp::log ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS;
  for (const char* name : kForbidden) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) continue;  // newer than this libseccomp
    const int problem = seccomp_rule_add(context.get(), denied, number, 0);
    if (problem != 0 && problem != -EDOM) return failed(problem);
  }
  if (const int problem = seccomp_load(context.get()); problem != 0) return failed(problem);
  return {};
}

void protect_memory() {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  constexpr rlimit kNoCore{0, 0};
  ::setrlimit(RLIMIT_CORE, &kNoCore);
}

}  // namespace bootseal::swtpm

#include "filters.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <memory>
#include <span>

#include "bootseal/sandbox/sandbox.h"

namespace bootseal::sandbox::internal {
namespace {

// Names, not numbers: a name this libseccomp or this architecture does not know is left out, which only makes
// the filter stricter.
int add_all(scmp_filter_ctx context, std::uint32_t action, std::span<const char* const> names) {
  for (const char* name : names) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) continue;
    if (const int problem = seccomp_rule_add(context, action, number, 0); problem != 0 && problem != -EDOM)
      return problem;
  }
  return 0;
}

// Adds a rule that holds when (argument & mask) == value.
int add_masked(scmp_filter_ctx context, int call, unsigned argument, std::uint64_t mask,
               std::uint64_t value) {
  const scmp_arg_cmp comparison{argument, SCMP_CMP_MASKED_EQ, mask, value};
  return seccomp_rule_add_array(context, SCMP_ACT_ALLOW, call, 1, &comparison);
}

// Threads, not processes.
int allow_threads(scmp_filter_ctx context) {
  if (const int problem = add_masked(context, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD); problem != 0)
    return problem;
  // clone3 carries its flags in memory where a filter cannot look: ENOSYS makes glibc use clone.
  return seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

// Memory that is never executable: no new code in a process that reads hostile bytes.
int allow_data_memory(scmp_filter_ctx context) {
  for (const char* name : {"mmap", "mprotect"}) {
    const int number = seccomp_syscall_resolve_name(name);
    if (const int problem = add_masked(context, number, 2, PROT_EXEC, 0); problem != 0) return problem;
  }
  return 0;
}

constexpr std::array kGuestdCalls = {
    // memory
    "brk", "munmap", "mremap", "madvise", "mlock", "munlock", "mlock2",
    // descriptors that are open already
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "fsync",
    "fdatasync", "sync_file_range", "ftruncate", "fallocate", "fstat", "fcntl", "close", "dup", "dup3",
    "poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "eventfd2", "timerfd_create", "timerfd_settime", "signalfd4", "pipe2",
    // inherited sockets; SET_DATAFD brings a descriptor by recvmsg
    "accept", "accept4", "recvmsg", "recvfrom", "sendmsg", "sendto", "shutdown", "getsockopt", "setsockopt",
    "getsockname", "getpeername",
    // time, waiting, threads of this process
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "futex",
    "sched_yield", "sched_getaffinity", "restart_syscall", "set_robust_list", "rseq", "set_tid_address",
    "getrandom", "gettid", "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "uname", "sysinfo",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack", "tgkill", "prlimit64",
    "getrlimit", "exit", "exit_group"};

// What C and C++ run-time libraries try now and then and can do without; the answer is an error, not the end
// of the process: a VM does not die because glibc looks at /proc/sys/vm/overcommit_memory when it trims a
// thread's arena.
constexpr std::array kGuestdRefused = {"open",       "openat",   "access",     "faccessat",
                                       "faccessat2", "readlink", "readlinkat", "ioctl"};

int guestd_rules(void* context) {
  if (const int problem = allow_data_memory(context); problem != 0) return problem;
  if (const int problem = add_all(context, SCMP_ACT_ALLOW, kGuestdCalls); problem != 0) return problem;
  if (const int problem = add_all(context, SCMP_ACT_ERRNO(EACCES), kGuestdRefused); problem != 0)
    return problem;
  // glibc's fstat() is newfstatat() with an empty path; with AT_EMPTY_PATH it may name descriptors only,
  // which the flag cannot prove, but a stat of a path gives no content and no descriptor.
  if (const int problem = add_masked(context, SCMP_SYS(newfstatat), 3, AT_EMPTY_PATH, AT_EMPTY_PATH);
      problem != 0) {
    return problem;
  }
  return allow_threads(context);
}

constexpr std::array kDaemonCalls = {
    // files (of this daemon's folder, by the uid it has), SQLite
    "open", "openat", "openat2", "creat", "stat", "lstat", "newfstatat", "statx", "statfs", "fstatfs",
    "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "getcwd", "chdir", "fchdir",
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat",
    "symlink", "symlinkat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat",
    "utimensat", "umask", "flock", "truncate", "sync", "syncfs", "copy_file_range", "sendfile", "splice",
    "memfd_create", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "getxattr", "fgetxattr",
    "fadvise64", "ioctl",
    // sockets
    "socket", "socketpair", "bind", "listen", "connect", "sendmmsg", "recvmmsg",
    // processes: own threads and looking at others by pidfd
    "pidfd_open", "kill", "tkill", "wait4", "waitid", "getpgrp", "getpgid", "getsid", "getresuid",
    "getresgid", "getgroups", "capget", "prctl", "arch_prctl", "sched_setaffinity", "sched_getparam",
    "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "getpriority", "setpriority",
    "getrusage", "times", "membarrier", "mincore", "msync", "mlockall", "munlockall", "get_robust_list",
    "timer_create", "timer_settime", "timer_delete", "timer_gettime", "alarm", "setitimer", "getitimer",
    "timerfd_gettime", "pause", "rt_sigpending", "rt_sigqueueinfo", "rt_sigsuspend", "eventfd",
    "epoll_create", "epoll_pwait2", "pipe", "dup2", "preadv2", "pwritev2", "io_setup", "io_submit",
    "io_getevents", "io_destroy", "close_range", "setrlimit", "pkey_alloc", "pkey_free"};

// A daemon that is asked to run a program or to change the machine is under attack: it ends at once.
constexpr std::array kDaemonFatal = {
    "execve",          "execveat",      "ptrace",      "process_vm_readv", "process_vm_writev",
    "mount",           "umount2",       "move_mount",  "open_tree",        "fsopen",
    "pivot_root",      "chroot",        "setns",       "unshare",          "init_module",
    "finit_module",    "delete_module", "kexec_load",  "kexec_file_load",  "bpf",
    "perf_event_open", "keyctl",        "add_key",     "request_key",      "reboot",
    "swapon",          "swapoff",       "userfaultfd", "io_uring_setup",   "settimeofday",
    "clock_settime",   "setuid",        "setgid",      "setresuid",        "setresgid",
    "setgroups",       "capset"};

int daemon_rules(void* context) {
  // Unlike guestd they may map code: PKCS#11 modules and NSS are loaded by dlopen.
  constexpr std::array kCode = {"mmap", "mprotect"};
  if (const int problem = add_all(context, SCMP_ACT_ALLOW, kCode); problem != 0) return problem;
  if (const int problem = add_all(context, SCMP_ACT_ALLOW, kGuestdCalls); problem != 0) return problem;
  if (const int problem = add_all(context, SCMP_ACT_ALLOW, kDaemonCalls); problem != 0) return problem;
  if (const int problem = add_all(context, SCMP_ACT_KILL_PROCESS, kDaemonFatal); problem != 0) return problem;
  return allow_threads(context);
}

constexpr std::array kNetdCalls = {"bind",      "listen",     "connect",    "unlink",     "unlinkat",
                                   "stat",      "lstat",      "newfstatat", "statx",      "access",
                                   "faccessat", "faccessat2", "readlink",   "readlinkat", "getrlimit"};

int netd_rules(void* context) {
  if (const int problem = allow_data_memory(context); problem != 0) return problem;
  if (const int problem = add_all(context, SCMP_ACT_ALLOW, kGuestdCalls); problem != 0) return problem;
  if (const int problem = add_all(context, SCMP_ACT_ALLOW, kNetdCalls); problem != 0) return problem;
  for (const int family : {AF_INET, AF_UNIX}) {
    if (const int problem =
            add_masked(context, SCMP_SYS(socket), 0, ~std::uint64_t{0}, static_cast<std::uint64_t>(family));
        problem != 0)
      return problem;
  }
  // Reading only; FIONREAD and FIONBIO of the terminal calls.
  if (const int problem = add_masked(context, SCMP_SYS(openat), 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY);
      problem != 0)
    return problem;
  for (const std::uint64_t request : {std::uint64_t{FIONREAD}, std::uint64_t{FIONBIO}}) {
    if (const int problem = add_masked(context, SCMP_SYS(ioctl), 1, ~std::uint64_t{0}, request); problem != 0)
      return problem;
  }
  if (const int problem = add_all(context, SCMP_ACT_KILL_PROCESS, kDaemonFatal); problem != 0) return problem;
  return allow_threads(context);
}

}  // namespace

const Filter daemon_filter{SCMP_ACT_ERRNO(EPERM), &daemon_rules, "daemons"};
const Filter guestd_filter{SCMP_ACT_KILL_PROCESS, &guestd_rules, "guestd"};
const Filter netd_filter{SCMP_ACT_ERRNO(EPERM), &netd_rules, "netd"};

Status install(const Filter& filter) {
  const auto failed = [&](int problem, std::string_view what) {
    return fail(problem == -EINVAL || problem == -ENOSYS ? ErrorCode::unsupported : ErrorCode::io_error,
                fmt::format("{} the seccomp filter of {}: error {}; the kernel needs CONFIG_SECCOMP_FILTER",
                            what, filter.name, -problem));
  };
  const std::unique_ptr<void, decltype(&seccomp_release)> context(seccomp_init(filter.default_action),
                                                                  &seccomp_release);
  if (!context) return failed(-ENOMEM, "making");
  if (const int problem = seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_TSYNC, 1); problem != 0)
    return failed(problem, "preparing");
  // Calls of another architecture (the 32-bit entry) end the process.
  if (const int problem = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
      problem != 0)
    return failed(problem, "preparing");
  if (const int problem = filter.add_rules(context.get()); problem != 0) return failed(problem, "filling");
  if (const int problem = seccomp_load(context.get()); problem != 0) return failed(problem, "loading");
  return {};
}

}  // namespace bootseal::sandbox::internal

namespace bootseal::sandbox {

Status install_guestd_filter() {
  return internal::install(internal::guestd_filter);
}

Status install_netd_filter() {
  return internal::install(internal::netd_filter);
}

}  // namespace bootseal::sandbox

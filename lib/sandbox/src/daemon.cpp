#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "bootseal/base/fds.h"
#include "bootseal/sandbox/sandbox.h"
#include "bootseal/sandbox/vm_process.h"
#include "filters.h"
#include "rights.h"

namespace bootseal::sandbox {
namespace {

Status change_owner(const std::filesystem::path& path, uid_t uid) {
  // lchown: a link in the folder must not lead to a file elsewhere.
  if (::lchown(path.c_str(), uid, uid) != 0)
    return fail_errno(errno, fmt::format("giving {} to uid {}", path.native(), uid));
  return {};
}

Status give_folder(const std::filesystem::path& folder, uid_t uid) {
  BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
  if (::geteuid() != 0) return {};
  std::error_code problem;
  for (std::filesystem::recursive_directory_iterator next(folder, problem), end; !problem && next != end;
       next.increment(problem)) {
    BOOTSEAL_TRY_STATUS(change_owner(next->path(), uid));
  }
  if (problem) return fail_errno(problem.value(), fmt::format("listing {}", folder.native()));
  return change_owner(folder, uid);
}

Status step(int problem, std::string_view what) {
  if (problem != 0) return fail_errno(problem, what);
  return {};
}

// Nobody reads the memory of a process that holds keys: no core dumps, no ptrace by the same uid.
Status hide_memory() {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail_errno(errno, "making the process undumpable");
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return fail_errno(errno, "forbidding core dumps");
  return {};
}

}  // namespace

Status enter_daemon(Role role, const std::filesystem::path& folder) {
  const uid_t uid = daemon_uid(role);
  BOOTSEAL_TRY_STATUS(give_folder(folder, uid));
  if (::geteuid() == 0) {
    BOOTSEAL_TRY_STATUS(step(internal::drop_bounding_set(0), "dropping the capability bounding set"));
    // glibc's wrappers: they change every thread, should the program have some already.
    if (::setgroups(0, nullptr) != 0) return fail_errno(errno, "clearing the supplementary groups");
    if (::setresgid(uid, uid, uid) != 0) return fail_errno(errno, fmt::format("taking the gid {}", uid));
    if (::setresuid(uid, uid, uid) != 0) return fail_errno(errno, fmt::format("taking the uid {}", uid));
  }
  BOOTSEAL_TRY_STATUS(step(internal::set_capabilities(0), "dropping all capabilities"));
  BOOTSEAL_TRY_STATUS(step(internal::forbid_new_privileges(), "setting no_new_privs"));
  BOOTSEAL_TRY_STATUS(hide_memory());
  return internal::install(internal::daemon_filter);
}

Status enter_hostd() {
  if (::geteuid() == 0) {
    const std::uint64_t wanted =
        internal::mask_of({CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_KILL, CAP_SETGID, CAP_SETUID,
                           CAP_SETPCAP, CAP_SYS_ADMIN, CAP_IPC_LOCK, CAP_NET_BIND_SERVICE});
    // A container may have taken some of them already: what is not there cannot be kept, and spawning then
    // says what is missing.
    std::uint64_t have = 0;
    for (int capability = 0; capability < 64; ++capability) {
      if (::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1) have |= std::uint64_t{1} << capability;
    }
    BOOTSEAL_TRY_STATUS(step(internal::drop_bounding_set(wanted), "dropping the capability bounding set"));
    BOOTSEAL_TRY_STATUS(step(internal::set_capabilities(wanted & have), "reducing the capabilities"));
  }
  BOOTSEAL_TRY_STATUS(step(internal::forbid_new_privileges(), "setting no_new_privs"));
  return hide_memory();
}

}  // namespace bootseal::sandbox

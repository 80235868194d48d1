// The confinement of the two processes of one VM (QEMU and guestd) and of hostd, which starts them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal::sandbox {

// A folder or file that stays visible below a hidden folder.
struct VisiblePath {
  std::filesystem::path path;  // absolute, exists when the process starts
  bool read_only = false;
};

// What one VM process gets. Everything that is not named here is taken away.
struct VmProcess {
  uid_t uid = 0;  // = gid, vm_uid(slot); not used by an ordinary user, whose VMs have that user's uid in a
                  // user namespace
  std::optional<gid_t> kvm_group;  // the one supplementary group, for /dev/kvm; none otherwise
  // Folders covered by an empty read-only tmpfs in the process's own mount namespace, and what of them stays
  // visible.
  std::vector<std::filesystem::path> hidden;
  std::vector<VisiblePath> visible;
  bool keeps_network = false;             // the host's network namespace instead of an empty one
  std::uint64_t open_files = 1024;        // RLIMIT_NOFILE
  std::uint64_t locked_memory_bytes = 0;  // RLIMIT_MEMLOCK
  std::uint64_t processes = 0;            // RLIMIT_NPROC (threads of this uid); 0 = not limited
};

// The function for Command::before_exec: in the child, between fork and exec, it enters a new mount, network
// (lo only, down; not with keeps_network) and ipc namespace (for an ordinary user inside a new user
// namespace), hides the folders, takes the uid and gid, clears the groups, drops every capability and the
// bounding set, sets no_new_privs and the limits (no core dumps). All memory it needs is allocated by this
// call; what it does in the child is async-signal-safe. It returns 0, or the errno value of the step that
// failed: nothing is skipped silently. Errors of this call: invalid_argument (a path is not absolute, root
// without a uid for the VM).
Result<std::function<int()>> confine_vm_process(const VmProcess& process);

// For a root hostd, before its first thread: keeps only what starting VMs needs (CAP_CHOWN, DAC_OVERRIDE,
// FOWNER, KILL, SETGID, SETUID, SETPCAP, SYS_ADMIN for the namespaces of its children, IPC_LOCK for keys,
// NET_BIND_SERVICE for the ports that VMs serve), drops the rest from the bounding set too, sets no_new_privs
// and PR_SET_DUMPABLE 0. As an ordinary user only the last two.
Status enter_hostd();

// The group that owns /dev/kvm when VM processes need it to open the device; nullopt when everybody may or
// the device is not there.
std::optional<gid_t> kvm_group();

}  // namespace bootseal::sandbox

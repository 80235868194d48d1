// Giving up rights: daemons, guestd and QEMU run with their own uid, no capabilities, no new privileges and a
// seccomp filter.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "bootseal/base/result.h"

namespace bootseal::sandbox {

enum class Role { vaultd, attestd, controld, hostd };

// BOOTSEAL_UID_BASE, else 1890000000. Daemons have the uids just above it, VMs those from base + 1000 on.
uid_t uid_base();
// The uid (= gid) a daemon runs under: root's hostd stays 0; for an ordinary user everything is that user.
uid_t daemon_uid(Role role);
// The uid (= gid) of the VM in `slot` (0 … 64535), its QEMU and its guestd alike; for an ordinary user that
// user.
uid_t vm_uid(unsigned slot);

// For vaultd, attestd and controld, after the listeners are open and before the first byte from outside:
// makes `folder` (mode 0700, owned by the daemon's uid, content included), then drops uid, gid, groups, all
// capabilities and the bounding set, sets no_new_privs and PR_SET_DUMPABLE 0, and installs the seccomp filter
// of daemons. As an ordinary user only the last three are possible.
Status enter_daemon(Role role, const std::filesystem::path& folder);

// The filter of guestd: memory, time, poll, read and write of open descriptors, accept on inherited
// listeners, flush, exit; no open, no socket, no exec, no fork. Any other call ends the process (SIGSYS).
Status install_guestd_filter();

// The filter of netd: as guestd's, and IPv4 and Unix sockets of its own, and files that are read (libslirp
// reads /etc/resolv.conf). Other calls are refused; what an attacker would want ends the process.
Status install_netd_filter();

// What this machine and user cannot give, in plain words, for `bootseal status`; empty = everything.
std::vector<std::string> missing_protections();

}  // namespace bootseal::sandbox

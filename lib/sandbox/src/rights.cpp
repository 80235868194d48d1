#include "rights.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace bootseal::sandbox::internal {

int drop_bounding_set(std::uint64_t keep_mask) {
  for (int capability = 0; capability < 64; ++capability) {
    if ((keep_mask >> capability & 1) != 0) continue;
    const int present = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (present < 0) break;  // past the last capability of this kernel
    if (present == 1 && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return errno;
  }
  return 0;
}

int set_capabilities(std::uint64_t mask) {
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return errno;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  data[0].effective = data[0].permitted = static_cast<std::uint32_t>(mask);
  data[1].effective = data[1].permitted = static_cast<std::uint32_t>(mask >> 32);
  // The system call itself: libcap allocates, which is not allowed between fork and exec.
  return ::syscall(SYS_capset, &header, data.data()) == 0 ? 0 : errno;
}

int become(uid_t uid, gid_t gid, const gid_t* groups, std::size_t group_count) {
  // The raw calls change this thread only, which is what a child after fork has, and they take no lock.
  if (::syscall(SYS_setgroups, group_count, groups) != 0) return errno;
  if (::syscall(SYS_setresgid, gid, gid, gid) != 0) return errno;
  if (::syscall(SYS_setresuid, uid, uid, uid) != 0) return errno;
  return 0;
}

int forbid_new_privileges() {
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno;
}

std::uint64_t mask_of(std::initializer_list<int> capabilities) {
  std::uint64_t mask = 0;
  for (const int capability : capabilities) mask |= std::uint64_t{1} << capability;
  return mask;
}

}  // namespace bootseal::sandbox::internal

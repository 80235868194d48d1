// Steps of giving up rights that daemons, hostd and VM processes share. Those marked "child" are
// async-signal-safe: they return 0 or an errno value and allocate nothing.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>

namespace bootseal::sandbox::internal {

// child: drops every capability outside `keep_mask` (bit n = capability n) from the bounding set. Needs
// CAP_SETPCAP.
int drop_bounding_set(std::uint64_t keep_mask);
// child: effective = permitted = `mask`, inheritable = ambient = nothing.
int set_capabilities(std::uint64_t mask);
// child: no supplementary groups but `groups`, then gid and uid (real, effective, saved) for good.
int become(uid_t uid, gid_t gid, const gid_t* groups, std::size_t group_count);
// child: no_new_privs.
int forbid_new_privileges();

std::uint64_t mask_of(std::initializer_list<int> capabilities);

}  // namespace bootseal::sandbox::internal

// What the two processes of a VM see of Bootseal's folders.
#pragma once

#include <functional>
#include <vector>

#include "bootseal/base/paths.h"
#include "bootseal/sandbox/vm_process.h"

namespace bootseal::host {

enum class NetworkView : std::uint8_t { none, host };

// before_exec of a VM process: Bootseal's home and run folder are hidden but for `visible`, of which only
// what lies in them matters.
Result<std::function<int()>> confine_in_home(const Paths& paths, uid_t uid, std::optional<gid_t> kvm_group,
                                             const std::vector<sandbox::VisiblePath>& visible,
                                             std::uint64_t locked_memory_bytes,
                                             NetworkView network = NetworkView::none);

}  // namespace bootseal::host

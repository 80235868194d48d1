#include "vm_confinement.h"

#include <unistd.h>

#include <algorithm>

namespace bootseal::host {
namespace {

constexpr std::uint64_t kOpenFiles = 4096;
// Threads of one VM's uid: processors, I/O workers (64), VNC; far from what it takes to hurt the machine.
constexpr std::uint64_t kThreads = 1024;

bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder) {
  return path.native().starts_with(folder.native() + "/");
}

}  // namespace

Result<std::function<int()>> confine_in_home(const Paths& paths, uid_t uid, std::optional<gid_t> kvm_group,
                                             const std::vector<sandbox::VisiblePath>& visible,
                                             std::uint64_t locked_memory_bytes, NetworkView network) {
  sandbox::VmProcess process;
  process.uid = uid;
  process.keeps_network = network == NetworkView::host;
  process.kvm_group = kvm_group;
  process.open_files = kOpenFiles;
  process.locked_memory_bytes = locked_memory_bytes;
  // An ordinary user's other processes count against the same limit.
  process.processes = ::geteuid() == 0 ? kThreads : 0;
  const std::filesystem::path home = paths.home.lexically_normal();
  const std::filesystem::path run = paths.run.lexically_normal();
  process.hidden = {home};
  if (!lies_in(run, home)) process.hidden.push_back(run);
  for (const sandbox::VisiblePath& entry : visible) {
    const std::filesystem::path path = entry.path.lexically_normal();
    if (std::ranges::any_of(process.hidden, [&](const auto& folder) { return lies_in(path, folder); }))
      process.visible.push_back({path, entry.read_only});
  }
  return sandbox::confine_vm_process(process);
}

}  // namespace bootseal::host

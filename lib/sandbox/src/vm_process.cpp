#include "bootseal/sandbox/vm_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "rights.h"

namespace bootseal::sandbox {
namespace {

// From <linux/mount.h> and <fcntl.h>; glibc 2.36 declares some of them in one header and some in the other.
constexpr unsigned kOpenTreeClone = 1;
constexpr unsigned kAtRecursive = 0x8000;
constexpr unsigned kMoveMountFromEmptyPath = 4;

struct VisiblePlan {
  std::string path;
  std::vector<std::string> folders;  // to be made in the covering tmpfs, outermost first
  bool is_folder = true;
  bool read_only = false;
};

// Everything as C strings and numbers, made before the fork.
struct Plan {
  bool root = false;
  bool keeps_network = false;
  uid_t uid = 0;
  gid_t gid = 0;
  gid_t kvm_group = 0;
  bool has_kvm_group = false;
  std::string uid_map, gid_map;
  std::vector<std::string> hidden;
  std::vector<VisiblePlan> visible;
  rlim_t open_files = 0, locked_memory = 0, processes = 0;
};

// Visible paths beyond this number would need memory in the child.
constexpr std::size_t kMaximumVisible = 16;

int write_text(const char* path, const char* text, std::size_t size) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const ssize_t done = ::write(fd, text, size);
  const int problem = done == static_cast<ssize_t>(size) ? 0 : (done < 0 ? errno : EIO);
  ::close(fd);
  return problem;
}

int enter_namespaces(const Plan& plan) {
  const int own = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (plan.keeps_network ? 0 : CLONE_NEWNET);
  if (plan.root) {
    if (::unshare(own) != 0) return errno;
  } else {
    // The maps lie in /proc/self, which belongs to root while the process is not dumpable (as hostd is).
    if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return errno;
    if (::unshare(CLONE_NEWUSER | own) != 0) return errno;
    if (const int problem = write_text("/proc/self/setgroups", "deny", 4); problem != 0) return problem;
    if (const int problem = write_text("/proc/self/uid_map", plan.uid_map.data(), plan.uid_map.size());
        problem != 0)
      return problem;
    if (const int problem = write_text("/proc/self/gid_map", plan.gid_map.data(), plan.gid_map.size());
        problem != 0)
      return problem;
  }
  return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 ? 0 : errno;
}

int make_read_only(const char* path) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  return ::syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attributes, sizeof(attributes)) == 0 ? 0 : errno;
}

int attach(const VisiblePlan& visible, int tree) {
  for (const std::string& folder : visible.folders) {
    if (::mkdir(folder.c_str(), 0711) != 0 && errno != EEXIST) return errno;
  }
  if (visible.is_folder) {
    if (::mkdir(visible.path.c_str(), 0711) != 0 && errno != EEXIST) return errno;
  } else {
    const int fd = ::open(visible.path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return errno;
    ::close(fd);
  }
  if (::syscall(SYS_move_mount, tree, "", AT_FDCWD, visible.path.c_str(), kMoveMountFromEmptyPath) != 0)
    return errno;
  return visible.read_only ? make_read_only(visible.path.c_str()) : 0;
}

int hide_folders(const Plan& plan) {
  std::array<int, kMaximumVisible> trees{};
  for (std::size_t i = 0; i < plan.visible.size(); ++i) {
    trees[i] = static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, plan.visible[i].path.c_str(),
                                          kOpenTreeClone | O_CLOEXEC | kAtRecursive));
    if (trees[i] < 0) return errno;
  }
  for (const std::string& folder : plan.hidden) {
    // What is not there needs no hiding.
    if (::mount("tmpfs", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0711,size=64k") !=
            0 &&
        errno != ENOENT)
      return errno;
  }
  for (std::size_t i = 0; i < plan.visible.size(); ++i) {
    if (const int problem = attach(plan.visible[i], trees[i]); problem != 0) return problem;
    ::close(trees[i]);
  }
  for (const std::string& folder : plan.hidden) {
    if (const int problem = make_read_only(folder.c_str()); problem != 0 && problem != ENOENT) return problem;
  }
  return 0;
}

// Lowers a limit; never asks for more than there is.
int limit(int resource, rlim_t wanted) {
  rlimit now{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &now) != 0) return errno;
  const rlim_t value = std::min(wanted, now.rlim_max);
  const rlimit next{value, value};
  return ::setrlimit(static_cast<__rlimit_resource_t>(resource), &next) == 0 ? 0 : errno;
}

int set_limits(const Plan& plan) {
  if (const int problem = limit(RLIMIT_CORE, 0); problem != 0) return problem;
  if (const int problem = limit(RLIMIT_NOFILE, plan.open_files); problem != 0) return problem;
  if (const int problem = limit(RLIMIT_MEMLOCK, plan.locked_memory); problem != 0) return problem;
  return plan.processes != 0 ? limit(RLIMIT_NPROC, plan.processes) : 0;
}

int confine(const Plan& plan) {
  ::umask(022);  // for the folders of the mount view
  if (const int problem = enter_namespaces(plan); problem != 0) return problem;
  if (const int problem = hide_folders(plan); problem != 0) return problem;
  if (const int problem = set_limits(plan); problem != 0) return problem;
  if (const int problem = internal::drop_bounding_set(0); problem != 0) return problem;
  if (plan.root) {
    if (const int problem = internal::become(plan.uid, plan.gid, &plan.kvm_group, plan.has_kvm_group ? 1 : 0);
        problem != 0)
      return problem;
  }
  if (const int problem = internal::set_capabilities(0); problem != 0) return problem;
  ::umask(077);
  return internal::forbid_new_privileges();
}

Result<VisiblePlan> plan_visible(const VisiblePath& visible, const std::vector<std::string>& hidden) {
  VisiblePlan plan{visible.path.native(), {}, true, visible.read_only};
  struct stat status {};
  if (::stat(plan.path.c_str(), &status) != 0)
    return fail_errno(errno, fmt::format("looking at {}", plan.path));
  plan.is_folder = S_ISDIR(status.st_mode);
  const auto cover = std::ranges::find_if(
      hidden, [&](const std::string& folder) { return plan.path.starts_with(folder + "/"); });
  if (cover == hidden.end()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is to stay visible but lies in no hidden folder", plan.path));
  }
  for (std::size_t slash = plan.path.find('/', cover->size() + 1); slash != std::string::npos;
       slash = plan.path.find('/', slash + 1)) {
    plan.folders.push_back(plan.path.substr(0, slash));
  }
  return plan;
}

}  // namespace

Result<std::function<int()>> confine_vm_process(const VmProcess& process) {
  auto plan = std::make_shared<Plan>();
  plan->root = ::geteuid() == 0;
  plan->keeps_network = process.keeps_network;
  plan->uid = plan->root ? process.uid : ::geteuid();
  plan->gid = plan->root ? static_cast<gid_t>(process.uid) : ::getegid();
  if (plan->root && process.uid == 0)
    return fail(ErrorCode::invalid_argument,
                "a VM process of a root installation needs a uid of its own, 0 was given");
  plan->uid_map = fmt::format("{0} {0} 1\n", plan->uid);
  plan->gid_map = fmt::format("{0} {0} 1\n", plan->gid);
  plan->has_kvm_group = process.kvm_group.has_value();
  plan->kvm_group = process.kvm_group.value_or(0);
  plan->open_files = process.open_files;
  plan->locked_memory = process.locked_memory_bytes;
  plan->processes = process.processes;
  for (const std::filesystem::path& folder : process.hidden) {
    if (!folder.is_absolute())
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the hidden folder '{}' is not an absolute path", folder.native()));
    plan->hidden.push_back(folder.lexically_normal().native());
  }
  if (process.visible.size() > kMaximumVisible) {
    return fail(ErrorCode::invalid_argument, fmt::format("{} visible paths, at most {} are possible",
                                                         process.visible.size(), kMaximumVisible));
  }
  for (const VisiblePath& visible : process.visible) {
    if (!visible.path.is_absolute())
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the visible path '{}' is not absolute", visible.path.native()));
    BOOTSEAL_TRY(VisiblePlan next,
                 plan_visible({visible.path.lexically_normal(), visible.read_only}, plan->hidden));
    plan->visible.push_back(std::move(next));
  }
  return std::function<int()>([plan]() { return confine(*plan); });
}

std::optional<gid_t> kvm_group() {
  struct stat status {};
  if (::stat("/dev/kvm", &status) != 0 || (status.st_mode & 0006) == 0006) return std::nullopt;
  return status.st_gid;
}

}  // namespace bootseal::sandbox

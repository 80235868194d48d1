#include "image_build_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <utility>

namespace bootseal::app {
namespace {

constexpr std::string_view kPrefix = ".image-build-";

// The lock of a folder; not valid when somebody else has it.
Result<UniqueFd> lock_folder(const std::filesystem::path& folder, int operation) {
  BOOTSEAL_TRY(UniqueFd fd, open_file(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  while (::flock(fd.get(), operation) != 0) {
    if (errno == EWOULDBLOCK) return UniqueFd();
    if (errno != EINTR) return fail_errno(errno, fmt::format("locking {}", folder.string()));
  }
  return fd;
}

void remove_left_behind(const std::filesystem::path& home) {
  std::error_code error;
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(home, error)) {
    if (entry.path().filename().string().starts_with(kPrefix)) found.push_back(entry.path());
  }
  for (const std::filesystem::path& folder : found) {
    const auto lock = lock_folder(folder, LOCK_EX | LOCK_NB);
    if (lock && lock->valid()) std::filesystem::remove_all(folder, error);
  }
}

}  // namespace

Result<BuildFolder> BuildFolder::create(const Paths& paths, const std::string& name,
                                        const std::string& version) {
  // Nobody else makes, locks or removes such a folder meanwhile.
  BOOTSEAL_TRY(const UniqueFd turn, lock_folder(paths.images(), LOCK_EX));
  remove_left_behind(paths.home);
  std::filesystem::path path = paths.home / fmt::format("{}{}-{}", kPrefix, name, version);
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
    const auto lock = lock_folder(path, LOCK_EX | LOCK_NB);
    if (lock && !lock->valid())
      return fail(ErrorCode::conflict,
                  fmt::format("another `bootseal image build` is making '{}:{}' now; wait for it, or give "
                              "another --version",
                              name, version));
    return fail(
        ErrorCode::io_error,
        fmt::format("{} was left by an earlier build and cannot be removed; remove it", path.string()));
  }
  BOOTSEAL_TRY_STATUS(make_folder(path, 0755));
  auto lock = lock_folder(path, LOCK_EX | LOCK_NB);
  if (!lock) {
    std::filesystem::remove(path, error);
    return tl::unexpected(lock.error());
  }
  return BuildFolder(std::move(path), std::move(*lock));
}

BuildFolder::BuildFolder(BuildFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}

BuildFolder::~BuildFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace bootseal::app

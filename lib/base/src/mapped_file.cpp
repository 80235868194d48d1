#include "bootseal/base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "bootseal/base/fds.h"

namespace bootseal {
namespace {

void unmap(ByteSpan view) {
  if (!view.empty()) ::munmap(const_cast<std::byte*>(view.data()), view.size());
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path, std::size_t maximum) {
  BOOTSEAL_TRY(const UniqueFd fd, open_file(path, O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(errno, fmt::format("looking at {}", path.string()));
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size > maximum) {
    return fail(ErrorCode::exhausted,
                fmt::format("{} has {} bytes, at most {} are read", path.string(), size, maximum));
  }
  if (size == 0) return MappedFile(ByteSpan{});
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (memory == MAP_FAILED) return fail_errno(errno, fmt::format("mapping {}", path.string()));
  return MappedFile({static_cast<const std::byte*>(memory), size});
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap(view_);
    view_ = std::exchange(other.view_, {});
  }
  return *this;
}

MappedFile::~MappedFile() {
  unmap(view_);
}

}  // namespace bootseal

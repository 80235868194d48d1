#include "bootseal/vmgs/device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace bootseal::vmgs {
namespace {

constexpr std::size_t kZeroChunk = 1U << 20;

}  // namespace

Result<std::unique_ptr<FileDevice>> FileDevice::open(UniqueFd fd, std::uint32_t sector_size) {
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  if (size < 0) return fail_errno(errno, "asking for the size of the guest state file");
  return std::unique_ptr<FileDevice>(
      new FileDevice(std::move(fd), static_cast<std::uint64_t>(size), sector_size));
}

Result<std::unique_ptr<FileDevice>> FileDevice::create(UniqueFd fd, std::uint64_t size,
                                                       std::uint32_t sector_size) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0)
    return fail_errno(errno, "asking for the size of the guest state file");
  if (!S_ISREG(status.st_mode))
    return fail(ErrorCode::invalid_argument, "the guest state file is not a regular file");
  if (status.st_size != 0) {
    return fail(
        ErrorCode::already_exists,
        fmt::format("the file holds {} bytes already; a new store goes into an empty file", status.st_size));
  }
  int error = EINTR;
  while (error == EINTR) error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(size));
  if (error != 0) return fail_errno(error, fmt::format("allocating {} bytes for the guest state file", size));
  // Written once, an extent is no longer "unwritten": later flushes need no journal commit of the file
  // system.
  const Bytes zeroes(kZeroChunk);
  for (std::uint64_t offset = 0; offset < size; offset += kZeroChunk) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kZeroChunk, size - offset));
    BOOTSEAL_TRY_STATUS(write_all_at(fd.get(), ByteSpan(zeroes).first(count), offset));
  }
  if (::fsync(fd.get()) != 0) return fail_errno(errno, "flushing the new guest state file");
  return std::unique_ptr<FileDevice>(new FileDevice(std::move(fd), size, sector_size));
}

Status FileDevice::read(std::uint64_t offset, MutableByteSpan data) {
  return read_exactly_at(fd_.get(), data, offset);
}

Status FileDevice::write(std::uint64_t offset, ByteSpan data) {
  BOOTSEAL_CHECK(offset % sector_size_ == 0 && data.size() % sector_size_ == 0 &&
                 offset + data.size() <= size_);
  return write_all_at(fd_.get(), data, offset);
}

Status FileDevice::flush() {
  if (::fdatasync(fd_.get()) != 0) return fail_errno(errno, "flushing the guest state file");
  return {};
}

void MemoryDevice::start_recording() {
  recording_ = true;
  operations_.clear();
}

Status MemoryDevice::read(std::uint64_t offset, MutableByteSpan data) {
  if (offset > content_.size() || data.size() > content_.size() - offset) {
    return fail(ErrorCode::corrupt, fmt::format("{} bytes at offset {} were wanted of a device of {}",
                                                data.size(), offset, content_.size()));
  }
  std::copy_n(content_.begin() + static_cast<std::ptrdiff_t>(offset), data.size(), data.begin());
  return {};
}

Status MemoryDevice::write(std::uint64_t offset, ByteSpan data) {
  BOOTSEAL_CHECK(offset % sector_size_ == 0 && data.size() % sector_size_ == 0 &&
                 offset + data.size() <= content_.size());
  std::copy(data.begin(), data.end(), content_.begin() + static_cast<std::ptrdiff_t>(offset));
  if (recording_) operations_.push_back({.offset = offset, .data = to_bytes(data)});
  return {};
}

Status MemoryDevice::flush() {
  if (recording_) operations_.push_back({.flush = true});
  return {};
}

}  // namespace bootseal::vmgs

// What a guest state store lies on: a run of sectors that can be read, written and flushed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bootseal/base/fds.h"

namespace bootseal::vmgs {

inline constexpr std::uint32_t kSmallSectorSize = 512;
inline constexpr std::uint32_t kLargeSectorSize = 4096;

// Offsets and sizes are bytes. Writes begin and end at sector borders; a write that returned is on stable
// storage only after the next flush() that returned. Nothing is promised about the order in which unflushed
// sectors arrive. Thread compatible.
class Device {
 public:
  virtual ~Device() = default;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  [[nodiscard]] virtual std::uint32_t sector_size() const = 0;
  // Fills `data`. Errors: corrupt when the device ends before, io_error.
  virtual Status read(std::uint64_t offset, MutableByteSpan data) = 0;
  // Errors: io_error, exhausted (no space on the file system below).
  virtual Status write(std::uint64_t offset, ByteSpan data) = 0;
  // Errors: io_error; what was written since the last flush is then in doubt.
  virtual Status flush() = 0;
};

// A regular file or a block device, with 512-byte sectors unless told otherwise.
class FileDevice final : public Device {
 public:
  // Takes the descriptor (open for reading, and for writing when the store is to be changed). Errors:
  // io_error.
  static Result<std::unique_ptr<FileDevice>> open(UniqueFd fd, std::uint32_t sector_size = kSmallSectorSize);
  // Gives the empty regular file `size` bytes whose disk blocks are allocated and written with zeroes, so
  // that a later write needs no space and no change of the file system's own records. Errors: already_exists
  // when the file is not empty, exhausted, io_error.
  static Result<std::unique_ptr<FileDevice>> create(UniqueFd fd, std::uint64_t size,
                                                    std::uint32_t sector_size = kSmallSectorSize);

  [[nodiscard]] int descriptor() const { return fd_.get(); }
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  [[nodiscard]] std::uint32_t sector_size() const override { return sector_size_; }
  Status read(std::uint64_t offset, MutableByteSpan data) override;
  Status write(std::uint64_t offset, ByteSpan data) override;
  Status flush() override;

 private:
  FileDevice(UniqueFd fd, std::uint64_t size, std::uint32_t sector_size)
      : fd_(std::move(fd)), size_(size), sector_size_(sector_size) {}

  UniqueFd fd_;
  std::uint64_t size_;
  std::uint32_t sector_size_;
};

// Bytes in memory. Remembers every write and flush since start_recording(), so that a test can build each
// state that a crash may leave.
class MemoryDevice final : public Device {
 public:
  struct Operation {
    std::uint64_t offset = 0;
    Bytes data;          // empty for a flush
    bool flush = false;  // a flush that returned
  };

  explicit MemoryDevice(Bytes content, std::uint32_t sector_size = kSmallSectorSize)
      : content_(std::move(content)), sector_size_(sector_size) {}

  [[nodiscard]] const Bytes& content() const { return content_; }
  [[nodiscard]] const std::vector<Operation>& operations() const { return operations_; }
  void start_recording();

  [[nodiscard]] std::uint64_t size() const override { return content_.size(); }
  [[nodiscard]] std::uint32_t sector_size() const override { return sector_size_; }
  Status read(std::uint64_t offset, MutableByteSpan data) override;
  Status write(std::uint64_t offset, ByteSpan data) override;
  Status flush() override;

 private:
  Bytes content_;
  std::uint32_t sector_size_;
  bool recording_ = false;
  std::vector<Operation> operations_;
};

}  // namespace bootseal::vmgs

// Devices and stores for the tests.
#pragma once

#include <map>

#include "bootseal/crypto/secret.h"
#include "bootseal/vmgs/store.h"

namespace bootseal::vmgs::test {

// Passes everything on to a device that the test keeps, and fails the operation it is told to.
class BorrowedDevice final : public Device {
 public:
  explicit BorrowedDevice(Device& device) : device_(&device) {}

  // The write or flush after `count` more of them, and all later ones, fail with `code`.
  void fail_after(std::size_t count, ErrorCode code) {
    remaining_ = count;
    code_ = code;
  }

  [[nodiscard]] std::uint64_t size() const override { return device_->size(); }
  [[nodiscard]] std::uint32_t sector_size() const override { return device_->sector_size(); }
  Status read(std::uint64_t offset, MutableByteSpan data) override { return device_->read(offset, data); }
  Status write(std::uint64_t offset, ByteSpan data) override;
  Status flush() override;

 private:
  Status count_down();

  Device* device_;
  std::optional<std::size_t> remaining_;
  ErrorCode code_ = ErrorCode::io_error;
};

using Content = std::map<FileId, Bytes>;

inline constexpr std::uint64_t kTestBlocks = 24;

// 00 01 … 1f and 80 81 … 9f, as in the sample stores.
Bytes key1();
Bytes key2();
// Reproducible bytes that do not repeat soon.
Bytes pattern(std::size_t size, unsigned seed);
// A device of zeroes for a fixed-VHD store of so many blocks.
MemoryDevice blank_device(std::uint64_t blocks = kTestBlocks);

// Stores that live on a device which the test keeps; they fail the test when they cannot be had.
Store format_on(Device& device);
Store open_on(Device& device, std::optional<ByteSpan> key = std::nullopt);
Result<Store> try_open_on(Device& device, std::optional<ByteSpan> key = std::nullopt);
// All files of a store.
Result<Content> content_of(Store& store);

// The sample store of this name, unpacked from tests/data.
Bytes sample(const std::string& name);

}  // namespace bootseal::vmgs::test

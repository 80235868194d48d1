// Devices over a device that somebody else owns.
#pragma once

#include "bootseal/vmgs/device.h"

namespace bootseal::vmgs {

// Passes everything on. The device must outlive it.
class DeviceView final : public Device {
 public:
  explicit DeviceView(Device& device) : device_(&device) {}
  [[nodiscard]] std::uint64_t size() const override { return device_->size(); }
  [[nodiscard]] std::uint32_t sector_size() const override { return device_->sector_size(); }
  Status read(std::uint64_t offset, MutableByteSpan data) override { return device_->read(offset, data); }
  Status write(std::uint64_t offset, ByteSpan data) override { return device_->write(offset, data); }
  Status flush() override { return device_->flush(); }

 private:
  Device* device_;
};

// What a device would be after writes that do not reach it; keeps them in order, so that they can be made
// there later. May be larger than the device: what is behind its end is zero.
class OverlayDevice final : public Device {
 public:
  OverlayDevice(Device& device, std::uint64_t size) : device_(&device), size_(size) {}

  [[nodiscard]] const std::vector<MemoryDevice::Operation>& operations() const { return operations_; }
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  [[nodiscard]] std::uint32_t sector_size() const override { return device_->sector_size(); }
  Status read(std::uint64_t offset, MutableByteSpan data) override;
  Status write(std::uint64_t offset, ByteSpan data) override;
  Status flush() override;

 private:
  Device* device_;
  std::uint64_t size_;
  std::vector<MemoryDevice::Operation> operations_;
};

}  // namespace bootseal::vmgs

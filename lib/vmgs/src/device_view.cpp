#include "device_view.h"

#include <fmt/format.h>

#include <algorithm>

namespace bootseal::vmgs {

Status OverlayDevice::read(std::uint64_t offset, MutableByteSpan data) {
  if (offset > size_ || data.size() > size_ - offset) {
    return fail(ErrorCode::corrupt, fmt::format("{} bytes at offset {} were wanted of a device of {}",
                                                data.size(), offset, size_));
  }
  const std::uint64_t below =
      offset < device_->size() ? std::min<std::uint64_t>(data.size(), device_->size() - offset) : 0;
  std::fill(data.begin() + static_cast<std::ptrdiff_t>(below), data.end(), std::byte{0});
  if (below > 0) BOOTSEAL_TRY_STATUS(device_->read(offset, data.first(static_cast<std::size_t>(below))));
  const std::uint64_t end = offset + data.size();
  for (const auto& operation : operations_) {
    const std::uint64_t from = std::max(offset, operation.offset);
    const std::uint64_t to = std::min(end, operation.offset + operation.data.size());
    if (from >= to) continue;
    std::copy(operation.data.begin() + static_cast<std::ptrdiff_t>(from - operation.offset),
              operation.data.begin() + static_cast<std::ptrdiff_t>(to - operation.offset),
              data.begin() + static_cast<std::ptrdiff_t>(from - offset));
  }
  return {};
}

Status OverlayDevice::write(std::uint64_t offset, ByteSpan data) {
  BOOTSEAL_CHECK(offset % sector_size() == 0 && data.size() % sector_size() == 0 &&
                 offset + data.size() <= size_);
  operations_.push_back({.offset = offset, .data = to_bytes(data)});
  return {};
}

Status OverlayDevice::flush() {
  operations_.push_back({.flush = true});
  return {};
}

}  // namespace bootseal::vmgs

#include "variable_flash.h"

#include <fmt/format.h>

#include <algorithm>

namespace bootseal::guest {
namespace {

// Layout of the 4M build's variable flash (OvmfPkg/VarStore.fdf.inc).
constexpr std::size_t kVariablesEnd = 0x40000;
constexpr std::size_t kWorkingBlock = 0x41000;
constexpr std::size_t kWorkingBlockEnd = 0x42000;

// AUTHENTICATED_VARIABLE_HEADER: StartId u16, then State. Records are aligned to 4 bytes.
constexpr std::size_t kRecordAlignment = 4;
constexpr std::size_t kStateOffset = 2;
constexpr std::byte kStartIdLow{0xAA};
constexpr std::byte kStartIdHigh{0x55};
constexpr std::byte kAdded{0x3F};
constexpr std::byte kDeletedBit{0x02};  // cleared when a record is deleted

}  // namespace

Result<VariableFlash> VariableFlash::load(StateKeeper& keeper) {
  BOOTSEAL_TRY(std::optional<Bytes> image, keeper.read(Blob::uefi_flash));
  if (!image) {
    return fail(
        ErrorCode::guest_state_missing,
        "the guest state holds no UEFI variables; it was not manufactured to the end. Delete the VM and "
        "create it again");
  }
  if (image->size() != kVariableFlashSize) {
    return fail(ErrorCode::guest_state_damaged,
                fmt::format("the UEFI variables in the guest state have {} bytes, {} are expected",
                            image->size(), kVariableFlashSize));
  }
  return VariableFlash(keeper, *std::move(image));
}

ByteSpan VariableFlash::read(std::size_t offset, std::size_t size) const {
  return ByteSpan(image_).subspan(offset, size);
}

Status VariableFlash::write(std::size_t offset, ByteSpan data, Time now) {
  BOOTSEAL_CHECK(offset <= image_.size() && data.size() <= image_.size() - offset);
  if (const auto& failure = keeper_->failure()) return tl::unexpected(*failure);
  const auto place = image_.begin() + static_cast<std::ptrdiff_t>(offset);
  if (std::equal(data.begin(), data.end(), place)) return {};
  const bool commit_now = takes_effect(offset, data);
  std::copy(data.begin(), data.end(), place);
  if (!first_uncommitted_) first_uncommitted_ = now;
  return commit_now ? flush() : Status{};
}

Status VariableFlash::flush() {
  if (!first_uncommitted_) return {};
  BOOTSEAL_TRY_STATUS(keeper_->commit(Blob::uefi_flash, image_));
  first_uncommitted_.reset();
  return {};
}

std::optional<VariableFlash::Time> VariableFlash::deadline() const {
  if (!first_uncommitted_ || keeper_->failure()) return std::nullopt;
  return *first_uncommitted_ + kCommitDelay;
}

// Whether some byte that changes is the State of a record that becomes live or deleted, or lies in the
// working block. Where records begin is not followed: a place that looks like a record and is none costs a
// commit and nothing else.
bool VariableFlash::takes_effect(std::size_t offset, ByteSpan data) const {
  const auto after = [&](std::size_t at) {
    return at >= offset && at - offset < data.size() ? data[at - offset] : image_[at];
  };
  const std::size_t end = offset + data.size();
  for (std::size_t at = std::max(offset, kWorkingBlock); at < std::min(end, kWorkingBlockEnd); ++at) {
    if (image_[at] != after(at)) return true;
  }
  constexpr std::size_t kStep = kRecordAlignment;
  std::size_t at = std::max(offset, kStateOffset);
  at += (kStateOffset + kStep - at % kStep) % kStep;  // the first State place at or after `offset`
  for (; at < std::min(end, kVariablesEnd); at += kStep) {
    const std::byte state = after(at);
    if (state == image_[at] || after(at - 2) != kStartIdLow || after(at - 1) != kStartIdHigh) continue;
    const bool was_deleted = (image_[at] & kDeletedBit) == std::byte{0};
    const bool is_deleted = (state & kDeletedBit) == std::byte{0};
    if (state == kAdded || (is_deleted && !was_deleted)) return true;
  }
  return false;
}

}  // namespace bootseal::guest

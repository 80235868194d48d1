#include "allocator.h"

#include <fmt/format.h>

namespace bootseal::vmgs {

void Allocator::reserve(std::span<const Extent> extents) {
  used_.insert(used_.end(), extents.begin(), extents.end());
  std::sort(used_.begin(), used_.end(), [](const Extent& a, const Extent& b) { return a.block < b.block; });
}

std::vector<Extent> Allocator::gaps() const {
  std::vector<Extent> gaps;
  std::uint64_t free_from = kLowestBlock;
  for (const Extent& extent : used_) {
    if (extent.block > free_from) {
      const std::uint64_t end = std::min(extent.block, capacity_);
      if (end > free_from) gaps.push_back({free_from, end - free_from});
    }
    free_from = std::max(free_from, extent.block + extent.blocks);
  }
  if (free_from < capacity_) gaps.push_back({free_from, capacity_ - free_from});
  return gaps;
}

std::uint64_t Allocator::free_blocks() const {
  std::uint64_t total = 0;
  for (const Extent& gap : gaps()) total += gap.blocks;
  return total;
}

Result<std::uint32_t> Allocator::take(std::uint64_t count) {
  BOOTSEAL_CHECK(count > 0);
  const std::vector<Extent> free = gaps();
  const Extent* best = nullptr;
  for (const Extent& gap : free) {
    if (gap.blocks >= count && (best == nullptr || gap.blocks < best->blocks)) best = &gap;
  }
  if (best == nullptr) {
    return fail(
        ErrorCode::exhausted,
        fmt::format(
            "the guest state store has no {} free blocks in a row ({} are free in all, of 4096 bytes each); "
            "nothing was written",
            count, free_blocks()));
  }
  const Extent taken{best->block, count};
  reserve({&taken, 1});
  return static_cast<std::uint32_t>(taken.block);
}

}  // namespace bootseal::vmgs

// Which blocks are free: all those that no given extent covers.
#pragma once

#include "format.h"

namespace bootseal::vmgs {

class Allocator {
 public:
  // Blocks kLowestBlock to `capacity` - 1 are free.
  explicit Allocator(std::uint64_t capacity) : capacity_(capacity) {}

  // Marks extents as in use; they may overlap each other. Parts outside of the store are ignored.
  void reserve(std::span<const Extent> extents);
  // Takes `count` > 0 adjacent blocks from the smallest gap that is large enough, the lowest among equals.
  // exhausted when there is none.
  Result<std::uint32_t> take(std::uint64_t count);
  // The gaps, lowest first.
  [[nodiscard]] std::vector<Extent> gaps() const;
  [[nodiscard]] std::uint64_t free_blocks() const;

 private:
  std::uint64_t capacity_;
  std::vector<Extent> used_;  // sorted by block
};

}  // namespace bootseal::vmgs

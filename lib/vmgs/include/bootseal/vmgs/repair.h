// Making a damaged store one that opens again, without giving up anything that could be kept.
//
//   BOOTSEAL_TRY(const RepairPlan plan, RepairPlan::make(device, Container::fixed_vhd, key));
//   // show plan.steps() and plan.left_alone(), ask, keep a copy, make the file plan.device_size() long, then
//   BOOTSEAL_TRY_STATUS(plan.apply(device));
//
// The rules, in the order in which they are tried:
//   footer            written anew when it is wrong or missing
//   damaged header    restored when its checksum shows which one byte of it is wrong, or when the key proves
//   its generation
//                     whole (or, in a plain store that no header opens, when only its fixed fields or
//                     checksum are wrong); left alone when the key that could prove it was not given, or when
//                     its state may be newer and nothing proves it; otherwise replaced by one that leads to
//                     the state of the valid header
//   sequence numbers  that are apart: the older header gets the number before the newer one's
//   damaged table     the older generation is put in front of it when that one is whole; else the files that
//   lie
//                     nowhere are dropped from the table
//   all-zero metadata key   (with the key) everything sealed again
// No block of a generation is overwritten but by the last rule. A plan is tried out in memory before it is
// offered: a store that would not open after it is not touched.
#pragma once

#include "bootseal/vmgs/inspection.h"

namespace bootseal::vmgs {

class RepairPlan {
 public:
  // Reads the device and decides; writes nothing. Errors: as inspect(); permission_denied when the key
  // opens none of the valid headers.
  static Result<RepairPlan> make(Device& device, Container container,
                                 std::optional<ByteSpan> key = std::nullopt);

  // What apply() will do, in words; empty = there is nothing to do, or nothing can be done.
  [[nodiscard]] const std::vector<std::string>& steps() const { return steps_; }
  // What is wrong and stays as it is, each with the reason.
  [[nodiscard]] const std::vector<std::string>& left_alone() const { return left_alone_; }
  // Bytes the device must have before apply(); more than now when the footer is missing.
  [[nodiscard]] std::uint64_t device_size() const { return device_size_; }

  // Carries the steps out on the device that they were made for, unchanged since. After a crash at any point
  // the store is as it was or a further call of make() and apply() completes it. Errors: invalid_argument
  // (size), exhausted, io_error.
  Status apply(Device& device) const;

 private:
  RepairPlan() = default;

  std::vector<std::string> steps_;
  std::vector<std::string> left_alone_;
  std::uint64_t device_size_ = 0;
  std::vector<MemoryDevice::Operation> operations_;
};

}  // namespace bootseal::vmgs

// The state behind one header, opened by itself.
#pragma once

#include "bootseal/vmgs/inspection.h"
#include "core.h"

namespace bootseal::vmgs {

class Generation {
 public:
  // Reads the table that the header leads to. `device` must outlive the object. Errors: io_error; damage is
  // no error.
  static Result<Generation> open(Device& device, std::uint64_t body_size, const Header& header,
                                 unsigned slot);

  // What is wrong with the file table; empty = nothing.
  [[nodiscard]] const std::string& table_fault() const { return table_fault_; }
  // As Store::unlock.
  Status unlock(ByteSpan key) { return core_->unlock(key); }
  // Everything about it; the seals are checked when it is unlocked.
  [[nodiscard]] GenerationReport report() const;

 private:
  explicit Generation(std::unique_ptr<Store::Core> core) : core_(std::move(core)) {}
  [[nodiscard]] FileReport report_file(FileId id) const;

  std::unique_ptr<Store::Core> core_;
  std::string table_fault_;
};

}  // namespace bootseal::vmgs

// Finding out what is on a device: footer, the pair of headers, the file table. Reads only.
#pragma once

#include "format.h"

namespace bootseal::vmgs {

// What both headers of a store lead to.
struct Loaded {
  std::uint64_t body_size = 0;
  unsigned slot = 0;  // of the active header
  Header header;
  FileTable table;
  std::vector<Extent> extents;        // of the active state
  std::vector<Extent> other_extents;  // of the state behind the other header, which must survive too
  bool other_header_valid = false;
};

struct LoadFailure {
  std::optional<Condition> condition;  // nullopt: the device could not be read
  Error error;
};

tl::expected<Loaded, LoadFailure> load(Device& device, Container container);

// Both headers as they stand. Errors: as Device::read.
Result<std::array<Header, 2>> read_headers(Device& device);
// Which of the headers counts; the one that is valid, or of two the one with the other's sequence + 1.
tl::expected<unsigned, LoadFailure> choose_header(const std::array<Header, 2>& headers,
                                                  const std::array<std::optional<HeaderFault>, 2>& faults);
// The table at a block below the capacity. Errors: as Device::read.
Result<FileTable> read_table(Device& device, std::uint32_t block);

// The body size of a container on a device of this size, before anything is written. Errors:
// invalid_argument.
Result<std::uint64_t> planned_body_size(const Device& device, Container container);

}  // namespace bootseal::vmgs

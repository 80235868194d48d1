// Fixed VHDs: a disk as it is, then a footer of 512 bytes (Virtual Hard Disk Image Format Specification 1.0).
// Pure.
#pragma once

#include "bootseal/base/bytes.h"
#include "bootseal/base/clock.h"
#include "bootseal/base/ids.h"

namespace bootseal::host {

inline constexpr std::size_t kVhdFooterBytes = 512;

// The footer of a fixed VHD of `size` bytes.
Bytes make_vhd_footer(std::uint64_t size, const Guid& id, TimePoint time);

// Errors: invalid_argument when it is not that of a fixed VHD of `size` bytes, with what is wrong.
Status check_vhd_footer(ByteSpan footer, std::uint64_t size);

}  // namespace bootseal::host

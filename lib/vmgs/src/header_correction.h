// A header with one wrong byte, put right by its own checksum.
#pragma once

#include "format.h"

namespace bootseal::vmgs {

// The valid header that differs from this one in exactly one byte; nullopt when there is none, or more than
// one. A CRC-32 tells the 42,840 single-byte errors of 168 bytes apart, and takes other damage for one of
// them once in 100,000 cases.
std::optional<Header> corrected(const Header& header);

}  // namespace bootseal::vmgs

// What is checked of a disk before any VM gets it.
#pragma once

#include "bootseal/base/bytes.h"

namespace bootseal::gallery {

// The virtual size in bytes of a qcow2 image that stands by itself. `file` is the file or its first 512
// bytes. Errors: invalid_argument (no qcow2; a backing file or an external data file, which could name any
// file of the host; not closed properly), unsupported (unknown version, encrypted), corrupt (cut off).
// Source: QEMU docs/interop/qcow2.txt.
Result<std::uint64_t> check_qcow2(ByteSpan file);

}  // namespace bootseal::gallery

// The form in which TPM state travels in a migration stream: that of swtpm, so that either end may be swtpm
// (without migration key).
//
// Head, 10 bytes, big endian: version u8 (2), lowest version that can read it u8, head size u16, flags u16,
// total length u32. Then items {tag u16, length u32, data}: data (1), encrypted data (2), HMAC (3), migration
// data (4), encrypted migration data (5), IVs (6, 7). Migration data holds the items of the blob itself.
#pragma once

#include "bootseal/base/bytes.h"

namespace bootseal::guest {

// The largest blob that is taken from a peer. libtpms' permanent state has at most about 128 KiB.
inline constexpr std::size_t kMaxStateBlobSize = 512 << 10;

// The bare state inside the envelope of a migration.
Bytes wrap_state(ByteSpan state);

// The bare state; a view into `envelope`. Takes migration data and, as in swtpm's files, data without that
// layer. Errors: corrupt for a malformed envelope, unsupported for a newer version, permission_denied for an
// encrypted one (guestd has no migration key).
Result<ByteSpan> unwrap_state(ByteSpan envelope);

}  // namespace bootseal::guest

// The form in which TPM state travels in a migration stream and lies in swtpm's files: that of swtpm, so that
// either end may be swtpm.
//
// Head, 10 bytes, big endian: version u8 (2), lowest version that can read it u8, head size u16, flags u16,
// total length u32. Then items {tag u16, length u32, data}: data (1), encrypted data (2), HMAC (3), migration
// data (4), encrypted migration data (5), vectors of both (6, 7). Migration data holds the items of the blob
// itself; a file has these items at once.
#pragma once

#include "bootseal/base/bytes.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::guest {

// The largest blob that is taken from a peer. libtpms' permanent state has at most about 128 KiB.
inline constexpr std::size_t kMaxStateBlobSize = 512 << 10;

// swtpm's --key and --migration-key, of 16 or 32 bytes; nullptr = none given.
struct StateKeys {
  const crypto::Secret* file = nullptr;
  const crypto::Secret* migration = nullptr;
};

// The bare state inside the envelope of a migration, encrypted with each of the keys given.
Bytes wrap_state(ByteSpan state, const StateKeys& keys = {});

// The bare state; the caller wipes it. Takes migration data and, as in swtpm's files, data without that
// layer. Errors: corrupt for a malformed envelope, unsupported for a newer version, not_found when it is
// encrypted and that key was not given, invalid_argument when the key has the wrong length for it,
// permission_denied when the key does not open it.
Result<Bytes> unwrap_state(ByteSpan envelope, const StateKeys& keys = {});

// The bare state of one of swtpm's files: an envelope, or the form of its first releases, which had none.
// With a file key the content must be encrypted, without one it must not be, as swtpm itself reads it. Errors
// as unwrap_state.
Result<Bytes> unwrap_state_file(ByteSpan file, const crypto::Secret* key);

}  // namespace bootseal::guest

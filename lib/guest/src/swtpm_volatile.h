// The file of bootseal-swtpm's volatile state.
//
// "BSEALVOL", version u16 (1) and two zero bytes, VM id (16), SHA-256 of the permanent state (32), nonce
// (12), tag (16), then the state under AES-256-GCM with all before the nonce as associated data. Big endian.
#pragma once

#include "bootseal/base/ids.h"
#include "bootseal/crypto/digest.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::guest {

inline constexpr std::size_t kMaximumVolatileFile = std::size_t{1} << 20;

struct VolatileOwner {
  VmId vm;
  crypto::Sha256Digest permanent;
};

struct OpenedVolatile {
  VolatileOwner owner;
  Bytes state;
};

Bytes seal_volatile(const crypto::Secret& key, const VolatileOwner& owner, ByteSpan state);
// Errors: corrupt for a file of another form or one that does not authenticate, unsupported for a newer
// version.
Result<OpenedVolatile> open_volatile(const crypto::Secret& key, ByteSpan file);

}  // namespace bootseal::guest

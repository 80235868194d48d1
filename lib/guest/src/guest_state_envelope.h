// The 40 bytes that stand, sealed with it, before each blob of the guest state (docs/guest-state.md, "The
// envelope").
#pragma once

#include "bootseal/guest/guest_state.h"

namespace bootseal::guest {

inline constexpr std::size_t kEnvelopeSize = 40;

// What a private file of the store holds; the numbers are on disk. All but 4 are those of Blob.
enum class BlobKind : std::uint8_t {
  tpm_permanent = 1,
  uefi_flash = 2,
  description = 3,
  generation = 4,
  tpm12_permanent = 5,
  tpm12_saved_state = 6
};

struct BlobEnvelope {
  BlobKind kind{};
  VmId vm;
  Generation generation;
};

struct OpenedEnvelope {
  BlobEnvelope envelope;
  ByteSpan payload;  // inside the bytes that were parsed
};

// Envelope and payload as one run of bytes.
Bytes put_in_envelope(const BlobEnvelope& envelope, ByteSpan payload);
// Errors: corrupt (magic, kind, reserved byte, generation 0, length), unsupported (a format version of a
// later Bootseal).
Result<OpenedEnvelope> open_envelope(ByteSpan bytes);

}  // namespace bootseal::guest

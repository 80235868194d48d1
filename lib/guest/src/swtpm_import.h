// Reading what swtpm left on disk. Pure: bytes in, bytes out.
#pragma once

#include <optional>

#include "bootseal/crypto/secret.h"

namespace bootseal::guest {

struct SwtpmFiles {
  Bytes permanent;  // as swtpm stored them: in its envelope
  std::optional<Bytes> volatile_state;
  std::optional<Bytes> saved_state;  // of a TPM 1.2
};

// The states in swtpm's linear file (--tpmstate backend-uri=file://…): a head of magic "nilmptws" (u64 little
// endian of the text backwards), version u8 (1), padding u8, head size u16, then {offset, data length,
// section length} u32 each for permanent, volatile and saved state. Errors: corrupt, unsupported (version),
// not_found when it holds no permanent state.
Result<SwtpmFiles> read_linear_file(ByteSpan file);

struct BareStates {
  Bytes permanent;
  Bytes volatile_state;  // empty: none
  Bytes saved_state;     // likewise
};
// Takes all out of their envelopes. Errors as unwrap_state_file (state_envelope.h).
Result<BareStates> unwrap_files(const SwtpmFiles& files, const crypto::Secret* key);

}  // namespace bootseal::guest

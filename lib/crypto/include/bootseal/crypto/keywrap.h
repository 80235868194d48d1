// Keys sealed under other keys: AES-256-GCM with a random nonce, and associated data that says what is
// wrapped, so that a wrapped key never opens in another key's place.
#pragma once

#include <string_view>

#include "bootseal/crypto/secret.h"

namespace bootseal::crypto {

// version u8 = 1 ‖ nonce[12] ‖ ciphertext ‖ tag[16]. `wrapping_key` has 32 bytes; `label` names what is
// wrapped, for whom and for what
// ("guest-state-key/VMID").
Bytes wrap_key(const Secret& wrapping_key, const Secret& key, std::string_view label);
// corrupt when the bytes are no wrapped key, were changed, or were wrapped under another key or label.
Result<Secret> unwrap_key(const Secret& wrapping_key, ByteSpan wrapped, std::string_view label);

}  // namespace bootseal::crypto

// Credential activation, the verifier's side (TPM2_MakeCredential in software): only the TPM that holds both
// the EK and the key of that name gets the secret back. TCG TPM 2.0 Library, Part 1, 24.
#pragma once

#include "bootseal/tpm/public_key.h"

namespace bootseal::tpm {

struct Credential {
  Bytes blob;              // content of TPM2B_ID_OBJECT
  Bytes encrypted_secret;  // content of TPM2B_ENCRYPTED_SECRET
};

// `endorsement_key` is the TPMT_PUBLIC of a storage key (RSA or ECC, AES-128-CFB), `name` the name of the key
// to be activated, `secret` 1 to 32 bytes. invalid_argument when one of them does not fit; errors of
// parse_public().
Result<Credential> make_credential(ByteSpan endorsement_key, ByteSpan name, ByteSpan secret);

}  // namespace bootseal::tpm

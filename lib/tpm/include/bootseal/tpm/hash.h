// The TPM's hash algorithms as OpenSSL computes them.
#pragma once

#include "bootseal/crypto/digest.h"
#include "bootseal/tpm/wire.h"

namespace bootseal::tpm {

crypto::HashAlgorithm hash_of(Algorithm algorithm);

}  // namespace bootseal::tpm

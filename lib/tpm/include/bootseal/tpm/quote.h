// Quotes: parsing TPMS_ATTEST and TPMT_SIGNATURE, and verifying them. TCG TPM 2.0 Library, Part 2, 10.12
// and 11.3.
//
//   BOOTSEAL_TRY(const crypto::PublicKey key, certificate.public_key());
//   BOOTSEAL_TRY(const tpm::Attestation quote, tpm::verify_quote(attest, signature, key, nonce,
//   {Algorithm::sha256, mask})); BOOTSEAL_TRY_STATUS(tpm::check_pcr_values(quote, values));
#pragma once

#include <vector>

#include "bootseal/crypto/key.h"
#include "bootseal/tpm/client.h"
#include "bootseal/tpm/wire.h"

namespace bootseal::tpm {

// TPMS_ATTEST of type TPM_ST_ATTEST_QUOTE.
struct Attestation {
  Bytes qualified_signer;
  Bytes nonce;                      // extraData
  std::uint64_t clock_ms = 0;       // time since the TPM was made or cleared, milliseconds of power
  std::uint32_t reset_count = 0;    // power-ons since TPM2_Clear; another value = another boot
  std::uint32_t restart_count = 0;  // resumes since the last reset
  bool safe = false;                // the clock has not gone back by a hard power cut
  std::uint64_t firmware_version = 0;
  std::vector<PcrSelection> selections;
  Bytes pcr_digest;
  Algorithm digest_algorithm = Algorithm::sha256;  // of pcr_digest = of the signature; set by verify_quote()
};

// corrupt for a bad magic, another type than a quote, anything cut off or behind the end.
Result<Attestation> parse_quote(ByteSpan attest);

struct Signature {
  std::uint16_t scheme = 0;  // kAlgRsaSsa, kAlgRsaPss or kAlgEcdsa
  Algorithm hash = Algorithm::sha256;
  Bytes rsa;   // RSA: the signature
  Bytes r, s;  // ECDSA: big endian
};

// TPMT_SIGNATURE, nothing behind it. corrupt; unsupported for other schemes and unknown hashes.
Result<Signature> parse_signature(ByteSpan signature);
Bytes marshal_signature(const Signature& signature);

// Everything that a quote can prove alone: the signature over `attest` is `key`'s (RSA from 2048 bits, P-256
// or P-384; hash SHA-256 or better), the nonce is exactly `nonce` (at least 16 bytes), and the selection is
// exactly `selection`. Errors: corrupt and unsupported as the parsers; permission_denied with the reason when
// a check fails; invalid_argument for a nonce that is too short to be fresh.
Result<Attestation> verify_quote(ByteSpan attest, ByteSpan signature, const crypto::PublicKey& key,
                                 ByteSpan nonce, PcrSelection selection);
// The signature alone.
Status verify_signature(ByteSpan attest, const Signature& signature, const crypto::PublicKey& key);

// pcrDigest is the hash of exactly these values (one for each selected PCR, any order). permission_denied
// when it is not, invalid_argument when values and selection do not match.
Status check_pcr_values(const Attestation& quote, const std::vector<PcrValue>& values);
// H(values in ascending order): pcrDigest of one selection.
Bytes pcr_digest(Algorithm hash, const std::vector<PcrValue>& values);

}  // namespace bootseal::tpm

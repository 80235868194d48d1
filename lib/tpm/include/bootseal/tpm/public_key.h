// TPMT_PUBLIC of asymmetric keys and their names. TCG TPM 2.0 Library, Part 1, 16; Part 2, 12.2.4.
#pragma once

#include "bootseal/crypto/key.h"
#include "bootseal/tpm/wire.h"

namespace bootseal::tpm {

struct PublicArea {
  std::uint16_t type = 0;  // kAlgRsa or kAlgEcc
  Algorithm name_algorithm = Algorithm::sha256;
  std::uint32_t attributes = 0;  // TPMA_OBJECT
  Bytes policy;
  std::uint16_t symmetric = kAlgNull;  // of a storage key; kAlgAes
  std::uint16_t symmetric_bits = 0;
  std::uint16_t scheme = kAlgNull;  // kAlgRsaSsa, kAlgEcdsa, …
  std::uint16_t scheme_hash = 0;    // TPM_ALG_ID; 0 = the scheme has none
  // RSA
  std::uint16_t key_bits = 0;
  std::uint32_t exponent = 0;  // 0 = 65537
  Bytes modulus;
  // ECC
  std::uint16_t curve = 0;
  Bytes x, y;

  [[nodiscard]] bool has(std::uint32_t wanted) const { return (attributes & wanted) == wanted; }
};

// The content of TPM2B_PUBLIC, nothing behind it. corrupt; unsupported for other types, algorithms and sizes
// than RSA 2048 to 4096 and ECC P-256 and P-384.
Result<PublicArea> parse_public(ByteSpan public_area);
Bytes marshal_public(const PublicArea& area);

// invalid_argument when the numbers are no key (a point off the curve, an even modulus).
Result<crypto::PublicKey> key_of(const PublicArea& area);
// parse_public() and key_of(), as SubjectPublicKeyInfo DER.
Result<Bytes> subject_public_key_info(ByteSpan public_area);
// The TPMT_PUBLIC an attestation key with this public key has: ak_template_* with the key in it.
Result<Bytes> attestation_public(const crypto::PublicKey& key);

// nameAlg ‖ H_nameAlg(TPMT_PUBLIC); corrupt when the name algorithm is not known.
Result<Bytes> object_name(ByteSpan public_area);

// Success when this is a key that only ever signs what its TPM made itself: restricted, sign, not decrypt,
// fixedTPM, fixedParent, sensitiveDataOrigin, RSASSA, RSAPSS or ECDSA with SHA-256 or better.
// permission_denied with what is missing.
Status check_attestation_key(const PublicArea& area);

}  // namespace bootseal::tpm

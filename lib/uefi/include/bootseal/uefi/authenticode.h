// Signatures of PE images, and what Secure Boot would say about an image before it is ever started.
#pragma once

#include <string>
#include <vector>

#include "bootseal/uefi/pe_image.h"
#include "bootseal/uefi/signature_list.h"

namespace bootseal::uefi {

struct ImageSignature {
  Bytes pkcs7;  // DER
  crypto::HashAlgorithm algorithm = crypto::HashAlgorithm::sha256;
  Bytes embedded_digest;        // what was signed
  bool digest_matches = false;  // equals the hash of the image: false means changed after signing
  std::string signer;           // common name of the signing certificate ("" when it is not embedded)
  std::string issuer;           // common name of its issuer
};

// Walks the certificate table (WIN_CERTIFICATE, 8-byte aligned; an image may carry several signatures).
// Entries that are no PKCS#7 are passed over, as firmware does. Errors: corrupt with the offset (more than 16
// signatures, one over 1 MiB, not parseable); unsupported for an unknown digest.
Result<std::vector<ImageSignature>> image_signatures(const PeImage& image);

enum class SecureBootVerdict : std::uint8_t {
  allowed_by_certificate,  // a signature chains to a db certificate
  allowed_by_hash,         // the image's hash is in db
  refused_hash_revoked,    // the image's hash is in dbx
  refused_signer_revoked,  // a signature chains to a dbx certificate (even when another signature is good)
  refused_changed,         // a signature chains to db, and the image was changed after signing
  refused_untrusted,       // signed by nobody in db
  refused_unsigned,        // no signature, and the hash is not in db
};

std::string_view secure_boot_verdict_name(SecureBootVerdict verdict);
inline bool is_allowed(SecureBootVerdict verdict) {
  return verdict <= SecureBootVerdict::allowed_by_hash;
}

struct SecureBootJudgement {
  SecureBootVerdict verdict = SecureBootVerdict::refused_unsigned;
  std::string certificate;  // common name of the db or dbx certificate that decided; "" otherwise
  std::string reason;       // one sentence for people
};

// What EDK2 decides (DxeImageVerificationLib): dbx before db, any signature may condemn, validity times and
// key usage do not count, intermediate certificates in db are anchors. Errors as image_signatures.
Result<SecureBootJudgement> judge_image(const PeImage& image, const SignatureDatabase& db,
                                        const SignatureDatabase& dbx);

// Common name of the subject of a certificate, up to 128 bytes, "" when it has none; corrupt when it cannot
// be parsed.
Result<std::string> certificate_common_name(ByteSpan der);

// What a shim trusts by itself: its .vendor_cert section (certificate or signature lists allowed and
// revoked).
struct VendorDatabases {
  SignatureDatabase db, dbx;
};
// not_found when the image has no such section; corrupt when it does not hold together.
Result<VendorDatabases> vendor_databases(const PeImage& shim);

}  // namespace bootseal::uefi

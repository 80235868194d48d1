// Asymmetric keys: ECDSA P-256 and P-384, RSA from 2048 bits. Keys are immutable, cheap to copy and safe to
// use from several threads.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "bootseal/crypto/digest.h"
#include "bootseal/crypto/secret.h"

namespace bootseal::crypto {

enum class KeyKind : std::uint8_t { ec_p256, ec_p384, rsa };

// "EC P-256", "EC P-384", "RSA".
std::string_view key_kind_name(KeyKind kind);

enum class SignatureScheme : std::uint8_t {
  ecdsa,      // signature = DER SEQUENCE {r, s}
  rsa_pkcs1,  // RSASSA-PKCS1-v1_5
  rsa_pss,  // RSASSA-PSS, MGF1 with the same hash; any salt length verifies, signing takes a salt as long as
            // the hash
};

namespace detail {
struct KeyObject;  // src/openssl.h
}

class PublicKey {
 public:
  // SubjectPublicKeyInfo, DER, nothing behind it. invalid_argument for anything else; unsupported for kinds
  // and sizes not named at the top of this file (RSA from 2048 to 8192 bits).
  static Result<PublicKey> from_der(ByteSpan subject_public_key_info);
  static Result<PublicKey> from_pem(std::string_view pem);
  // Big-endian modulus. Errors as from_der.
  static Result<PublicKey> from_rsa(ByteSpan modulus, std::uint32_t exponent);
  // Big-endian coordinates of a point; invalid_argument when it is not on the curve, or `curve` is no curve.
  static Result<PublicKey> from_point(KeyKind curve, ByteSpan x, ByteSpan y);

  [[nodiscard]] KeyKind kind() const;
  [[nodiscard]] unsigned bits() const;
  [[nodiscard]] Bytes der() const;
  [[nodiscard]] std::string pem() const;
  // The numbers that the key is made of, big endian. RSA: modulus and exponent, without leading zeros;
  // curves: x and y, as long as the field.
  [[nodiscard]] std::pair<Bytes, Bytes> numbers() const;
  // SHA-256 of der(): the name by which Bootseal knows a key.
  [[nodiscard]] Sha256Digest fingerprint() const { return sha256(der()); }
  // Success only when `signature` is this key's over `message`; permission_denied when it is not,
  // invalid_argument when the scheme does not fit the key.
  [[nodiscard]] Status verify(SignatureScheme scheme, HashAlgorithm hash, ByteSpan message,
                              ByteSpan signature) const;
  bool operator==(const PublicKey& other) const;

  explicit PublicKey(std::shared_ptr<const detail::KeyObject> object) : object_(std::move(object)) {}
  [[nodiscard]] const detail::KeyObject& object() const { return *object_; }

 private:
  std::shared_ptr<const detail::KeyObject> object_;
};

class PrivateKey {
 public:
  // RSA keys get 2048 bits and the exponent 65537.
  static Result<PrivateKey> generate(KeyKind kind);
  // PKCS#8, not encrypted. Errors as PublicKey::from_der.
  static Result<PrivateKey> from_der(ByteSpan pkcs8);
  static Result<PrivateKey> from_pem(std::string_view pem);

  [[nodiscard]] KeyKind kind() const { return public_key_.kind(); }
  [[nodiscard]] const PublicKey& public_key() const { return public_key_; }
  // PKCS#8 in the clear: for wrapping, or for a file that only its owner reads.
  [[nodiscard]] Secret der() const;
  [[nodiscard]] Secret pem() const;
  // invalid_argument when the scheme does not fit the key.
  [[nodiscard]] Result<Bytes> sign(SignatureScheme scheme, HashAlgorithm hash, ByteSpan message) const;

  explicit PrivateKey(std::shared_ptr<const detail::KeyObject> object)
      : object_(object), public_key_(std::move(object)) {}
  [[nodiscard]] const detail::KeyObject& object() const { return *object_; }

 private:
  std::shared_ptr<const detail::KeyObject> object_;
  PublicKey public_key_;
};

// r and s as big-endian numbers (TPMS_SIGNATURE_ECDSA, JWS; each at most 65535 bytes) to the DER form that
// verify() takes.
Bytes ecdsa_signature_from_numbers(ByteSpan r, ByteSpan s);
// The DER form to r ‖ s, each `size` bytes (JWS ES256: 32); corrupt when it is no such signature or a number
// is longer.
Result<Bytes> ecdsa_numbers_from_signature(ByteSpan der, std::size_t size);

}  // namespace bootseal::crypto

// Certificates, keys and signatures from guests and hosts: every reader works on whatever parses, and nothing
// ever chains to our CA.
#include "bootseal/crypto/x509.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::crypto;
  static const TimePoint now = *parse_time("2026-11-21T12:00:00Z");
  static const PrivateKey key = *PrivateKey::generate(KeyKind::ec_p256);
  static const Certificate root = *make_self_signed(key, site_ca_content("fuzz", now, std::chrono::days(10)));
  const ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  if (const auto certificate = Certificate::from_der(bytes)) {
    static_cast<void>(certificate->subject().size() + certificate->issuer_common_name().size() +
                      certificate->serial().size());
    static_cast<void>(certificate->alternative_names());
    static_cast<void>(certificate->extended_key_usages());
    static_cast<void>(certificate->key_usage());
    static_cast<void>(certificate->not_after() - certificate->not_before());
    if (const auto public_key = certificate->public_key())
      BOOTSEAL_CHECK(PublicKey::from_der(public_key->der()).has_value());
    BOOTSEAL_CHECK(!verify_chain(*certificate, {}, {root}, now, ""));
    BOOTSEAL_CHECK(Certificate::from_pem(certificate->pem()).has_value());
  }
  if (const auto public_key = PublicKey::from_der(bytes)) static_cast<void>(public_key->fingerprint());
  static_cast<void>(CertificateRequest::from_pem(as_text(bytes)));
  static_cast<void>(ecdsa_numbers_from_signature(bytes, 32));
  static_cast<void>(key.public_key().verify(SignatureScheme::ecdsa, HashAlgorithm::sha256, {}, bytes));
  return 0;
}

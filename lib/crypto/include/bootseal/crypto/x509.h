// X.509 certificates (RFC 5280): read, judge, and make.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/crypto/key.h"

namespace bootseal::crypto {

// Object identifiers of extended key usages and name attributes, in dotted form.
inline constexpr std::string_view kOidServerAuthentication = "1.3.6.1.5.5.7.3.1";
inline constexpr std::string_view kOidClientAuthentication = "1.3.6.1.5.5.7.3.2";
inline constexpr std::string_view kOidEkCertificate = "2.23.133.8.1";  // tcg-kp-EKCertificate
inline constexpr std::string_view kOidAkCertificate = "2.23.133.8.3";  // tcg-kp-AIKCertificate
inline constexpr std::string_view kOidTpmManufacturer = "2.23.133.2.1";
inline constexpr std::string_view kOidTpmModel = "2.23.133.2.2";
inline constexpr std::string_view kOidTpmVersion = "2.23.133.2.3";

struct NameAttribute {
  std::string type;  // "CN", "O", "serialNumber", or a dotted object identifier
  std::string value;
  bool operator==(const NameAttribute&) const = default;
};
using Name = std::vector<NameAttribute>;

struct AlternativeNames {
  std::vector<std::string> dns;
  std::vector<std::string> addresses;  // text of IPv4 or IPv6 addresses
  std::vector<std::string> uris;
  Name directory;  // the attributes of all directoryNames; types in dotted form
  [[nodiscard]] bool empty() const {
    return dns.empty() && addresses.empty() && uris.empty() && directory.empty();
  }
};

// Bits of KeyUsage.
inline constexpr unsigned kUsageDigitalSignature = 1U << 0, kUsageKeyEncipherment = 1U << 2,
                          kUsageKeyAgreement = 1U << 4, kUsageCertificateSign = 1U << 5,
                          kUsageCrlSign = 1U << 6;

namespace detail {
struct CertificateObject;
struct RequestObject;
}  // namespace detail

// Immutable, cheap to copy, safe to use from several threads.
class Certificate {
 public:
  // One certificate, at most 64 KiB, nothing behind it; invalid_argument otherwise. Malformed extensions are
  // invalid_argument too.
  static Result<Certificate> from_der(ByteSpan der);
  static Result<Certificate> from_pem(std::string_view pem);
  // All certificates of a PEM file (1 … 1024).
  static Result<std::vector<Certificate>> list_from_pem(std::string_view pem);

  [[nodiscard]] Bytes der() const;
  [[nodiscard]] std::string pem() const;
  [[nodiscard]] Sha256Digest sha256() const { return crypto::sha256(der()); }
  [[nodiscard]] std::string subject() const;  // RFC 2253 text, most specific first
  [[nodiscard]] std::string issuer() const;
  [[nodiscard]] std::string subject_common_name() const;  // empty when there is none
  [[nodiscard]] std::string issuer_common_name() const;
  [[nodiscard]] std::string serial() const;  // lower-case hex
  [[nodiscard]] TimePoint not_before() const;
  [[nodiscard]] TimePoint not_after() const;
  // Errors of PublicKey::from_der: not every certificate has a key of a kind that we use.
  [[nodiscard]] Result<PublicKey> public_key() const;
  [[nodiscard]] bool is_ca() const;
  [[nodiscard]] std::optional<unsigned> key_usage() const;             // nullopt: extension absent
  [[nodiscard]] std::vector<std::string> extended_key_usages() const;  // dotted
  [[nodiscard]] bool has_extended_key_usage(std::string_view oid) const;
  [[nodiscard]] AlternativeNames alternative_names() const;
  [[nodiscard]] bool alternative_names_critical() const;

  explicit Certificate(std::shared_ptr<const detail::CertificateObject> object)
      : object_(std::move(object)) {}
  [[nodiscard]] const detail::CertificateObject& object() const { return *object_; }

 private:
  std::shared_ptr<const detail::CertificateObject> object_;
};

// Success when `leaf` chains over `intermediates` to one of `roots` (self-signed, trusted), every signature,
// validity at `at`, constraint and critical extension is right, and `leaf` has the extended key usage
// `purpose` (empty = any). permission_denied with the reason otherwise.
Status verify_chain(const Certificate& leaf, const std::vector<Certificate>& intermediates,
                    const std::vector<Certificate>& roots, TimePoint at, std::string_view purpose);

// A PKCS#10 request whose own signature has been checked.
class CertificateRequest {
 public:
  static Result<CertificateRequest> from_pem(std::string_view pem);
  static Result<CertificateRequest> create(const PrivateKey& key, const Name& subject);
  [[nodiscard]] const PublicKey& public_key() const { return key_; }
  [[nodiscard]] const std::string& common_name() const { return common_name_; }  // empty when there is none
  [[nodiscard]] const std::string& pem() const { return pem_; }

 private:
  CertificateRequest(PublicKey key, std::string common_name, std::string pem)
      : key_(std::move(key)), common_name_(std::move(common_name)), pem_(std::move(pem)) {}
  PublicKey key_;
  std::string common_name_;
  std::string pem_;
};

// What a new certificate says. Serial number (128 random bits), SKI and AKI are added; the alternative names
// are critical when `subject` is empty (RFC 5280 4.2.1.6).
struct CertificateContent {
  Name subject;
  AlternativeNames alternative_names;
  TimePoint not_before;
  TimePoint not_after;
  bool ca = false;  // a CA certificate may sign leaves only (path length 0)
  unsigned key_usage = 0;
  std::vector<std::string> extended_key_usages;
};

// Errors of both: invalid_argument for names, addresses or times that cannot be written.
Result<Certificate> make_self_signed(const PrivateKey& key, const CertificateContent& content);
Result<Certificate> issue_certificate(const PrivateKey& ca_key, const Certificate& ca,
                                      const PublicKey& subject_key, const CertificateContent& content);

// The content of the certificates that Bootseal issues, valid from an hour before `now` (clocks differ) for
// `validity`.
CertificateContent site_ca_content(std::string_view common_name, TimePoint now, std::chrono::days validity);
CertificateContent tls_server_content(std::string_view common_name, const std::vector<std::string>& names,
                                      TimePoint now, std::chrono::days validity);
CertificateContent tls_client_content(std::string_view common_name, TimePoint now,
                                      std::chrono::days validity);
// TCG EK Credential Profile 2.5, 3.2; `kind` of the EK decides between keyEncipherment and keyAgreement. The
// VM's id is the serialNumber of the subject and the URI "urn:uuid:ID" among the alternative names.
CertificateContent tpm_ek_content(std::string_view vm_id, std::string_view vm_name, KeyKind kind,
                                  TimePoint now, std::chrono::days validity);
// The same names with the AK's usage (TCG infrastructure: tcg-kp-AIKCertificate).
CertificateContent tpm_ak_content(std::string_view vm_id, std::string_view vm_name, TimePoint now,
                                  std::chrono::days validity);

}  // namespace bootseal::crypto

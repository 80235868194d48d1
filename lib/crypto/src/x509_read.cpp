#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <climits>
#include <ctime>

#include "bootseal/crypto/x509.h"
#include "openssl.h"

namespace bootseal::crypto {
namespace {

constexpr std::size_t kMaximumCertificateSize = 64 << 10;
constexpr std::size_t kMaximumCertificates = 1024;

std::string name_text(const X509_NAME* name) {
  const Bio bio(BIO_new(BIO_s_mem()));
  BOOTSEAL_CHECK(bio != nullptr);
  if (X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) {
    ERR_clear_error();
    return "";
  }
  return std::string(as_text(memory_content(bio.get())));
}

// UTF-8; empty for a value that cannot be text or hides a NUL.
std::string string_text(const ASN1_STRING* value) {
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, value);
  if (size < 0) {
    ERR_clear_error();
    return "";
  }
  std::string result(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return result.find('\0') == std::string::npos ? result : "";
}

std::string common_name(const X509_NAME* name) {
  int index = -1;
  for (int next = X509_NAME_get_index_by_NID(name, NID_commonName, -1); next >= 0;
       next = X509_NAME_get_index_by_NID(name, NID_commonName, next)) {
    index = next;
  }
  return index < 0 ? "" : string_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
}

std::string oid_text(const ASN1_OBJECT* object) {
  char text[128];
  const int size = OBJ_obj2txt(text, sizeof(text), object, 1);
  return size > 0 && static_cast<std::size_t>(size) < sizeof(text)
             ? std::string(text, static_cast<std::size_t>(size))
             : "";
}

std::string address_text(const ASN1_OCTET_STRING* address) {
  char text[INET6_ADDRSTRLEN] = {};
  const int size = ASN1_STRING_length(address);
  if (size != 4 && size != 16) return "";
  ::inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), text, sizeof(text));
  return text;
}

std::optional<TimePoint> time_point(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    ERR_clear_error();
    return std::nullopt;
  }
  return TimePoint(std::chrono::seconds(::timegm(&parts)));
}

// OpenSSL reads extensions when they are first asked for; asking here makes the object immutable afterwards.
Result<Certificate> checked(X509* certificate) {
  Handle<X509, &X509_free> owned(certificate);
  X509_check_purpose(certificate, -1, 0);
  const bool malformed = (X509_get_extension_flags(certificate) & EXFLAG_INVALID) != 0;
  ERR_clear_error();
  if (malformed)
    return fail(ErrorCode::invalid_argument,
                "an extension of the certificate is malformed or stands there twice");
  if (!time_point(X509_get0_notBefore(certificate)) || !time_point(X509_get0_notAfter(certificate))) {
    return fail(ErrorCode::invalid_argument, "a validity time of the certificate is malformed");
  }
  return Certificate(
      std::make_shared<const detail::CertificateObject>(detail::CertificateObject{std::move(owned)}));
}

}  // namespace

Result<Certificate> Certificate::from_der(ByteSpan der) {
  if (der.size() > kMaximumCertificateSize)
    return fail(ErrorCode::invalid_argument, "a certificate of more than 64 KiB is not accepted");
  const unsigned char* position = raw(der);
  X509* certificate = d2i_X509(nullptr, &position, static_cast<long>(der.size()));
  if (certificate == nullptr)
    return openssl_failure(ErrorCode::invalid_argument, "the bytes are no X.509 certificate");
  BOOTSEAL_TRY(Certificate result, checked(certificate));
  if (position != raw(der) + der.size())
    return fail(ErrorCode::invalid_argument, "there are bytes behind the certificate");
  return result;
}

Result<Certificate> Certificate::from_pem(std::string_view pem) {
  BOOTSEAL_TRY(const std::vector<Certificate> certificates, list_from_pem(pem));
  if (certificates.size() != 1)
    return fail(ErrorCode::invalid_argument,
                fmt::format("one certificate was expected and the text holds {}", certificates.size()));
  return certificates.front();
}

Result<std::vector<Certificate>> Certificate::list_from_pem(std::string_view pem) {
  if (pem.size() > INT_MAX) return fail(ErrorCode::invalid_argument, "the text is too long for certificates");
  const Bio bio = memory_reader(as_bytes(pem));
  std::vector<Certificate> certificates;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    BOOTSEAL_TRY(Certificate next, checked(certificate));
    if (certificates.size() == kMaximumCertificates)
      return fail(ErrorCode::invalid_argument, "more than 1024 certificates are not accepted");
    certificates.push_back(std::move(next));
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!at_end || certificates.empty())
    return openssl_failure(ErrorCode::invalid_argument, "the text is no PEM certificate");
  ERR_clear_error();
  return certificates;
}

Bytes Certificate::der() const {
  return encode_der(&i2d_X509, object_->certificate.get());
}

std::string Certificate::pem() const {
  const Bio bio(BIO_new(BIO_s_mem()));
  BOOTSEAL_CHECK(bio && PEM_write_bio_X509(bio.get(), object_->certificate.get()) == 1);
  return std::string(as_text(memory_content(bio.get())));
}

std::string Certificate::subject() const {
  return name_text(X509_get_subject_name(object_->certificate.get()));
}
std::string Certificate::issuer() const {
  return name_text(X509_get_issuer_name(object_->certificate.get()));
}
std::string Certificate::subject_common_name() const {
  return common_name(X509_get_subject_name(object_->certificate.get()));
}
std::string Certificate::issuer_common_name() const {
  return common_name(X509_get_issuer_name(object_->certificate.get()));
}

std::string Certificate::serial() const {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(object_->certificate.get());
  const auto size = static_cast<std::size_t>(ASN1_STRING_length(serial));
  return to_hex({reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(serial)), size});
}

TimePoint Certificate::not_before() const {
  return *time_point(X509_get0_notBefore(object_->certificate.get()));
}
TimePoint Certificate::not_after() const {
  return *time_point(X509_get0_notAfter(object_->certificate.get()));
}

Result<PublicKey> Certificate::public_key() const {
  EVP_PKEY* key = X509_get_pubkey(object_->certificate.get());
  if (key == nullptr)
    return openssl_failure(ErrorCode::unsupported, "the key of the certificate cannot be read");
  BOOTSEAL_TRY(auto object, adopt_key(key));
  return PublicKey(std::move(object));
}

bool Certificate::is_ca() const {
  return (X509_get_extension_flags(object_->certificate.get()) & EXFLAG_CA) != 0;
}

std::optional<unsigned> Certificate::key_usage() const {
  X509* certificate = object_->certificate.get();
  if ((X509_get_extension_flags(certificate) & EXFLAG_KUSAGE) == 0) return std::nullopt;
  const std::uint32_t usage = X509_get_key_usage(certificate);
  // OpenSSL keeps the bit string's first byte as it is written: digitalSignature is its highest bit.
  constexpr std::pair<std::uint32_t, unsigned> kBits[] = {{KU_DIGITAL_SIGNATURE, kUsageDigitalSignature},
                                                          {KU_KEY_ENCIPHERMENT, kUsageKeyEncipherment},
                                                          {KU_KEY_AGREEMENT, kUsageKeyAgreement},
                                                          {KU_KEY_CERT_SIGN, kUsageCertificateSign},
                                                          {KU_CRL_SIGN, kUsageCrlSign}};
  unsigned result = 0;
  for (const auto& [theirs, ours] : kBits) result |= (usage & theirs) != 0 ? ours : 0U;
  return result;
}

std::vector<std::string> Certificate::extended_key_usages() const {
  using Usages = Handle<EXTENDED_KEY_USAGE, &EXTENDED_KEY_USAGE_free>;
  const Usages usages(static_cast<EXTENDED_KEY_USAGE*>(
      X509_get_ext_d2i(object_->certificate.get(), NID_ext_key_usage, nullptr, nullptr)));
  std::vector<std::string> result;
  for (int i = 0; usages && i < sk_ASN1_OBJECT_num(usages.get()); ++i)
    result.push_back(oid_text(sk_ASN1_OBJECT_value(usages.get(), i)));
  return result;
}

bool Certificate::has_extended_key_usage(std::string_view oid) const {
  for (const std::string& usage : extended_key_usages()) {
    if (usage == oid) return true;
  }
  return false;
}

AlternativeNames Certificate::alternative_names() const {
  using Names = Handle<GENERAL_NAMES, &GENERAL_NAMES_free>;
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(object_->certificate.get(), NID_subject_alt_name, nullptr, nullptr)));
  AlternativeNames result;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) result.dns.push_back(string_text(name->d.dNSName));
    if (name->type == GEN_URI) result.uris.push_back(string_text(name->d.uniformResourceIdentifier));
    if (name->type == GEN_IPADD) result.addresses.push_back(address_text(name->d.iPAddress));
    if (name->type != GEN_DIRNAME) continue;
    for (int entry = 0; entry < X509_NAME_entry_count(name->d.directoryName); ++entry) {
      const X509_NAME_ENTRY* attribute = X509_NAME_get_entry(name->d.directoryName, entry);
      result.directory.push_back({oid_text(X509_NAME_ENTRY_get_object(attribute)),
                                  string_text(X509_NAME_ENTRY_get_data(attribute))});
    }
  }
  ERR_clear_error();
  return result;
}

bool Certificate::alternative_names_critical() const {
  const int index = X509_get_ext_by_NID(object_->certificate.get(), NID_subject_alt_name, -1);
  return index >= 0 && X509_EXTENSION_get_critical(X509_get_ext(object_->certificate.get(), index)) == 1;
}

Status verify_chain(const Certificate& leaf, const std::vector<Certificate>& intermediates,
                    const std::vector<Certificate>& roots, TimePoint at, std::string_view purpose) {
  using Store = Handle<X509_STORE, &X509_STORE_free>;
  using StoreContext = Handle<X509_STORE_CTX, &X509_STORE_CTX_free>;
  struct FreeShallow {
    void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
  };
  const Store store(X509_STORE_new());
  const std::unique_ptr<STACK_OF(X509), FreeShallow> untrusted(sk_X509_new_null());
  const StoreContext context(X509_STORE_CTX_new());
  BOOTSEAL_CHECK(store && untrusted && context);
  for (const Certificate& root : roots)
    BOOTSEAL_CHECK(X509_STORE_add_cert(store.get(), root.object().certificate.get()) == 1);
  for (const Certificate& next : intermediates)
    BOOTSEAL_CHECK(sk_X509_push(untrusted.get(), next.object().certificate.get()) > 0);
  BOOTSEAL_CHECK(
      X509_STORE_CTX_init(context.get(), store.get(), leaf.object().certificate.get(), untrusted.get()) == 1);
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(parameters,
                             std::chrono::floor<std::chrono::seconds>(at).time_since_epoch().count());
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
  const bool good = X509_verify_cert(context.get()) == 1;
  const int reason = X509_STORE_CTX_get_error(context.get());
  ERR_clear_error();
  if (!good || reason != X509_V_OK) {
    return fail(ErrorCode::permission_denied,
                fmt::format("the certificate of \"{}\" is not good: {}", leaf.subject(),
                            X509_verify_cert_error_string(reason)));
  }
  if (!purpose.empty() && !leaf.has_extended_key_usage(purpose)) {
    return fail(
        ErrorCode::permission_denied,
        fmt::format("the certificate of \"{}\" lacks the extended key usage {}", leaf.subject(), purpose));
  }
  return {};
}

}  // namespace bootseal::crypto

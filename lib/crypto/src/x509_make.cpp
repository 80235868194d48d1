#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "bootseal/crypto/x509.h"
#include "openssl.h"

namespace bootseal::crypto {
namespace {

using Request = Handle<X509_REQ, &X509_REQ_free>;
using NameHandle = Handle<X509_NAME, &X509_NAME_free>;
using GeneralNames = Handle<GENERAL_NAMES, &GENERAL_NAMES_free>;
using GeneralName = Handle<GENERAL_NAME, &GENERAL_NAME_free>;
using Extension = Handle<X509_EXTENSION, &X509_EXTENSION_free>;

constexpr std::size_t kSerialSize = 16;

const EVP_MD* signing_hash(KeyKind kind) {
  return kind == KeyKind::ec_p384 ? EVP_sha384() : EVP_sha256();
}

Result<NameHandle> make_name(const Name& attributes) {
  NameHandle name(X509_NAME_new());
  BOOTSEAL_CHECK(name != nullptr);
  for (const NameAttribute& attribute : attributes) {
    const int size = static_cast<int>(std::min<std::size_t>(attribute.value.size(), 32768));
    if (X509_NAME_add_entry_by_txt(name.get(), attribute.type.c_str(), MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(attribute.value.data()), size, -1,
                                   0) != 1) {
      return openssl_failure(ErrorCode::invalid_argument,
                             fmt::format("the name attribute {}=\"{}\" cannot stand in a certificate",
                                         attribute.type, attribute.value));
    }
  }
  return name;
}

void push(GENERAL_NAMES* names, GeneralName name) {
  BOOTSEAL_CHECK(sk_GENERAL_NAME_push(names, name.get()) > 0);
  static_cast<void>(name.release());
}

Status push_text(GENERAL_NAMES* names, int type, const std::string& text) {
  for (const char c : text) {
    if (c <= ' ' || c > '~')
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the alternative name \"{}\" is not plain ASCII text", text));
  }
  if (text.empty() || text.size() > 255)
    return fail(ErrorCode::invalid_argument, "an alternative name has 1 to 255 characters");
  GeneralName name(GENERAL_NAME_new());
  ASN1_IA5STRING* value = ASN1_IA5STRING_new();
  BOOTSEAL_CHECK(name && value && ASN1_STRING_set(value, text.data(), static_cast<int>(text.size())) == 1);
  GENERAL_NAME_set0_value(name.get(), type, value);
  push(names, std::move(name));
  return {};
}

Status push_address(GENERAL_NAMES* names, const std::string& text) {
  unsigned char address[16];
  int size = 0;
  if (::inet_pton(AF_INET, text.c_str(), address) == 1)
    size = 4;
  else if (::inet_pton(AF_INET6, text.c_str(), address) == 1)
    size = 16;
  else
    return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" is no IP address", text));
  GeneralName name(GENERAL_NAME_new());
  ASN1_OCTET_STRING* value = ASN1_OCTET_STRING_new();
  BOOTSEAL_CHECK(name && value && ASN1_OCTET_STRING_set(value, address, size) == 1);
  GENERAL_NAME_set0_value(name.get(), GEN_IPADD, value);
  push(names, std::move(name));
  return {};
}

Result<GeneralNames> make_alternative_names(const AlternativeNames& content) {
  GeneralNames names(GENERAL_NAMES_new());
  BOOTSEAL_CHECK(names != nullptr);
  if (!content.directory.empty()) {
    BOOTSEAL_TRY(NameHandle directory, make_name(content.directory));
    GeneralName name(GENERAL_NAME_new());
    BOOTSEAL_CHECK(name != nullptr);
    GENERAL_NAME_set0_value(name.get(), GEN_DIRNAME, directory.release());
    push(names.get(), std::move(name));
  }
  for (const std::string& dns : content.dns) BOOTSEAL_TRY_STATUS(push_text(names.get(), GEN_DNS, dns));
  for (const std::string& address : content.addresses)
    BOOTSEAL_TRY_STATUS(push_address(names.get(), address));
  for (const std::string& uri : content.uris) BOOTSEAL_TRY_STATUS(push_text(names.get(), GEN_URI, uri));
  return names;
}

void add_extension(X509* certificate, int nid, bool critical, void* value) {
  BOOTSEAL_CHECK(X509_add1_ext_i2d(certificate, nid, value, critical ? 1 : 0, X509V3_ADD_DEFAULT) == 1);
}

void add_key_usage(X509* certificate, unsigned usage) {
  const Handle<ASN1_BIT_STRING, &ASN1_BIT_STRING_free> bits(ASN1_BIT_STRING_new());
  BOOTSEAL_CHECK(bits != nullptr);
  for (int bit = 0; bit < 9; ++bit) {
    if ((usage >> bit & 1U) != 0) BOOTSEAL_CHECK(ASN1_BIT_STRING_set_bit(bits.get(), bit, 1) == 1);
  }
  add_extension(certificate, NID_key_usage, true, bits.get());
}

Status add_extended_key_usages(X509* certificate, const std::vector<std::string>& oids) {
  const Handle<EXTENDED_KEY_USAGE, &EXTENDED_KEY_USAGE_free> usages(EXTENDED_KEY_USAGE_new());
  BOOTSEAL_CHECK(usages != nullptr);
  for (const std::string& oid : oids) {
    ASN1_OBJECT* object = OBJ_txt2obj(oid.c_str(), 1);
    if (object == nullptr)
      return openssl_failure(ErrorCode::invalid_argument, fmt::format("\"{}\" is no object identifier", oid));
    BOOTSEAL_CHECK(sk_ASN1_OBJECT_push(usages.get(), object) > 0);
  }
  add_extension(certificate, NID_ext_key_usage, false, usages.get());
  return {};
}

void add_from_text(X509* certificate, X509V3_CTX* context, int nid, const char* text) {
  const Extension extension(X509V3_EXT_nconf_nid(nullptr, context, nid, text));
  BOOTSEAL_CHECK(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
}

void set_serial(X509* certificate) {
  const Bytes serial = random_bytes(kSerialSize);
  const Handle<BIGNUM, &BN_free> number(BN_bin2bn(raw(serial), static_cast<int>(serial.size()), nullptr));
  BOOTSEAL_CHECK(number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr);
}

Status set_validity(X509* certificate, TimePoint from, TimePoint to) {
  const auto seconds = [](TimePoint time) {
    return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
  };
  if (from >= to || ASN1_TIME_set(X509_getm_notBefore(certificate), seconds(from)) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate), seconds(to)) == nullptr) {
    ERR_clear_error();
    return fail(ErrorCode::invalid_argument,
                "the validity of a certificate ends after it begins, and not after the year 9999");
  }
  return {};
}

Result<Certificate> make(const PrivateKey& signer, const Certificate* ca, const PublicKey& subject_key,
                         const CertificateContent& content) {
  const Handle<X509, &X509_free> owner(X509_new());
  X509* certificate = owner.get();
  BOOTSEAL_CHECK(certificate != nullptr && X509_set_version(certificate, X509_VERSION_3) == 1);
  set_serial(certificate);
  BOOTSEAL_TRY_STATUS(set_validity(certificate, content.not_before, content.not_after));
  BOOTSEAL_TRY(const NameHandle subject, make_name(content.subject));
  const X509_NAME* issuer =
      ca == nullptr ? subject.get() : X509_get_subject_name(ca->object().certificate.get());
  BOOTSEAL_CHECK(X509_set_subject_name(certificate, subject.get()) == 1 &&
                 X509_set_issuer_name(certificate, issuer) == 1 &&
                 X509_set_pubkey(certificate, subject_key.object().key.get()) == 1);

  X509V3_CTX context;
  X509V3_set_ctx(&context, ca == nullptr ? certificate : ca->object().certificate.get(), certificate, nullptr,
                 nullptr, 0);
  add_from_text(certificate, &context, NID_basic_constraints,
                content.ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE");
  if (content.key_usage != 0) add_key_usage(certificate, content.key_usage);
  if (!content.extended_key_usages.empty())
    BOOTSEAL_TRY_STATUS(add_extended_key_usages(certificate, content.extended_key_usages));
  if (!content.alternative_names.empty()) {
    BOOTSEAL_TRY(const GeneralNames names, make_alternative_names(content.alternative_names));
    add_extension(certificate, NID_subject_alt_name, content.subject.empty(), names.get());
  }
  add_from_text(certificate, &context, NID_subject_key_identifier, "hash");
  add_from_text(certificate, &context, NID_authority_key_identifier, "keyid:always");
  if (X509_sign(certificate, signer.object().key.get(), signing_hash(signer.kind())) == 0) {
    return openssl_failure(ErrorCode::internal, "signing a certificate");
  }
  return Certificate::from_der(encode_der(&i2d_X509, certificate));
}

AlternativeNames sort_names(const std::vector<std::string>& names) {
  AlternativeNames sorted;
  unsigned char address[16];
  for (const std::string& name : names) {
    const bool is_address =
        ::inet_pton(AF_INET, name.c_str(), address) == 1 || ::inet_pton(AF_INET6, name.c_str(), address) == 1;
    (is_address ? sorted.addresses : sorted.dns).push_back(name);
  }
  return sorted;
}

CertificateContent valid_from_now(TimePoint now, std::chrono::days validity) {
  CertificateContent content;
  content.not_before = now - std::chrono::hours(1);
  content.not_after = now + validity;
  return content;
}

CertificateContent tpm_content(std::string_view vm_id, std::string_view vm_name, TimePoint now,
                               std::chrono::days validity) {
  CertificateContent content = valid_from_now(now, validity);
  content.subject = {{"CN", std::string(vm_name)}, {"serialNumber", std::string(vm_id)}};
  // The TPM is libtpms, whose vendor id in the TCG's registry is IBM's.
  content.alternative_names.directory = {{std::string(kOidTpmManufacturer), "id:49424D00"},
                                         {std::string(kOidTpmModel), "Bootseal vTPM"},
                                         {std::string(kOidTpmVersion), "id:00010000"}};
  content.alternative_names.uris = {fmt::format("urn:uuid:{}", vm_id)};
  return content;
}

}  // namespace

Result<CertificateRequest> CertificateRequest::from_pem(std::string_view pem) {
  if (pem.size() > (64 << 10))
    return fail(ErrorCode::invalid_argument, "a certificate request of more than 64 KiB is not accepted");
  const Bio bio = memory_reader(as_bytes(pem));
  const Request request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  if (request == nullptr)
    return openssl_failure(ErrorCode::invalid_argument, "the text is no PEM certificate request");
  EVP_PKEY* key = X509_REQ_get_pubkey(request.get());
  if (key == nullptr)
    return openssl_failure(ErrorCode::invalid_argument, "the key of the certificate request cannot be read");
  BOOTSEAL_TRY(auto object, adopt_key(key));
  if (X509_REQ_verify(request.get(), object->key.get()) != 1) {
    return openssl_failure(ErrorCode::invalid_argument,
                           "the signature of the certificate request is not its own key's");
  }
  const X509_NAME* subject = X509_REQ_get_subject_name(request.get());
  char common_name[65] = {};
  const int size = X509_NAME_get_text_by_NID(subject, NID_commonName, common_name, sizeof(common_name));
  ERR_clear_error();
  return CertificateRequest(PublicKey(std::move(object)), size > 0 ? common_name : "", std::string(pem));
}

Result<CertificateRequest> CertificateRequest::create(const PrivateKey& key, const Name& subject) {
  BOOTSEAL_TRY(const NameHandle name, make_name(subject));
  const Request request(X509_REQ_new());
  BOOTSEAL_CHECK(request && X509_REQ_set_subject_name(request.get(), name.get()) == 1 &&
                 X509_REQ_set_pubkey(request.get(), key.object().key.get()) == 1);
  if (X509_REQ_sign(request.get(), key.object().key.get(), signing_hash(key.kind())) == 0) {
    return openssl_failure(ErrorCode::internal, "signing a certificate request");
  }
  const Bio bio(BIO_new(BIO_s_mem()));
  BOOTSEAL_CHECK(bio && PEM_write_bio_X509_REQ(bio.get(), request.get()) == 1);
  return from_pem(as_text(memory_content(bio.get())));
}

Result<Certificate> make_self_signed(const PrivateKey& key, const CertificateContent& content) {
  return make(key, nullptr, key.public_key(), content);
}

Result<Certificate> issue_certificate(const PrivateKey& ca_key, const Certificate& ca,
                                      const PublicKey& subject_key, const CertificateContent& content) {
  return make(ca_key, &ca, subject_key, content);
}

CertificateContent site_ca_content(std::string_view common_name, TimePoint now, std::chrono::days validity) {
  CertificateContent content = valid_from_now(now, validity);
  content.subject = {{"CN", std::string(common_name)}};
  content.ca = true;
  content.key_usage = kUsageCertificateSign | kUsageCrlSign;
  return content;
}

CertificateContent tls_server_content(std::string_view common_name, const std::vector<std::string>& names,
                                      TimePoint now, std::chrono::days validity) {
  CertificateContent content = valid_from_now(now, validity);
  if (!common_name.empty()) content.subject = {{"CN", std::string(common_name)}};
  content.alternative_names = sort_names(names);
  content.key_usage = kUsageDigitalSignature;
  content.extended_key_usages = {std::string(kOidServerAuthentication)};
  return content;
}

CertificateContent tls_client_content(std::string_view common_name, TimePoint now,
                                      std::chrono::days validity) {
  CertificateContent content = valid_from_now(now, validity);
  content.subject = {{"CN", std::string(common_name)}};
  content.key_usage = kUsageDigitalSignature;
  content.extended_key_usages = {std::string(kOidClientAuthentication)};
  return content;
}

CertificateContent tpm_ek_content(std::string_view vm_id, std::string_view vm_name, KeyKind kind,
                                  TimePoint now, std::chrono::days validity) {
  CertificateContent content = tpm_content(vm_id, vm_name, now, validity);
  content.key_usage = kind == KeyKind::rsa ? kUsageKeyEncipherment : kUsageKeyAgreement;
  content.extended_key_usages = {std::string(kOidEkCertificate)};
  return content;
}

CertificateContent tpm_ak_content(std::string_view vm_id, std::string_view vm_name, TimePoint now,
                                  std::chrono::days validity) {
  CertificateContent content = tpm_content(vm_id, vm_name, now, validity);
  content.key_usage = kUsageDigitalSignature;
  content.extended_key_usages = {std::string(kOidAkCertificate)};
  return content;
}

}  // namespace bootseal::crypto

#include "certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <array>

#include "bootseal/base/bytes.h"
#include "bootseal/crypto/handle.h"

namespace bootseal::net::testing {
namespace {

using Bio = crypto::Handle<BIO, &BIO_free_all>;
using Certificate = crypto::Handle<X509, &X509_free>;
using PrivateKey = crypto::Handle<EVP_PKEY, &EVP_PKEY_free>;
using Extension = crypto::Handle<X509_EXTENSION, &X509_EXTENSION_free>;

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Certificate read_certificate(const std::string& pem) {
  const Bio source(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Certificate(PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr));
}

PrivateKey read_key(const std::string& pem) {
  const Bio source(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return PrivateKey(PEM_read_bio_PrivateKey(source.get(), nullptr, nullptr, nullptr));
}

void extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  BOOTSEAL_CHECK(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

Identity issue(const Identity* ca, const std::string& name, bool is_ca, const std::string& usage,
               const std::string& alternative_names) {
  const PrivateKey key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  std::uint32_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_pubkey(certificate.get(), key.get());
  const Certificate ca_certificate = ca == nullptr ? nullptr : read_certificate(ca->certificate_pem);
  const PrivateKey ca_key = ca == nullptr ? nullptr : read_key(ca->key_pem);
  X509* const issuer = ca == nullptr ? certificate.get() : ca_certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer));
  extend(certificate.get(), issuer, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  extend(certificate.get(), issuer, NID_key_usage,
         is_ca ? "critical,keyCertSign" : "critical,digitalSignature");
  extend(certificate.get(), issuer, NID_subject_key_identifier, "hash");
  if (!usage.empty()) extend(certificate.get(), issuer, NID_ext_key_usage, usage);
  if (!alternative_names.empty()) extend(certificate.get(), issuer, NID_subject_alt_name, alternative_names);
  BOOTSEAL_CHECK(X509_sign(certificate.get(), ca == nullptr ? key.get() : ca_key.get(), EVP_sha256()) > 0);

  const Bio certificate_text(BIO_new(BIO_s_mem()));
  const Bio key_text(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(certificate_text.get(), certificate.get());
  PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {text_of(certificate_text.get()), text_of(key_text.get())};
}

}  // namespace

Identity make_ca(const std::string& name) {
  return issue(nullptr, name, true, "", "");
}

Identity issue_server(const Identity& ca, const std::string& names) {
  return issue(&ca, "a server", false, "serverAuth", names);
}

Identity issue_client(const Identity& ca, const std::string& common_name) {
  return issue(&ca, common_name, false, "clientAuth", "");
}

std::string fingerprint(const std::string& certificate_pem) {
  const Certificate certificate = read_certificate(certificate_pem);
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned int size = 0;
  BOOTSEAL_CHECK(X509_digest(certificate.get(), EVP_sha256(), hash.data(), &size) == 1);
  return to_hex(std::as_bytes(std::span(hash)).first(size));
}

}  // namespace bootseal::net::testing

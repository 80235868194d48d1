#include "tls.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <array>

namespace bootseal::net {
namespace {

using Bio = crypto::Handle<BIO, &BIO_free_all>;
using Certificate = crypto::Handle<X509, &X509_free>;
using PrivateKey = crypto::Handle<EVP_PKEY, &EVP_PKEY_free>;

constexpr const char* kTls12Ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL";

// An encrypted key is refused: nobody is there to ask for its passphrase.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

Result<std::vector<Certificate>> read_certificates(const std::string& pem, std::string_view what) {
  const Bio source(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  BOOTSEAL_CHECK(source != nullptr);
  std::vector<Certificate> certificates;
  while (Certificate next{PEM_read_bio_X509(source.get(), nullptr, &no_passphrase, nullptr)}) {
    certificates.push_back(std::move(next));
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string errors = take_openssl_errors();
  if (certificates.empty() || !at_end) {
    return fail(ErrorCode::invalid_argument, fmt::format("{} is no PEM certificate: {}", what, errors));
  }
  return certificates;
}

Status use_certificate(SSL_CTX* context, const std::string& chain_pem, const std::string& key_pem,
                       std::string_view what) {
  BOOTSEAL_TRY(auto chain, read_certificates(chain_pem, fmt::format("{} certificate", what)));
  const Bio key_source(BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())));
  BOOTSEAL_CHECK(key_source != nullptr);
  const PrivateKey key(PEM_read_bio_PrivateKey(key_source.get(), nullptr, &no_passphrase, nullptr));
  if (key == nullptr) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} private key is no unencrypted PEM key: {}", what, take_openssl_errors()));
  }
  bool used = SSL_CTX_use_certificate(context, chain.front().get()) == 1 &&
              SSL_CTX_use_PrivateKey(context, key.get()) == 1 && SSL_CTX_check_private_key(context) == 1;
  for (std::size_t index = 1; used && index < chain.size(); ++index) {
    used = SSL_CTX_add1_chain_cert(context, chain[index].get()) == 1;
  }
  if (!used) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} certificate and key do not go together: {}", what, take_openssl_errors()));
  }
  return {};
}

Status trust_only(SSL_CTX* context, const std::string& ca_pem, std::string_view what) {
  BOOTSEAL_TRY(const auto roots, read_certificates(ca_pem, what));
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  for (const Certificate& root : roots) {
    if (X509_STORE_add_cert(store, root.get()) != 1) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{} cannot be trusted: {}", what, take_openssl_errors()));
    }
  }
  return {};
}

Result<SslContext> make_context(const SSL_METHOD* method) {
  SslContext context(SSL_CTX_new(method));
  if (context == nullptr) {
    return fail(ErrorCode::internal, fmt::format("making a TLS context: {}", take_openssl_errors()));
  }
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  if (SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(context.get(), kTls12Ciphers) != 1) {
    return fail(ErrorCode::internal, fmt::format("setting up a TLS context: {}", take_openssl_errors()));
  }
  return context;
}

int choose_http11(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                  const unsigned char* offered, unsigned int offered_size, void*) {
  static constexpr std::array<unsigned char, 9> kOurs = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, chosen_size, kOurs.data(), kOurs.size(), offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *chosen = selected;
  return SSL_TLSEXT_ERR_OK;
}

std::string common_name(const X509* certificate) {
  const X509_NAME* const subject = X509_get_subject_name(certificate);
  const int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  // Two common names would leave it to the reader which one is meant.
  if (index < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, index) >= 0) return {};
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return name.find('\0') == std::string::npos ? name : std::string();
}

}  // namespace

std::string take_openssl_errors() {
  std::string text;
  while (const unsigned long code = ERR_get_error()) {
    std::array<char, 256> line{};
    ERR_error_string_n(code, line.data(), line.size());
    if (!text.empty()) text += "; ";
    text += line.data();
  }
  return text.empty() ? "OpenSSL gives no reason" : text;
}

Result<SslContext> make_server_context(const TlsServerSettings& settings) {
  ERR_clear_error();
  BOOTSEAL_TRY(SslContext context, make_context(TLS_server_method()));
  BOOTSEAL_TRY_STATUS(use_certificate(context.get(), settings.certificate_chain_pem, settings.private_key_pem,
                                      "the server's"));
  SSL_CTX_set_options(context.get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_alpn_select_cb(context.get(), &choose_http11, nullptr);
  if (!settings.client_ca_pem.empty()) {
    BOOTSEAL_TRY_STATUS(trust_only(context.get(), settings.client_ca_pem, "the CA of client certificates"));
    BOOTSEAL_TRY(const auto roots,
                 read_certificates(settings.client_ca_pem, "the CA of client certificates"));
    for (const Certificate& root : roots) SSL_CTX_add_client_CA(context.get(), root.get());
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  }
  return context;
}

Result<SslContext> make_client_context(const ClientOptions& options) {
  ERR_clear_error();
  BOOTSEAL_TRY(SslContext context, make_context(TLS_client_method()));
  BOOTSEAL_TRY_STATUS(trust_only(context.get(), options.ca_pem, "the CA certificate"));
  if (!options.client_certificate_pem.empty()) {
    BOOTSEAL_TRY_STATUS(use_certificate(context.get(), options.client_certificate_pem, options.client_key_pem,
                                        "the client's"));
  }
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return context;
}

Status expect_host(SSL* connection, const std::string& host) {
  std::array<unsigned char, 16> address{};
  const bool is_address = ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
                          ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
  X509_VERIFY_PARAM* const parameters = SSL_get0_param(connection);
  X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool set = is_address ? X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) == 1
                              : X509_VERIFY_PARAM_set1_host(parameters, host.data(), host.size()) == 1 &&
                                    SSL_set_tlsext_host_name(connection, host.c_str()) == 1;
  if (!set) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("\"{}\" is no host name: {}", host, take_openssl_errors()));
  }
  return {};
}

void identify_client(SSL* connection, Peer& peer) {
  const Certificate certificate(SSL_get1_peer_certificate(connection));
  if (certificate == nullptr || SSL_get_verify_result(connection) != X509_V_OK) return;
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned int size = 0;
  if (X509_digest(certificate.get(), EVP_sha256(), hash.data(), &size) != 1) return;
  peer.kind = Peer::Kind::certificate;
  peer.certificate_name = common_name(certificate.get());
  peer.certificate_sha256 = to_hex(std::as_bytes(std::span(hash)).first(size));
}

}  // namespace bootseal::net

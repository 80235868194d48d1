// OpenSSL contexts from PEM text, and what a handshake proved.
#pragma once

#include <openssl/ssl.h>

#include <string>

#include "bootseal/crypto/handle.h"
#include "bootseal/net/client.h"
#include "bootseal/net/server.h"

namespace bootseal::net {

using SslContext = crypto::Handle<SSL_CTX, &SSL_CTX_free>;

// TLS 1.2 and later with forward secrecy. invalid_argument for PEM text that cannot be used.
Result<SslContext> make_server_context(const TlsServerSettings& settings);
// Trusts the given roots only, presents the client certificate when there is one.
Result<SslContext> make_client_context(const ClientOptions& options);
// Makes the handshake fail unless the server's certificate names this host (a DNS name, or an IP address).
Status expect_host(SSL* connection, const std::string& host);

// Fills in kind, certificate_name and certificate_sha256 from the verified certificate of the client, if it
// sent one.
void identify_client(SSL* connection, Peer& peer);

// The texts of OpenSSL's error queue, which is empty afterwards.
std::string take_openssl_errors();

}  // namespace bootseal::net

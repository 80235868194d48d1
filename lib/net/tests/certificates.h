// Certificates made on the spot with OpenSSL.
#pragma once

#include <string>

namespace bootseal::net::testing {

struct Identity {
  std::string certificate_pem;
  std::string key_pem;
};

// A CA of its own.
Identity make_ca(const std::string& name);
// For a server at 127.0.0.1 and localhost, or with `names` as its subjectAltName ("DNS:other").
Identity issue_server(const Identity& ca, const std::string& names = "IP:127.0.0.1,DNS:localhost");
Identity issue_client(const Identity& ca, const std::string& common_name);
// Hex of the SHA-256 of the DER form.
std::string fingerprint(const std::string& certificate_pem);

}  // namespace bootseal::net::testing

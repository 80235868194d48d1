// The TLS certificate of the control plane: asked of the vault, kept in HOME/controld/tls, renewed well
// before it ends.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/crypto/x509.h"
#include "bootseal/net/client.h"
#include "bootseal/net/server.h"

namespace bootseal::controld {

struct ServerCertificate {
  std::string key_pem;
  std::string chain_pem;  // the certificate, then what is between it and the CA
  std::string ca_pem;
  TimePoint not_after;

  [[nodiscard]] net::TlsServerSettings settings() const { return {chain_pem, key_pem, ca_pem}; }
};

class CertificateKeeper {
 public:
  // `names` = DNS names and addresses that clients use.
  CertificateKeeper(std::filesystem::path folder, std::vector<std::string> names, net::Client& vault,
                    const Clock& clock)
      : folder_(std::move(folder)), names_(std::move(names)), vault_(vault), clock_(clock) {}

  // The kept one when it is good for a while, else a new one with a new key. While the vault is away a kept
  // one serves to its end. Errors: unavailable when there is none and the vault does not answer; as the vault
  // answers.
  Result<ServerCertificate> get();
  // Whether it is time to get() a new one.
  [[nodiscard]] bool is_due(const ServerCertificate& certificate) const;

 private:
  Result<ServerCertificate> load() const;
  Result<ServerCertificate> request();
  [[nodiscard]] Status check(const ServerCertificate& certificate) const;

  std::filesystem::path folder_;
  std::vector<std::string> names_;
  net::Client& vault_;
  const Clock& clock_;
};

}  // namespace bootseal::controld

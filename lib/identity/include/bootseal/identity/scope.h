// What clients ask tokens for: OAuth scopes, and the services that their audiences name.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>

#include "bootseal/base/result.h"

namespace bootseal::identity {

struct Scope {
  std::string audience;  // "https://site:8443", as the client wrote it; empty = it named none
  bool openid = false;
  bool profile = false;
  bool offline_access = false;

  // "https://site:8443/.default offline_access openid profile". invalid_argument for two resources, for a
  // resource that is no https URL, and past 1024 bytes.
  static Result<Scope> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
};

enum class Service : std::uint8_t { none, resource_manager, key_vault, attestation, graph };

// The service that an audience names. Microsoft's own names are ours too, because several SDK packages ask
// for them whatever endpoint they are given: management.azure.com, management.core.windows.net,
// vault.azure.net, managedhsm.azure.net, attest.azure.net. `own_hosts` are names of this site's API with
// their ports
// ("localhost:8443"); the key vault is vault.local and every name below it.
Service service_of(std::string_view audience, std::span<const std::string> own_hosts);

}  // namespace bootseal::identity

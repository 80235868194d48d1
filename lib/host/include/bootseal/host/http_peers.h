// vaultd and attestd over their Unix sockets.
#pragma once

#include "bootseal/host/peers.h"

namespace bootseal::host {

Result<std::unique_ptr<Vault>> create_vault_client(const std::filesystem::path& socket, std::string host_id);
Result<std::unique_ptr<Attestor>> create_attest_client(const std::filesystem::path& socket);

}  // namespace bootseal::host

// vaultd's HTTP interface (docs/architecture.md, "vaultd"): who may call what, JSON in, JSON out. No logic of
// its own.
#pragma once

#include "bootseal/net/server.h"
#include "bootseal/vault/vault.h"

namespace bootseal::vaultd {

// The uids of the daemons that may call; uid 0 always may.
struct Callers {
  uid_t hostd = 0;
  uid_t controld = 0;
  uid_t attestd = 0;
};

// `vault` outlives the router.
net::Router make_routes(vault::Vault& vault, const Callers& callers);

}  // namespace bootseal::vaultd

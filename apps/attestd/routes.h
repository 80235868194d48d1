// attestd's HTTP interface (docs/architecture.md, "attestd"). No logic of its own.
#pragma once

#include "attestor.h"
#include "bootseal/net/server.h"

namespace bootseal::attestd {

// The uids of the daemons that may call; uid 0 always may.
struct Callers {
  uid_t hostd = 0;
  uid_t controld = 0;
};

// `attestor` outlives the router.
net::Router make_routes(Attestor& attestor, const Callers& callers);

}  // namespace bootseal::attestd

// hostd's HTTP interface (docs/architecture.md, hostd).
#pragma once

#include "bootseal/host/host_service.h"
#include "bootseal/net/server.h"

namespace bootseal::host {

// `allowed` are the uids that may call (besides root and this user). `service` must outlive the server.
net::Router make_router(HostService& service, std::vector<uid_t> allowed);

}  // namespace bootseal::host

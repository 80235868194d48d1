// Networks over the program bootseal-netd.
#pragma once

#include "bootseal/base/paths.h"
#include "bootseal/host/executor.h"
#include "bootseal/host/networks.h"

namespace bootseal::host {

struct NetdOptions {
  Paths paths;
  std::filesystem::path program;  // empty = PROGRAMS/bootseal-netd
};

// `loop` must outlive the networks.
std::unique_ptr<Networks> create_netd_networks(NetdOptions options, EventLoop& loop);

// A socket on which `opening` is served: bound to the address, listening when it is one of Tcp. The message
// of an error names address and port, why it cannot be had, and what to do. `passing` is set when that may
// change by itself.
Result<UniqueFd> open_public_port(netd::Ipv4Address address, netd::Opening opening, bool& passing);

}  // namespace bootseal::host

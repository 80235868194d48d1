// Where the control plane will listen, looked at before anything is started.
#pragma once

#include "bootseal/base/paths.h"

namespace bootseal::app {

// Whether BOOTSEAL_LISTEN (default 127.0.0.1:8443) is an ADDRESS:PORT that can be listened on now. The port
// of a control plane that runs is its own. Errors: invalid_argument; conflict when another program has the
// port; permission_denied; unavailable for an address that is not this machine's.
Status check_listen_address(const Paths& paths);

}  // namespace bootseal::app

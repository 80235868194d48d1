// The client's end of a WebSocket: a connection with a loop of its own.
#pragma once

#include <memory>
#include <string>

#include "bootseal/net/client.h"

namespace bootseal::net {

// Errors as Client::open_websocket.
Result<std::unique_ptr<WebSocket>> connect_websocket(const ClientOptions& options, const std::string& target);

}  // namespace bootseal::net

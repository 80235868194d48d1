// The sockets of --ctrl and --server.
#pragma once

#include <filesystem>
#include <string_view>

#include "bootseal/base/fds.h"

namespace bootseal::swtpm {

struct Channel {
  UniqueFd listener;
  UniqueFd client;             // connected already
  std::filesystem::path path;  // of a Unix socket that was made here: removed at the end
  bool disconnect = false;     // --server …,disconnect
  bool terminate = false;      // --ctrl …,terminate
};

// Errors of both: invalid_argument, those of making a socket.
Result<Channel> open_control_channel(std::string_view option);
// `port` is that of -p or TPM_PORT, for a TCP server without port=.
Result<Channel> open_data_channel(std::string_view option, std::string_view port);

}  // namespace bootseal::swtpm

// The key pair of the person at the command line, as `az vm create` treats it.
#pragma once

#include <filesystem>
#include <string>

#include "bootseal/base/result.h"

namespace bootseal::app {

// The public key of ~/.ssh (id_ed25519.pub, else id_ecdsa.pub, else id_rsa.pub). When there is none and
// `generate`, ssh-keygen makes id_ed25519 there, and `made` is set. Errors: invalid_argument when there is
// none, with the ways out, or when HOME is not set; unavailable when ssh-keygen fails.
Result<std::string> default_ssh_key(bool generate, std::filesystem::path& made);

}  // namespace bootseal::app

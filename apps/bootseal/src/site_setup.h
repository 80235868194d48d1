// What a site needs before its daemons can run, and what it hands out when they do.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bootseal/base/paths.h"
#include "bootseal/cli/site_client.h"

namespace bootseal::app {

// What is missing on this machine, each with the way out; empty = everything is there.
std::vector<std::string> missing_on_this_machine(const Paths& paths);
// HOME and RUN with their owners and modes (docs/architecture.md, Folders). What is there is kept.
Status make_folders(const Paths& paths);
// The file with the vault's passphrase: the one that was named, else HOME/credentials/vault-passphrase, made
// when it is missing.
Result<std::filesystem::path> passphrase_file(const Paths& paths, const std::string& named);
// Makes sure that HOME/cli lets its owner in: asks controld's Unix socket for a token and a client
// certificate when there are none or they are not taken any more. Returns true when new ones were made.
Result<bool> ensure_profile(const Paths& paths);

}  // namespace bootseal::app

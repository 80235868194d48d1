// The service principal by which Azure's clients are the site's owner, and its file on this machine.
#pragma once

#include <filesystem>

#include "bootseal/base/paths.h"
#include "bootseal/base/result.h"

namespace bootseal::app {

inline constexpr const char* kFirstAdministrator = "bootseal-admin";

// HOME/cli/bootseal-admin.pem: its private key and certificate, as `az login -p` takes them.
std::filesystem::path administrator_file(const Paths& paths);
// Makes the principal (Owner of the site) with a certificate, or gives it a new certificate when the file is
// missing or its certificate ends within a month. True when the file was written. The profile must let us in.
Result<bool> ensure_first_administrator(const Paths& paths);

}  // namespace bootseal::app

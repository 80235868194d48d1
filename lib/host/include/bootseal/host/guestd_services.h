// GuestServices over the program bootseal-guestd.
#pragma once

#include "bootseal/base/paths.h"
#include "bootseal/host/executor.h"
#include "bootseal/host/guest_service.h"

namespace bootseal::host {

struct GuestdOptions {
  Paths paths;
  std::filesystem::path program;  // empty = PROGRAMS/bootseal-guestd
  std::chrono::milliseconds ready_limit{30000};
};

// `loop` must outlive the services.
std::unique_ptr<GuestServices> create_guestd_services(GuestdOptions options, EventLoop& loop);

}  // namespace bootseal::host

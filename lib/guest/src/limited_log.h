// For events that QEMU, and so perhaps the guest, can cause at will.
#pragma once

#include <initializer_list>
#include <string_view>

#include "bootseal/log/log.h"

namespace bootseal::guest {

// A warning, at most one a second after the first twenty; `left_out` says how many were not written before
// it.
void warn_limited(std::string_view event, std::string_view message);

}  // namespace bootseal::guest

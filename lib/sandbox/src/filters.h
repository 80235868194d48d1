// The seccomp filters.
#pragma once

#include "bootseal/base/result.h"

namespace bootseal::sandbox::internal {

// Fills a filter context of libseccomp (scmp_filter_ctx, kept out of this header); 0 or a negative errno
// value.
using FilterRules = int (*)(void* context);
struct Filter {
  std::uint32_t default_action;
  FilterRules add_rules;
  const char* name;
};

extern const Filter daemon_filter;
extern const Filter netd_filter;
extern const Filter guestd_filter;

// Loads the filter for all threads of the process, and sets no_new_privs. unsupported when the kernel has no
// seccomp filters.
Status install(const Filter& filter);

}  // namespace bootseal::sandbox::internal

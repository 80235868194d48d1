#include "limited_log.h"

namespace bootseal::guest {

void warn_limited(std::string_view event, std::string_view message) {
  static log::RateLimit limit(1.0, 20.0);
  std::uint64_t left_out = 0;
  if (limit.allow(left_out)) log::warning(event, {{"message", message}, {"left_out", left_out}});
}

}  // namespace bootseal::guest

// The migration envelope of swtpm: opens or fails, and what it holds survives being wrapped again.
#include <algorithm>

#include "state_envelope.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const auto state = guest::unwrap_state({reinterpret_cast<const std::byte*>(data), size});
  if (!state) return 0;
  BOOTSEAL_CHECK(state->size() <= size);
  const Bytes again = guest::wrap_state(*state);
  const auto unwrapped = guest::unwrap_state(again);
  BOOTSEAL_CHECK(unwrapped.has_value() && std::ranges::equal(*unwrapped, *state));
  return 0;
}

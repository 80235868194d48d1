// What swtpm left on disk: taken apart or refused.
#include "state_envelope.h"
#include "swtpm_import.h"
#include "swtpm_volatile.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::guest;
  static const crypto::Secret small = crypto::Secret::copy_of(Bytes(16, std::byte{1}));
  static const crypto::Secret large = crypto::Secret::copy_of(Bytes(32, std::byte{1}));
  const ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  for (const crypto::Secret* key : {static_cast<const crypto::Secret*>(nullptr), &small, &large}) {
    if (const auto state = unwrap_state_file(bytes, key)) BOOTSEAL_CHECK(state->size() <= size);
    if (const auto state = unwrap_state(bytes, {.file = key, .migration = key})) {
      BOOTSEAL_CHECK(state->size() <= size);
      const Bytes again = wrap_state(*state, {.file = key, .migration = key});
      BOOTSEAL_CHECK(unwrap_state(again, {.file = key, .migration = key}).value() == *state);
    }
  }
  if (const auto files = read_linear_file(bytes)) {
    BOOTSEAL_CHECK(files->permanent.size() <= size);
    static_cast<void>(unwrap_files(*files, nullptr));
  }
  static_cast<void>(open_volatile(large, bytes));
  return 0;
}

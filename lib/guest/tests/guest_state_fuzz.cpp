// The envelope before each blob: parses or fails, and what parses is written back byte for byte.
#include "../src/guest_state_envelope.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const auto opened = guest::open_envelope(input);
  if (!opened) return 0;
  const Bytes again = guest::put_in_envelope(opened->envelope, opened->payload);
  BOOTSEAL_CHECK(std::equal(again.begin(), again.end(), input.begin(), input.end()));
  return 0;
}

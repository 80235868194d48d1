// JSON text from tenants: parses or fails, and what parses survives a round trip.
#include "bootseal/json/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const auto value = json::parse({reinterpret_cast<const char*>(data), size}, {.bytes = 65536, .depth = 16});
  if (!value) return 0;
  const auto again = json::parse(json::serialize(*value));
  BOOTSEAL_CHECK(again && json::serialize(*again) == json::serialize(*value));
  BOOTSEAL_CHECK(json::parse(json::serialize_pretty(*value)).has_value());
  return 0;
}

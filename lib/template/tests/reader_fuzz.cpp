// Deployment bodies from tenants: parses or fails; what the strict reader reads, the tolerant one reads the
// same; what it reads is JSON.
#include "bootseal/template/tolerant_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto tolerant = templates::read_tolerant_json(text, {.bytes = 65536, .depth = 16, .values = 4096});
  const auto strict = json::parse(text, {.bytes = 65536, .depth = 15});
  if (strict && !tolerant) BOOTSEAL_CHECK(tolerant.error().code == ErrorCode::exhausted);
  if (strict && tolerant) BOOTSEAL_CHECK(*strict == *tolerant);
  if (tolerant) BOOTSEAL_CHECK(json::parse(json::serialize(*tolerant)).has_value());
  (void)templates::locate(text, "properties.template.resources[1].name");
  return 0;
}

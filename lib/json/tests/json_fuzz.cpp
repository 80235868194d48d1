// JSON text from tenants: parses or fails, and what parses survives a round trip.
#include <algorithm>

#include "bootseal/json/json.h"

namespace {

// Boost.JSON 1.81 reads decimal fractions and very large numbers to within one unit in the last place, so
// their text may change.
bool holds_fraction(const bootseal::json::Value& value) {
  if (value.is_double()) return true;
  if (const auto* array = value.if_array()) return std::ranges::any_of(*array, holds_fraction);
  if (const auto* object = value.if_object())
    return std::ranges::any_of(*object, [](const auto& member) { return holds_fraction(member.value()); });
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const auto value = json::parse({reinterpret_cast<const char*>(data), size}, {.bytes = 65536, .depth = 16});
  if (!value) return 0;
  const auto again = json::parse(json::serialize(*value));
  BOOTSEAL_CHECK(again.has_value());
  BOOTSEAL_CHECK(holds_fraction(*value) || json::serialize(*again) == json::serialize(*value));
  BOOTSEAL_CHECK(json::parse(json::serialize_pretty(*value)).has_value());
  return 0;
}

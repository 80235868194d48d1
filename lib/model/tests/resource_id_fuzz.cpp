// Paths and ids as clients send them.
#include <cstddef>
#include <cstdint>

#include "bootseal/model/resource_id.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string scope = model::scope_of_path(text);
  BOOTSEAL_CHECK(model::scope_of_path(scope) == scope);
  const auto id = model::ResourceId::parse(text);
  if (!id) return 0;
  const std::string written = id->to_string();
  const auto again = model::ResourceId::parse(written);
  BOOTSEAL_CHECK(again.has_value() && again->to_string() == written && again->key() == id->key());
  BOOTSEAL_CHECK(model::is_within(written, id->scope()) && model::is_within(written, id->parent()));
  BOOTSEAL_CHECK(model::scope_of_path(text) ==
                 (id->subscription.empty() && !id->is_resource() ? "/" : written));
  return 0;
}

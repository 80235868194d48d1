// The body of a PUT on a virtual machine, as a tenant may send it: refused or conformed, and what is taken
// once is taken again.
#include <cstddef>
#include <cstdint>

#include "bootseal/model/virtual_machine.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = json::parse(text);
  if (!body) return 0;
  const model::ResourceId id = model::ResourceId::of_virtual_machine("s", "g", "vm1");
  const auto desired = model::desired_from_put(*body, id, nullptr);
  if (!desired) return 0;
  const auto spec = model::spec_of(*desired);
  BOOTSEAL_CHECK(spec.has_value());
  const auto again = model::desired_from_put(json::Value(*desired), id, &*desired);
  BOOTSEAL_CHECK(again.has_value());
  BOOTSEAL_CHECK(model::spec_of(*again)->security == spec->security);
  const json::Object answer =
      model::resource_json(*desired, {id, VmId{}, TimePoint{}, "Succeeded", "1", "1.0.0"});
  BOOTSEAL_CHECK(!answer.at("properties").at("osProfile").as_object().contains("customData"));
  return 0;
}

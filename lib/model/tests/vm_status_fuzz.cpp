// A VM's status as a host sends it, and resource ids as clients send them.
#include <cstddef>
#include <cstdint>

#include "bootseal/model/resource_id.h"
#include "bootseal/model/vm_status.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto id = model::ResourceId::parse(text)) {
    const auto again = model::ResourceId::parse(id->to_string());
    BOOTSEAL_CHECK(again.has_value() && *again == *id);
  }
  const auto value = json::parse(text);
  if (!value) return 0;
  if (const auto status = model::VmStatus::parse(*value)) {
    BOOTSEAL_CHECK(model::instance_view(&*status, {.provisioning_state = "Succeeded"}).contains("statuses"));
  }
  return 0;
}

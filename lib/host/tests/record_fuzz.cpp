// Assignments of the control plane and records on disk: what is understood is written and read back the same.
#include <cstdlib>

#include "bootseal/host/record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto value = json::parse(text)) {
    if (const auto assignment = host::parse_assignment(*value)) {
      const auto again = host::parse_assignment(host::to_json(*assignment));
      if (!again || host::to_json(*again) != host::to_json(*assignment)) std::abort();
    }
  }
  if (const auto record = host::parse_record(text)) {
    const auto again = host::parse_record(json::serialize(host::to_json(*record)));
    if (!again || host::to_json(*again) != host::to_json(*record)) std::abort();
    static_cast<void>(host::status_json(*record, 1));
  }
  return 0;
}

// A VM resource as a hostile server or guest may fill it, shown on a terminal: no control characters, no
// crash.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bootseal/cli/vm_page.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const auto value = json::parse({reinterpret_cast<const char*>(data), size});
  if (!value) return 0;
  const std::string page = cli::vm_page(*value, TimePoint{});
  BOOTSEAL_CHECK(std::none_of(page.begin(), page.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f;
  }));
  (void)cli::vm_table({*value}).to_text();
  return 0;
}

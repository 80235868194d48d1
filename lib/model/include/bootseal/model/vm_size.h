// The sizes a VM can have, under the names that Azure's users know.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "bootseal/json/json.h"

namespace bootseal::model {

struct VmSize {
  std::string_view name;  // "Standard_B1s"
  unsigned cpus;
  unsigned memory_mib;
};

inline constexpr std::string_view kDefaultVmSize = "Standard_B1s";

// In the order in which they are shown.
std::span<const VmSize> vm_sizes();
// Compared without regard to case; nullptr for a name that is not offered.
const VmSize* find_vm_size(std::string_view name);
// As `az vm list-sizes` reads it.
json::Object to_json(const VmSize& size);

}  // namespace bootseal::model

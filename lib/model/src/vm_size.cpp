#include "bootseal/model/vm_size.h"

#include <array>

#include "bootseal/model/resource_id.h"

namespace bootseal::model {
namespace {

constexpr unsigned kGib = 1024;
constexpr unsigned kOsDiskSizeMib = 1047552;  // what Azure answers for every size

constexpr std::array kSizes = {
    VmSize{"Bootseal_Mini", 1, 512},           VmSize{"Standard_B1ls", 1, 512},
    VmSize{"Standard_B1s", 1, 1 * kGib},       VmSize{"Standard_B1ms", 1, 2 * kGib},
    VmSize{"Standard_B2s", 2, 4 * kGib},       VmSize{"Standard_B2ms", 2, 8 * kGib},
    VmSize{"Standard_B4ms", 4, 16 * kGib},     VmSize{"Standard_B8ms", 8, 32 * kGib},
    VmSize{"Standard_DS1_v2", 1, 3584},        VmSize{"Standard_DS2_v2", 2, 7 * kGib},
    VmSize{"Standard_D2s_v3", 2, 8 * kGib},    VmSize{"Standard_D4s_v3", 4, 16 * kGib},
    VmSize{"Standard_D8s_v3", 8, 32 * kGib},   VmSize{"Standard_D16s_v3", 16, 64 * kGib},
    VmSize{"Standard_D2s_v4", 2, 8 * kGib},    VmSize{"Standard_D4s_v4", 4, 16 * kGib},
    VmSize{"Standard_D8s_v4", 8, 32 * kGib},   VmSize{"Standard_D2s_v5", 2, 8 * kGib},
    VmSize{"Standard_D4s_v5", 4, 16 * kGib},   VmSize{"Standard_D8s_v5", 8, 32 * kGib},
    VmSize{"Standard_D16s_v5", 16, 64 * kGib}, VmSize{"Standard_E2s_v5", 2, 16 * kGib},
    VmSize{"Standard_E4s_v5", 4, 32 * kGib},   VmSize{"Standard_F2s_v2", 2, 4 * kGib},
    VmSize{"Standard_F4s_v2", 4, 8 * kGib},
};

}  // namespace

std::span<const VmSize> vm_sizes() {
  return kSizes;
}

const VmSize* find_vm_size(std::string_view name) {
  for (const VmSize& size : kSizes) {
    if (equal_ignoring_case(size.name, name)) return &size;
  }
  return nullptr;
}

json::Object to_json(const VmSize& size) {
  json::Object object;
  object["name"] = size.name;
  object["numberOfCores"] = size.cpus;
  object["memoryInMB"] = size.memory_mib;
  object["osDiskSizeInMB"] = kOsDiskSizeMib;
  object["resourceDiskSizeInMB"] = 0;
  object["maxDataDiskCount"] = 0;
  return object;
}

}  // namespace bootseal::model

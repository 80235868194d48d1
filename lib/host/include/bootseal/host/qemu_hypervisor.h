// QEMU driven over QMP.
#pragma once

#include "bootseal/base/paths.h"
#include "bootseal/host/executor.h"
#include "bootseal/host/hypervisor.h"
#include "bootseal/host/qemu_command.h"

namespace bootseal::host {

enum class AcceleratorChoice : std::uint8_t { automatic, kvm, tcg };

struct QemuOptions {
  Paths paths;
  std::string host_id;
  Firmware firmware;
  AcceleratorChoice accelerator = AcceleratorChoice::automatic;
  std::chrono::milliseconds start_limit{30000};  // until QEMU answers on QMP
  std::string program = "qemu-system-x86_64";
};

// Looks at the machine (QEMU, firmware, accelerator) and returns the hypervisor. `loop` and `pool` must
// outlive it and its machines. Blocks for some seconds when the accelerator has to be tried (once a boot).
// Errors: unsupported with what to install.
Result<std::unique_ptr<Hypervisor>> create_qemu_hypervisor(QemuOptions options, EventLoop& loop,
                                                           WorkerPool& pool);

// Really runs QEMU and the firmware under KVM with SMM and says whether it came up, and if not why. Confined
// like a VM.
Accelerator probe_accelerator(const QemuOptions& options, const std::string& machine_type);

}  // namespace bootseal::host

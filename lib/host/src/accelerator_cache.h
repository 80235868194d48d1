// The result of the accelerator probe, kept for as long as the machine is up and QEMU is the same.
#pragma once

#include "bootseal/host/qemu_hypervisor.h"

namespace bootseal::host {

Accelerator known_accelerator(const QemuOptions& options, const HostFacts& facts);
// /proc/sys/kernel/random/boot_id; "" where it cannot be read.
std::string current_boot_id();

}  // namespace bootseal::host

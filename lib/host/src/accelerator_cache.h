// The result of the accelerator probe, kept for as long as the machine is up and QEMU is the same.
#pragma once

#include "bootseal/host/qemu_hypervisor.h"

namespace bootseal::host {

// Why KVM is not used, in words, for a QEMU that ended when it was tried under KVM with SMM; `words` is what
// it said last.
std::string explain_kvm_refusal(std::string_view words);

Accelerator known_accelerator(const QemuOptions& options, const HostFacts& facts);
// /proc/sys/kernel/random/boot_id; "" where it cannot be read.
std::string current_boot_id();

}  // namespace bootseal::host

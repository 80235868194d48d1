// The command line of QEMU, as data. Pure.
#pragma once

#include <string>
#include <vector>

#include "bootseal/host/hypervisor.h"

namespace bootseal::host {

struct Firmware {
  std::filesystem::path secure_code = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";  // SMM and Secure Boot
  std::filesystem::path plain_code = "/usr/share/OVMF/OVMF_CODE_4M.fd";
  std::filesystem::path plain_variables = "/usr/share/OVMF/OVMF_VARS_4M.fd";  // template of Standard VMs
};

// Descriptors that QEMU inherits: listening sockets made by hostd, and the console's log opened for
// appending.
struct QemuDescriptors {
  int qmp = 10;
  int serial = 11;
  int agent = 12;
  int serial_log = 13;
};

// arguments[0] is `program`. Every device has an id and a PCI address, nothing comes from defaults or files
// of the user, and there is never a -kernel: direct boot would go around Secure Boot (CVE-2025-2296).
std::vector<std::string> qemu_arguments(const MachineConfig& config, AcceleratorKind accelerator,
                                        const Firmware& firmware, const QemuDescriptors& descriptors,
                                        const std::string& program = "qemu-system-x86_64");

// The processor model when the assignment names none: the host's own under KVM; under TCG a plain one, since
// every feature that has to be emulated costs (measured: Nehalem boots 15 to 20 % faster than max).
std::string default_cpu_model(AcceleratorKind accelerator);

// The newest "pc-q35-MAJOR.MINOR" of the text of `qemu -machine help` that is not newer than `newest_known`;
// unsupported when there is none.
Result<std::string> choose_machine_type(std::string_view machine_help,
                                        std::string_view newest_known = "pc-q35-7.2");

// Guest memory that q35 puts below 4 GiB, from address 0.
std::uint64_t low_memory_bytes(std::uint64_t memory_mib);

}  // namespace bootseal::host

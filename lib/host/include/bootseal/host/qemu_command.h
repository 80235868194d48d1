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
  // Listening sockets of the network interfaces: interface i has first_interface + i.
  int first_interface = 16;
  // Disks of the store, which QEMU cannot open by name: disk i has first_disk + 2 * i, the layer below it the
  // number after. The operating system's is the first when it is one of the store. The numbers are those of
  // QEMU's descriptor sets too.
  int first_disk = 32;
};

// The files of `config` that go with descriptors.first_disk and the numbers after it, in their order.
std::vector<MachineDisk> store_disks(const MachineConfig& config);

// A block node of a disk whose files QEMU was given: the names are those of descriptor sets ("/dev/fdset/5").
json::Object disk_node(const MachineDisk& disk, std::string_view node_name, std::string_view file_name,
                       std::string_view image_name);
// The device of a data disk on the controller "scsi1", as the arguments of device_add.
json::Object disk_device(const MachineDisk& disk, std::string_view node_name);
// Where QEMU listens for the network of its interface `index`.
inline std::filesystem::path interface_socket(const std::filesystem::path& run_folder, std::size_t index) {
  return run_folder / ("net" + std::to_string(index) + ".sock");
}
// "data-ID", the name of a data disk's device.
std::string disk_device_id(const DiskId& disk);

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

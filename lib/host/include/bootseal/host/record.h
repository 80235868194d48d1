// Everything hostd must know to find a VM again after its own end: HOME/hostd/vms/ID/vm.json, replaced as a
// whole at every change.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "bootseal/base/subprocess.h"
#include "bootseal/host/assignment.h"
#include "bootseal/host/networks.h"

namespace bootseal::host {

struct PowerRequest {
  std::string id;
  PowerAction action = PowerAction::none;
  RequestState state = RequestState::running;
  std::optional<Error> error;
};

// How many requests a VM remembers besides the newest one.
inline constexpr std::size_t kEarlierRequests = 16;

// What the guest's agent says of its system: a claim of the guest, cut and cleaned.
struct GuestSystem {
  std::string agent_version, kernel_release, os_name;
};

struct Timings {
  std::optional<std::int64_t> create_to_running_ms;
  std::optional<std::int64_t> start_to_verdict_ms;
};

struct AttachedDisk {
  DiskId disk;
  unsigned lun = 0;
  bool attached = false;
  std::string problem;  // why not; empty = none
  bool operator==(const AttachedDisk&) const = default;
};

struct Record {
  Assignment assignment;
  unsigned slot = 0;         // vm_uid(slot)
  std::string machine_type;  // pinned when the VM is made: "pc-q35-7.2"
  bool deleting = false;
  TimePoint created;
  std::string
      boot_id;  // of the machine when the processes were started: after a reboot nothing of them is left

  ProvisioningState provisioning = ProvisioningState::creating;
  std::optional<Error> provisioning_error;
  PowerState power = PowerState::stopped;
  std::optional<PowerRequest> request;
  // The ones before it, oldest first, at most kEarlierRequests: they are answered and never carried out
  // again.
  std::vector<PowerRequest> earlier_requests;
  BootStatus boot;
  std::optional<Notice> stop_reason;
  Generation generation;  // last known; 0 = no guest state yet
  std::uint64_t guest_state_bytes = 0;
  std::optional<TpmIdentity> tpm;
  // What the sealed variables say; another value in the assignment is sealed at the next start.
  std::optional<bool> sealed_secure_boot;
  json::Value attestation;  // Verdict as attestd gave it; null = none
  std::string accelerator;  // "kvm" | "tcg" of the last start
  std::string firmware;     // package and version of the firmware of the last start; "" when not known
  std::optional<GuestSystem> guest;  // since the last start or reset
  std::optional<TimePoint> started;
  Timings timings;
  std::optional<ProcessIdentity> qemu, guestd, netd;
  std::vector<netd::Interface> interfaces;  // as QEMU was started with them
  // Not written down: looked at anew by every hostd.
  std::vector<InterfaceStatus> network;
  std::vector<AttachedDisk> disks;
};

json::Value to_json(const Record& record);
// corrupt when the text is not a record.
Result<Record> parse_record(std::string_view text);

// VmStatus of docs/architecture.md.
json::Value status_json(const Record& record, std::uint64_t revision);

// The folders and files of one VM.
struct VmPaths {
  std::filesystem::path private_folder;  // HOME/hostd/vms/ID, 0700, hostd's
  std::filesystem::path disk_folder;     // HOME/vms/ID, 0700, the VM's
  std::filesystem::path run_folder;      // RUN/vms/ID, 0711, hostd's: the sockets

  [[nodiscard]] std::filesystem::path record() const { return private_folder / "vm.json"; }
  [[nodiscard]] std::filesystem::path guest_state() const { return private_folder / "guest-state.vmgs"; }
  [[nodiscard]] std::filesystem::path new_guest_state() const {
    return private_folder / "guest-state.vmgs.new";
  }
  [[nodiscard]] std::filesystem::path boot_diagnostics() const { return private_folder / "boot-diagnostics"; }
  [[nodiscard]] std::filesystem::path serial_log() const { return private_folder / "serial.log"; }
  [[nodiscard]] std::filesystem::path hypervisor_log() const { return private_folder / "qemu.log"; }
  [[nodiscard]] std::filesystem::path disk() const { return disk_folder / "disk.qcow2"; }
  [[nodiscard]] std::filesystem::path seed() const { return disk_folder / "seed.iso"; }
  [[nodiscard]] std::filesystem::path standard_variables() const { return disk_folder / "variables.fd"; }
  [[nodiscard]] std::filesystem::path own_run_folder() const { return run_folder / "own"; }  // 0700, the VM's
  [[nodiscard]] std::filesystem::path memory_dump() const { return own_run_folder() / "memory.dump"; }
};
VmPaths vm_paths(const std::filesystem::path& home, const std::filesystem::path& run, const VmId& vm);

}  // namespace bootseal::host

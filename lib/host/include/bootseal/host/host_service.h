// All VMs of this host, and what the API says about them.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>

#include "bootseal/host/vm.h"

namespace bootseal::host {

// What a host service is made of; outlives it.
struct HostParts {
  Paths paths;
  Hypervisor& hypervisor;
  GuestServices& guests;
  Vault& vault;
  Attestor& attestor;
  Disks& disks;
  DiskStore& store;
  Networks& networks;
  const Clock& clock;
  VmOptions options;
  // Makes the strand of a new VM.
  std::function<std::shared_ptr<Executor>()> new_strand;
  // As VmEnvironment's.
  std::function<void(Task)> in_background;
};

// Thread safe.
class HostService final : public RunningDisks {
 public:
  explicit HostService(HostParts parts);
  ~HostService() override;

  // Reads the records and finds the VMs again. Errors: io_error when the folder cannot be read; a damaged
  // record is logged and its VM left as it is.
  Status recover();

  [[nodiscard]] json::Value host() const;
  // The status after the assignment was written down; the work goes on in the background. Errors: those of
  // Vm::assign, exhausted when all slots are taken.
  Result<json::Value> assign(const Assignment& assignment);
  [[nodiscard]] Result<json::Value> status(const VmId& vm) const;  // not_found
  [[nodiscard]] json::Value list() const;
  // Waits up to `limit` for a change after revision `since`.
  [[nodiscard]] json::Value events(std::uint64_t since, std::chrono::milliseconds limit) const;
  // Waits up to `limit` until there is a revision after `since`; returns the revision then.
  [[nodiscard]] std::uint64_t wait_for_change(std::uint64_t since, std::chrono::milliseconds limit) const;
  // The following block until they are done, or their limit.
  Result<json::Value> attest(const VmId& vm, std::chrono::milliseconds limit);
  Status remove(const VmId& vm, std::chrono::milliseconds limit);
  // `confirm` must be the VM's id again.
  Result<json::Value> reset_guest_state(const VmId& vm, std::string_view confirm,
                                        std::chrono::milliseconds limit);
  Result<json::Value> run_command(const VmId& vm, const RunCommand& command);
  [[nodiscard]] Result<std::shared_ptr<Vm>> find(const VmId& vm) const;
  [[nodiscard]] DiskStore& disk_store() { return parts_.store; }

  // For the store, which holds a lock meanwhile: these never call it.
  [[nodiscard]] bool is_running(const VmId& vm, const DiskId& disk) override;
  Status grow(const VmId& vm, const DiskId& disk, std::uint64_t size) override;
  Result<Machine::CopyWait> begin_copy(const VmId& vm, const DiskId& disk,
                                       const std::filesystem::path& target) override;

 private:
  Result<std::shared_ptr<Vm>> assign_claimed(const Assignment& assignment);
  Result<std::shared_ptr<Machine>> machine_of(const VmId& vm) const;
  void on_changed(const VmId& vm);
  void on_removed(const VmId& vm);
  Result<unsigned> free_slot();

  HostParts parts_;
  VmEnvironment environment_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<VmId, std::shared_ptr<Vm>> vms_;
  std::map<VmId, std::uint64_t> gone_;  // revision of the removal
  std::set<unsigned> slots_;
  std::uint64_t first_revision_;
  std::uint64_t revision_;
};

struct VmProcess {
  ProcessIdentity identity;
  uid_t uid = 0;
};

// Processes of QEMU and guestd by the VM id in their command lines. Those of other installations and of
// everybody who puts an id there are in it too: look up known ids only, and believe those of the VM's uid
// only.
std::map<VmId, std::vector<VmProcess>> find_vm_processes();

}  // namespace bootseal::host

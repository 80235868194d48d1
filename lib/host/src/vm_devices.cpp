// What changes while a machine runs: data disks, rules, public addresses.
#include <fmt/format.h>

#include <algorithm>

#include "accelerator_cache.h"
#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"
#include "bootseal/sandbox/sandbox.h"
#include "process_watch.h"

namespace bootseal::host {
namespace {

bool holds(const std::vector<DiskId>& disks, const DiskId& disk) {
  return std::ranges::find(disks, disk) != disks.end();
}

// What the machine has and the assignment does not want, or elsewhere.
bool is_in_place(const std::vector<AttachedDisk>& known, const std::vector<DataDisk>& wanted,
                 const DiskId& disk) {
  const auto want = std::ranges::find(wanted, disk, &DataDisk::disk);
  if (want == wanted.end()) return false;
  const auto seen = std::ranges::find(known, disk, &AttachedDisk::disk);
  return seen == known.end() || !seen->attached || seen->lun == want->lun;
}

}  // namespace

void Vm::sync_disks() {
  drop_timer(disks_timer_);
  const Record now = record();
  const std::vector<DataDisk>& wanted = now.assignment.data_disks();
  const auto running = machine();
  std::vector<AttachedDisk> result;
  std::vector<DiskId> in_use;
  bool again = false;
  if (!running || is_ending()) {
    for (const DataDisk& disk : wanted) result.push_back({disk.disk, disk.lun, false, ""});
    if (running) return;  // its end comes here again
  } else {
    const Result<std::vector<DiskId>> present = running->disks();
    if (!present) {
      log::warning("vm.disks_unknown", {{"vm", id_.to_string()}, {"reason", present.error().describe()}});
      disks_timer_ = post_after(environment_.options.device_retry, &Vm::sync_disks);
      return;
    }
    for (const DiskId& disk : *present) {
      if (is_in_place(now.disks, wanted, disk)) continue;
      const Status detached = running->detach_disk(disk);
      if (detached) continue;
      again = true;
      in_use.push_back(disk);
      log::warning(
          "vm.disk_not_detached",
          {{"vm", id_.to_string()}, {"disk", disk.to_string()}, {"reason", detached.error().describe()}});
    }
    for (const DataDisk& disk : wanted) {
      const Status attached = sync_disk(*running, disk);
      result.push_back(
          {disk.disk, disk.lun, attached.has_value(), attached ? "" : attached.error().describe()});
      again = again || !attached;
    }
  }
  if (result != now.disks) update([&](Record& record) { record.disks = result; }, Persist::no);
  release_disks(in_use);
  if (again) disks_timer_ = post_after(environment_.options.device_retry, &Vm::sync_disks);
}

Status Vm::sync_disk(Machine& machine, const DataDisk& disk) {
  BOOTSEAL_TRY(DiskFile file, environment_.store.file(disk.disk));
  return machine.attach_disk({disk.disk, disk.lun, disk.read_only, std::move(file)});
}

void Vm::release_disks(const std::vector<DiskId>& in_use) {
  for (const DiskId& disk : environment_.store.disks_of(id_)) {
    // Asked anew for each: an assignment that came meanwhile may want it.
    const Record now = record();
    const bool wanted = now.assignment.os_disk == disk ||
                        std::ranges::any_of(now.assignment.data_disks(),
                                            [&](const DataDisk& other) { return other.disk == disk; });
    if (!wanted && !holds(in_use, disk)) environment_.store.release(id_, disk);
  }
}

// The interfaces that QEMU has, with the rules and addresses of now. One that the assignment has no more lets
// nothing in and nothing out.
std::vector<netd::Interface> Vm::current_interfaces() const {
  const Record now = record();
  std::vector<netd::Interface> interfaces = now.interfaces;
  for (netd::Interface& interface : interfaces) {
    const auto& wanted = now.assignment.interfaces();
    const auto found = std::ranges::find(wanted, interface.nic_id, &netd::Interface::nic_id);
    if (found != wanted.end()) {
      interface.inbound = found->inbound;
      interface.outbound = found->outbound;
      interface.public_address = found->public_address;
    } else {
      interface.public_address.reset();
      interface.inbound.clear();
      interface.outbound = {{"removed", 0, false, std::nullopt, {netd::Ipv4Network{}}, {netd::PortRange{}}}};
    }
  }
  return interfaces;
}

Status Vm::find_network() {
  if (network_) return {};
  const Record now = record();
  const NetworkConfig config{id_, sandbox::vm_uid(now.slot), paths_.run_folder, now.interfaces};
  const std::uint64_t run = run_;
  const auto ended = [weak = weak_from_this(), strand = strand_, run]() {
    strand->post([weak, run]() {
      const auto self = weak.lock();
      // One that was ended on purpose has been forgotten already.
      if (!self || run != self->run_ || !self->machine() || !self->network_) return;
      log::warning("vm.netd_ended", {{"vm", self->id_.to_string()}});
      self->network_.reset();
      self->drop_timer(self->network_timer_);
      self->network_timer_ = self->post_after(self->environment_.options.first_retry, &Vm::sync_network);
    });
  };
  if (now.netd && now.boot_id == current_boot_id()) {
    if (Result<std::shared_ptr<VmNetwork>> found = environment_.networks.attach(config, *now.netd, ended)) {
      network_ = *std::move(found);
      return {};
    }
    end_process(*now.netd);
  }
  BOOTSEAL_TRY(network_, environment_.networks.start(config, ended, [this](const ProcessIdentity& process) {
    update([&](Record& record) { record.netd = process; });
  }));
  return {};
}

void Vm::sync_network() {
  drop_timer(network_timer_);
  if (!machine() || is_ending() || record().interfaces.empty()) return;
  const Result<std::vector<InterfaceStatus>> applied = [&]() -> Result<std::vector<InterfaceStatus>> {
    BOOTSEAL_TRY_STATUS(find_network());
    return network_->apply(current_interfaces());
  }();
  std::vector<InterfaceStatus> status;
  bool taken = false;
  if (applied) {
    status = *applied;
    taken = std::ranges::any_of(status, &InterfaceStatus::try_again);
  } else {
    log::warning("vm.network_incomplete", {{"vm", id_.to_string()}, {"reason", applied.error().describe()}});
    for (const netd::Interface& interface : record().interfaces)
      status.push_back({interface.nic_id, "user", {}, {applied.error().describe()}, true});
    end_network();
  }
  if (status != record().network) update([&](Record& record) { record.network = status; }, Persist::no);
  if (!applied || taken)
    network_timer_ = post_after(applied ? environment_.options.port_retry : environment_.options.device_retry,
                                &Vm::sync_network);
}

void Vm::end_network() {
  drop_timer(network_timer_);
  const Record now = record();
  if (const auto network = std::exchange(network_, nullptr)) {
    network->end();
  } else if (now.netd && now.boot_id == current_boot_id()) {
    end_process(*now.netd);
  }
  if (!now.netd && now.network.empty()) return;
  update([](Record& record) {
    record.netd.reset();
    record.network.clear();
  });
}

}  // namespace bootseal::host

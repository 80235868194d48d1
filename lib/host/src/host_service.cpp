#include "bootseal/host/host_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <future>

#include "bootseal/base/fds.h"
#include "bootseal/log/log.h"
#include "bootseal/sandbox/sandbox.h"

namespace bootseal::host {
namespace {

constexpr unsigned kSlots = 64535;  // the last one belongs to the accelerator probe
constexpr std::size_t kGoneKept = 10'000;
constexpr std::size_t kRecordBytes = std::size_t{4} << 20;

// Revisions of this run are higher than those of every run before, as long as the clock does not go back by
// more than a run lasted.
std::uint64_t revision_base(const Clock& clock) {
  return static_cast<std::uint64_t>(clock.now().time_since_epoch().count());
}

// The id behind "-uuid" (QEMU) or "--vm-id" (guestd, netd).
std::optional<VmId> vm_of_command_line(std::string_view text) {
  std::string_view before;
  while (!text.empty()) {
    const std::string_view argument = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(text.size(), argument.size() + 1));
    if (before == "-uuid" || before == "--vm-id") {
      const Result<VmId> vm = VmId::parse(argument);
      return vm ? std::optional(*vm) : std::nullopt;
    }
    before = argument;
  }
  return std::nullopt;
}

// The program's file; what the process says it is where that may not be read (another user's process).
std::string program_of(const std::filesystem::path& process, std::string_view command_line) {
  std::error_code problem;
  const std::filesystem::path program = std::filesystem::read_symlink(process / "exe", problem);
  return problem ? std::string(command_line.substr(0, command_line.find('\0'))) : program.filename().native();
}

// The uid of the process, if its real, effective and saved ones are the same.
std::optional<uid_t> uid_of(const std::filesystem::path& process) {
  const Result<Bytes> status = read_file(process / "status", 1 << 16);
  if (!status) return std::nullopt;
  std::string_view text = as_text(*status);
  const std::size_t line = text.find("\nUid:\t");
  if (line == std::string_view::npos) return std::nullopt;
  text.remove_prefix(line + 6);
  std::optional<uid_t> uid;
  for (int field = 0; field < 3; ++field) {
    uid_t value = 0;
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (bad != std::errc() || (uid && *uid != value)) return std::nullopt;
    uid = value;
    text.remove_prefix(std::min(text.size(), static_cast<std::size_t>(end - text.data()) + 1));
  }
  return uid;
}

// A promise whose future is waited for with a limit; the late answer is dropped.
template <typename T>
T wait_for(std::chrono::milliseconds limit, const std::function<void(std::function<void(T)>)>& begin,
           std::string_view what) {
  const auto promise = std::make_shared<std::promise<T>>();
  auto future = promise->get_future();
  begin([promise](T value) { promise->set_value(std::move(value)); });
  if (future.wait_for(limit) == std::future_status::ready) return future.get();
  return fail(ErrorCode::timeout,
              fmt::format("{} is not done after {} s; it goes on", what,
                          std::chrono::duration_cast<std::chrono::seconds>(limit).count()));
}

}  // namespace

std::map<VmId, std::vector<VmProcess>> find_vm_processes() {
  std::map<VmId, std::vector<VmProcess>> found;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", problem)) {
    const std::string name = entry.path().filename().native();
    pid_t pid = 0;
    const auto [end, not_a_number] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (not_a_number != std::errc() || end != name.data() + name.size()) continue;
    const Result<Bytes> line = read_file(entry.path() / "cmdline", 1 << 20);
    if (!line) continue;
    const std::string_view text = as_text(*line);
    const std::string program = program_of(entry.path(), text);
    if (program.find("qemu") == std::string::npos && program.find("guestd") == std::string::npos &&
        program.find("netd") == std::string::npos)
      continue;
    const std::optional<VmId> vm = vm_of_command_line(text);
    if (!vm) continue;
    // The identity first: a uid that is read after it belongs to that process or to nobody that it names.
    const Result<ProcessIdentity> identity = identify_process(pid);
    const std::optional<uid_t> uid = uid_of(entry.path());
    if (identity && uid && is_running(*identity)) found[*vm].push_back({*identity, *uid});
  }
  return found;
}

HostService::HostService(HostParts parts)
    : parts_(std::move(parts)),
      environment_{parts_.paths,
                   parts_.hypervisor,
                   parts_.guests,
                   parts_.vault,
                   parts_.attestor,
                   parts_.disks,
                   parts_.store,
                   parts_.networks,
                   parts_.clock,
                   parts_.options,
                   [this](const VmId& vm) { on_changed(vm); },
                   [this](const VmId& vm) { on_removed(vm); },
                   parts_.in_background},
      first_revision_(revision_base(parts_.clock)),
      revision_(first_revision_) {
  parts_.store.set_running_disks(this);
}

HostService::~HostService() {
  parts_.store.set_running_disks(nullptr);
}

Status HostService::recover() {
  const std::filesystem::path folder = parts_.paths.home / "hostd" / "vms";
  BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
  const auto processes = find_vm_processes();
  std::vector<std::pair<std::shared_ptr<Vm>, std::vector<ProcessIdentity>>> found;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem)) {
    const Result<VmId> id = VmId::parse(entry.path().filename().native());
    if (!id) continue;
    const VmPaths paths = vm_paths(parts_.paths.home, parts_.paths.run, *id);
    Result<Record> record = [&]() -> Result<Record> {
      BOOTSEAL_TRY(const Bytes text, read_file(paths.record(), kRecordBytes));
      BOOTSEAL_TRY(Record read, parse_record(as_text(text)));
      if (read.assignment.vm != *id)
        return fail(ErrorCode::corrupt, "the record names another virtual machine");
      return read;
    }();
    if (!record) {
      log::error("vm.record_unreadable",
                 {{"file", paths.record().native()}, {"reason", record.error().describe()}});
      continue;
    }
    const unsigned slot = record->slot;
    auto vm = Vm::known(environment_, parts_.new_strand(), *std::move(record));
    std::vector<ProcessIdentity> strays;
    if (const auto named = processes.find(*id); named != processes.end()) {
      // Anybody may write an id into a command line.
      for (const VmProcess& process : named->second) {
        if (process.uid == sandbox::vm_uid(slot)) strays.push_back(process.identity);
      }
    }
    found.emplace_back(vm, std::move(strays));
    const std::lock_guard lock(mutex_);
    vm->set_revision(++revision_);
    slots_.insert(slot);
    vms_[*id] = std::move(vm);
  }
  if (problem) return fail_errno(problem.value(), fmt::format("reading {}", folder.native()));
  // Disks of a VM whose assignment was never written down, or whose removal was cut off.
  for (const auto& [id, disk] : parts_.store.claims()) {
    if (!find(id)) parts_.store.release(id, disk);
  }
  for (auto& [vm, strays] : found) vm->recover(std::move(strays));
  log::info("host.recovered", {{"vms", static_cast<std::uint64_t>(found.size())}});
  return {};
}

void HostService::on_changed(const VmId& id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = vms_.find(id);
    if (found == vms_.end()) return;
    found->second->set_revision(++revision_);
  }
  changed_.notify_all();
}

void HostService::on_removed(const VmId& id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = vms_.find(id);
    if (found == vms_.end()) return;
    slots_.erase(found->second->record().slot);
    vms_.erase(found);
    gone_[id] = ++revision_;
    while (gone_.size() > kGoneKept) {
      gone_.erase(std::min_element(gone_.begin(), gone_.end(),
                                   [](const auto& a, const auto& b) { return a.second < b.second; }));
    }
  }
  changed_.notify_all();
}

Result<unsigned> HostService::free_slot() {
  for (unsigned slot = 0; slot < kSlots; ++slot) {
    if (!slots_.contains(slot)) return slot;
  }
  return fail(ErrorCode::exhausted, fmt::format("this host has its {} virtual machines", kSlots));
}

json::Value HostService::host() const {
  const HostFacts& facts = parts_.hypervisor.facts();
  json::Array missing;
  for (const std::string& line : facts.missing_protections) missing.emplace_back(line);
  return json::Object{
      {"hostId", facts.host_id},
      {"accelerator", json::Object{{"kind", accelerator_name(facts.accelerator.kind)},
                                   {"reason", facts.accelerator.reason}}},
      {"firmware", json::Object{{"code", facts.firmware_code}, {"package", facts.firmware_package}}},
      {"qemuVersion", facts.hypervisor_version},
      {"cpus", facts.cpus},
      {"memoryMiB", facts.memory_mib},
      {"missingProtections", std::move(missing)},
  };
}

Result<std::shared_ptr<Vm>> HostService::find(const VmId& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(id);
  if (found == vms_.end())
    return fail(ErrorCode::not_found, fmt::format("this host has no virtual machine {}", id.to_string()));
  return found->second;
}

// Disks are claimed before the VM hears of them, and those of an assignment that is refused are given back.
Result<json::Value> HostService::assign(const Assignment& assignment) {
  const std::vector<DiskId> before = parts_.store.disks_of(assignment.vm);
  std::vector<DiskId> wanted;
  if (assignment.os_disk) wanted.push_back(*assignment.os_disk);
  for (const DataDisk& disk : assignment.data_disks()) wanted.push_back(disk.disk);
  if (const Result<std::shared_ptr<Vm>> known = find(assignment.vm); known && (*known)->record().deleting)
    return fail(ErrorCode::conflict,
                fmt::format("the virtual machine {} is being deleted", (*known)->record().assignment.name));
  BOOTSEAL_TRY_STATUS(parts_.store.claim(assignment.vm, wanted));
  const Result<std::shared_ptr<Vm>> vm = assign_claimed(assignment);
  if (vm) return (*vm)->status();
  for (const DiskId& disk : wanted) {
    if (std::ranges::find(before, disk) == before.end()) parts_.store.release(assignment.vm, disk);
  }
  return tl::unexpected(vm.error());
}

Result<std::shared_ptr<Vm>> HostService::assign_claimed(const Assignment& assignment) {
  if (const Result<std::shared_ptr<Vm>> known = find(assignment.vm)) {
    BOOTSEAL_TRY_STATUS((*known)->assign(assignment));
    return *known;
  }
  std::shared_ptr<Vm> vm;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = vms_.find(assignment.vm); found != vms_.end()) {
      vm = found->second;
    } else {
      BOOTSEAL_TRY(const unsigned slot, free_slot());
      BOOTSEAL_TRY(vm, Vm::create(environment_, parts_.new_strand(), assignment, slot));
      vm->set_revision(++revision_);
      slots_.insert(slot);
      vms_[assignment.vm] = vm;
      gone_.erase(assignment.vm);
    }
  }
  changed_.notify_all();
  return vm;
}

Result<std::shared_ptr<Machine>> HostService::machine_of(const VmId& id) const {
  BOOTSEAL_TRY(const std::shared_ptr<Vm> vm, find(id));
  if (std::shared_ptr<Machine> machine = vm->machine()) return machine;
  return fail(ErrorCode::conflict,
              fmt::format("the virtual machine {} has just ended; try again", id.to_string()));
}

bool HostService::is_running(const VmId& id, const DiskId& disk) {
  const Result<std::shared_ptr<Vm>> vm = find(id);
  if (!vm) return false;
  const std::shared_ptr<Machine> machine = (*vm)->machine();
  if (!machine) {
    // Between its start and the moment when it is known, and when hostd looks for it: it may have the disk
    // open.
    return (*vm)->record().qemu.has_value();
  }
  if ((*vm)->record().assignment.os_disk == disk) return true;
  const Result<std::vector<DiskId>> disks = machine->disks();
  return !disks || std::ranges::find(*disks, disk) != disks->end();
}

Status HostService::grow(const VmId& vm, const DiskId& disk, std::uint64_t size) {
  BOOTSEAL_TRY(const std::shared_ptr<Machine> machine, machine_of(vm));
  return machine->grow_disk(disk, size);
}

Result<Machine::CopyWait> HostService::begin_copy(const VmId& vm, const DiskId& disk,
                                                  const std::filesystem::path& target) {
  BOOTSEAL_TRY(const std::shared_ptr<Machine> machine, machine_of(vm));
  return machine->begin_copy(disk, target);
}

Result<json::Value> HostService::status(const VmId& id) const {
  BOOTSEAL_TRY(const std::shared_ptr<Vm> vm, find(id));
  return vm->status();
}

json::Value HostService::list() const {
  const std::lock_guard lock(mutex_);
  json::Array values;
  for (const auto& [id, vm] : vms_) values.push_back(vm->status());
  return json::Object{{"value", std::move(values)}};
}

json::Value HostService::events(std::uint64_t since, std::chrono::milliseconds limit) const {
  std::unique_lock lock(mutex_);
  // A revision of another run says nothing about this one: everything is told.
  const bool other_run = since < first_revision_ || since > revision_;
  if (!other_run) changed_.wait_for(lock, limit, [&]() { return revision_ > since; });
  json::Array vms, gone;
  for (const auto& [id, vm] : vms_) {
    if (other_run || vm->revision() > since) vms.push_back(vm->status());
  }
  for (const auto& [id, revision] : gone_) {
    if (other_run || revision > since) gone.emplace_back(id.to_string());
  }
  return json::Object{{"revision", revision_}, {"vms", std::move(vms)}, {"gone", std::move(gone)}};
}

std::uint64_t HostService::wait_for_change(std::uint64_t since, std::chrono::milliseconds limit) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, limit, [&]() { return revision_ > since; });
  return revision_;
}

Result<json::Value> HostService::attest(const VmId& id, std::chrono::milliseconds limit) {
  BOOTSEAL_TRY(const std::shared_ptr<Vm> vm, find(id));
  return wait_for<Result<json::Value>>(
      limit, [&](auto done) { vm->attest(std::move(done)); }, "the attestation");
}

Result<json::Value> HostService::run_command(const VmId& id, const RunCommand& command) {
  constexpr std::chrono::seconds kSlack{30};
  BOOTSEAL_TRY(const std::shared_ptr<Vm> vm, find(id));
  return wait_for<Result<json::Value>>(
      command.timeout + kSlack, [&](auto done) { vm->run_command(command, std::move(done)); }, "the script");
}

Status HostService::remove(const VmId& id, std::chrono::milliseconds limit) {
  const Result<std::shared_ptr<Vm>> vm = find(id);
  if (!vm) {
    // A removal whose answer was lost, perhaps. The key went with the record; one that stayed is the control
    // plane's to delete, which knows the epoch.
    return parts_.disks.remove(id);
  }
  return wait_for<Status>(
      limit, [&](auto done) { (*vm)->remove(std::move(done)); }, "the removal");
}

Result<json::Value> HostService::reset_guest_state(const VmId& id, std::string_view confirm,
                                                   std::chrono::milliseconds limit) {
  BOOTSEAL_TRY(const std::shared_ptr<Vm> vm, find(id));
  if (confirm != id.to_string()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a new guest state means a new TPM, and whatever the old one sealed is lost to "
                            "the guest: 'confirm' must be the id {}",
                            id.to_string()));
  }
  BOOTSEAL_TRY_STATUS(wait_for<Status>(
      limit, [&](auto done) { vm->reset_guest_state(std::move(done)); }, "the new guest state"));
  return vm->status();
}

}  // namespace bootseal::host

// The hypervisor as hostd needs it. QEMU is behind it (qemu_hypervisor.h); tests put a fake there.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "bootseal/base/ids.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/host/assignment.h"
#include "bootseal/host/console.h"
#include "bootseal/host/disk_file.h"
#include "bootseal/json/json.h"

namespace bootseal::host {

enum class AcceleratorKind : std::uint8_t { kvm, tcg };
std::string_view accelerator_name(AcceleratorKind kind);  // "kvm", "tcg"

struct Accelerator {
  AcceleratorKind kind = AcceleratorKind::tcg;
  std::string reason;  // why not KVM, or that KVM with SMM was tried and works
};

struct HostFacts {
  std::string host_id;
  Accelerator accelerator;
  std::string firmware_code;     // path of the OVMF build with SMM and Secure Boot
  std::string firmware_package;  // "ovmf 2022.11-6+deb12u2"; "" when not known
  std::string hypervisor_version;
  std::string machine_type;  // what new VMs are pinned to: "pc-q35-7.2"
  unsigned cpus = 1;
  std::uint64_t memory_mib = 0;
  std::vector<std::string> missing_protections;
};

// A data disk: a LUN of the machine's SCSI controller.
struct MachineDisk {
  DiskId id;
  unsigned lun = 0;
  bool read_only = false;
  DiskFile file;
};

struct MachineConfig {
  VmId vm;
  std::string name;
  uid_t uid = 0;
  std::string machine_type;
  std::uint64_t cpus = 1;
  std::uint64_t memory_mib = 512;
  std::string cpu_model;  // empty = the accelerator's default
  bool trusted = true;    // firmware with SMM and Secure Boot, variables from guestd; otherwise a plain
                          // firmware with a variables file
  bool vtpm = true;
  std::filesystem::path image;       // base of the overlay, opened read-only
  std::filesystem::path disk;        // qcow2 overlay
  std::optional<DiskId> os_disk_id;  // with os_disk: a disk of the store in the place of image and disk
  DiskFile os_disk;
  std::vector<MachineDisk> disks;
  std::vector<netd::MacAddress> interfaces;  // one each, in their order
  std::filesystem::path seed;                // cloud-init disk
  std::filesystem::path variables;           // of a Standard VM
  std::filesystem::path run_folder;
  std::filesystem::path serial_log;
  std::filesystem::path hypervisor_log;
};

struct AgentHello {
  std::string agent_version, kernel_release, os_name, boot_id;
};

// All of them run on the loop thread and must not block. After `ended` none comes any more.
struct MachineEvents {
  std::function<void(std::string_view reason, bool by_guest)>
      shutdown;                  // QEMU is about to end: "guest-shutdown", …
  std::function<void()> reset;   // the guest or hostd reset the machine
  std::function<void()> serial;  // something came on the console
  std::function<void(const AgentHello&)> agent_hello;
  std::function<void()> ended;  // the process is gone; once
};

// One machine that runs (or is about to). Calls may block up to their limits and come from the VM's strand,
// except where noted.
class Machine {
 public:
  virtual ~Machine() = default;
  [[nodiscard]] virtual ProcessIdentity process() const = 0;
  virtual Status resume() = 0;
  virtual Status pause() = 0;
  virtual Status press_power_button() = 0;
  // Guest memory below 4 GiB, from address 0, into a new file that QEMU writes. The machine must be paused.
  virtual Status dump_memory(const std::filesystem::path& file) = 0;
  // Ends the process at once. Any thread, never blocks; success when it has ended already.
  virtual void kill() = 0;
  // False at the limit.
  [[nodiscard]] virtual bool wait_ended(std::chrono::milliseconds limit) = 0;
  // What the process said last on its standard error.
  [[nodiscard]] virtual std::string last_words() const = 0;
  [[nodiscard]] virtual const ConsoleLog& console() const = 0;
  // Any thread.
  virtual void type_on_console(std::string_view text) = 0;
  // `done` runs on the loop thread, exactly once: the agent's answer, its refusal, timeout, unavailable.
  virtual void ask_agent(std::string_view method, const json::Value& parameters,
                         std::chrono::milliseconds limit, std::function<void(Result<json::Value>)> done) = 0;
  // Asks a running agent to say hello again.
  virtual void greet_agent() = 0;

  // The data disks that it has now.
  virtual Result<std::vector<DiskId>> disks() = 0;
  // Success when it has the disk already, or has it no more.
  virtual Status attach_disk(const MachineDisk& disk) = 0;
  virtual Status detach_disk(const DiskId& disk) = 0;
  // A data disk, or the operating system's when it is one of the store. The guest sees the new size.
  virtual Status grow_disk(const DiskId& disk, std::uint64_t size) = 0;
  // Begins a copy of what the disk holds now into the qcow2 `target`, which has the same size. The function
  // that it returns waits until the copy is whole; it asks `cancelled` a few times a second.
  using CopyWait = std::function<Status(const std::function<bool()>& cancelled)>;
  virtual Result<CopyWait> begin_copy(const DiskId& disk, const std::filesystem::path& target) = 0;
};

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;
  [[nodiscard]] virtual const HostFacts& facts() const = 0;
  // Starts a machine with its processors stopped: resume() lets it run. `started` runs as soon as there is a
  // process, before anything else can fail: what it stores lets a later hostd find the process.
  virtual Result<std::shared_ptr<Machine>> start(
      const MachineConfig& config, MachineEvents events,
      const std::function<void(const ProcessIdentity&)>& started) = 0;
  // A machine that an earlier hostd started. not_found when its process has ended; unavailable when it does
  // not answer.
  virtual Result<std::shared_ptr<Machine>> attach(const MachineConfig& config, const ProcessIdentity& process,
                                                  MachineEvents events) = 0;
};

}  // namespace bootseal::host

#include "bootseal/host/qemu_hypervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <thread>

#include "accelerator_cache.h"
#include "bootseal/sandbox/sandbox.h"
#include "process_watch.h"
#include "qemu_machine.h"
#include "vm_confinement.h"

namespace bootseal::host {
namespace {

constexpr std::chrono::seconds kToolLimit{20};

Status need_file(const std::filesystem::path& path, std::string_view what, std::string_view package) {
  if (::access(path.c_str(), R_OK) == 0) return {};
  return fail(ErrorCode::unsupported,
              fmt::format("{} '{}' is not there; install {}", what, path.native(), package));
}

Result<std::string> tool_output(std::vector<std::string> arguments) {
  Command command;
  command.arguments = std::move(arguments);
  return run_checked(command, {}, kToolLimit);
}

// "ovmf 2022.11-6+deb12u2"; "" where dpkg does not know the file.
std::string package_of(const std::filesystem::path& file) {
  const Result<std::string> owner = tool_output({"dpkg-query", "-S", file.native()});
  if (!owner) return {};
  const std::string name = owner->substr(0, owner->find(':'));
  const Result<std::string> version = tool_output({"dpkg-query", "-W", "-f", "${Package} ${Version}", name});
  return version.value_or(name);
}

class QemuHypervisor final : public Hypervisor {
 public:
  QemuHypervisor(QemuOptions options, HostFacts facts, EventLoop& loop, WorkerPool& pool)
      : options_(std::move(options)), facts_(std::move(facts)), loop_(loop), pool_(pool) {}

  [[nodiscard]] const HostFacts& facts() const override { return facts_; }

  Result<std::shared_ptr<Machine>> start(
      const MachineConfig& config, MachineEvents events,
      const std::function<void(const ProcessIdentity&)>& started) override {
    BOOTSEAL_TRY(const ProcessIdentity process, spawn_qemu(config));
    started(process);
    auto machine = QemuMachine::create(config, process, std::move(events), loop_, pool_);
    const Status connected = machine->connect(options_.start_limit, true);
    if (!connected) {
      machine->kill();
      const std::string words = machine->last_words();
      end_process(process);
      return fail(connected.error().code,
                  words.empty() ? fmt::format("QEMU did not start: {}", connected.error().describe())
                                : fmt::format("QEMU did not start: {}", words));
    }
    return std::shared_ptr<Machine>(machine);
  }

  Result<std::shared_ptr<Machine>> attach(const MachineConfig& config, const ProcessIdentity& process,
                                          MachineEvents events) override {
    if (!is_running(process))
      return fail(ErrorCode::not_found, fmt::format("the QEMU process {} has ended", process.pid));
    auto machine = QemuMachine::create(config, process, std::move(events), loop_, pool_);
    BOOTSEAL_TRY_STATUS(machine->connect(options_.start_limit, false));
    return std::shared_ptr<Machine>(machine);
  }

 private:
  // What QEMU gets as descriptors because it cannot open or make it: disks of the store, sockets of its
  // network.
  static Status open_more(const MachineConfig& config, const QemuDescriptors& places,
                          std::vector<std::pair<int, UniqueFd>>& more) {
    int number = places.first_disk;
    for (const MachineDisk& disk : store_disks(config)) {
      BOOTSEAL_TRY(UniqueFd file, open_disk(disk.file.path, disk.read_only));
      more.emplace_back(number, std::move(file));
      if (!disk.file.image.empty()) {
        BOOTSEAL_TRY(UniqueFd image, open_disk(disk.file.image, true));
        more.emplace_back(number + 1, std::move(image));
      }
      number += 2;
    }
    for (std::size_t i = 0; i < config.interfaces.size(); ++i) {
      BOOTSEAL_TRY(UniqueFd listener, listen_unix(interface_socket(config.run_folder, i)));
      more.emplace_back(places.first_interface + static_cast<int>(i), std::move(listener));
    }
    return {};
  }

  Result<ProcessIdentity> spawn_qemu(const MachineConfig& config) {
    ConsoleFile console(config.serial_log);
    BOOTSEAL_TRY_STATUS(console.start_again());
    BOOTSEAL_TRY_STATUS(ConsoleFile(config.hypervisor_log).start_again());
    BOOTSEAL_TRY(const UniqueFd serial_log,
                 open_file(config.serial_log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    BOOTSEAL_TRY(const UniqueFd log,
                 open_file(config.hypervisor_log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    BOOTSEAL_TRY(const UniqueFd qmp, listen_unix(config.run_folder / "qmp.sock"));
    BOOTSEAL_TRY(const UniqueFd serial, listen_unix(config.run_folder / "serial.sock"));
    BOOTSEAL_TRY(const UniqueFd agent, listen_unix(config.run_folder / "agent.sock"));
    ::unlink((config.run_folder / "own/vnc.sock").c_str());
    const QemuDescriptors places;
    std::vector<std::pair<int, UniqueFd>> more;
    BOOTSEAL_TRY_STATUS(open_more(config, places, more));
    Command command;
    command.arguments =
        qemu_arguments(config, facts_.accelerator.kind, options_.firmware, places, options_.program);
    command.environment = {{"PATH", "/usr/local/bin:/usr/bin:/bin"},
                           {"BOOTSEAL_HOME", options_.paths.home.native()}};
    command.working_folder = "/";
    command.fds = {{1, log.get()},
                   {2, log.get()},
                   {places.qmp, qmp.get()},
                   {places.serial, serial.get()},
                   {places.agent, agent.get()},
                   {places.serial_log, serial_log.get()}};
    for (const auto& [number, fd] : more) command.fds[number] = fd.get();
    command.new_session = true;
    const bool kvm = facts_.accelerator.kind == AcceleratorKind::kvm;
    std::vector<sandbox::VisiblePath> visible{{config.run_folder, false}, {config.disk.parent_path(), false}};
    if (!config.os_disk_id) visible.push_back({config.image, true});
    BOOTSEAL_TRY(command.before_exec, confine_in_home(options_.paths, config.uid,
                                                      kvm ? sandbox::kvm_group() : std::nullopt, visible, 0));
    // The listening sockets close with this scope: when QEMU ends, so do its connections.
    return spawn(command);
  }

  QemuOptions options_;
  HostFacts facts_;
  EventLoop& loop_;
  WorkerPool& pool_;
};

}  // namespace

Result<std::unique_ptr<Hypervisor>> create_qemu_hypervisor(QemuOptions options, EventLoop& loop,
                                                           WorkerPool& pool) {
  BOOTSEAL_TRY_STATUS(need_file(options.firmware.secure_code, "the firmware", "ovmf"));
  BOOTSEAL_TRY_STATUS(need_file(options.firmware.plain_code, "the firmware", "ovmf"));
  BOOTSEAL_TRY_STATUS(need_file(options.firmware.plain_variables, "the firmware's variables", "ovmf"));
  const Result<std::string> version = tool_output({options.program, "--version"});
  if (!version)
    return fail(ErrorCode::unsupported, "QEMU cannot be run; install qemu-system-x86", version.error());
  BOOTSEAL_TRY(const std::string machines, tool_output({options.program, "-machine", "help"}));
  HostFacts facts;
  facts.host_id = options.host_id;
  facts.hypervisor_version = version->substr(0, version->find('\n'));
  BOOTSEAL_TRY(facts.machine_type, choose_machine_type(machines));
  facts.firmware_code = options.firmware.secure_code.native();
  facts.firmware_package = package_of(options.firmware.secure_code);
  facts.cpus = std::max(1U, std::thread::hardware_concurrency());
  struct sysinfo memory {};
  if (::sysinfo(&memory) == 0)
    facts.memory_mib = static_cast<std::uint64_t>(memory.totalram) * memory.mem_unit >> 20;
  facts.missing_protections = sandbox::missing_protections();
  facts.accelerator = known_accelerator(options, facts);
  return std::make_unique<QemuHypervisor>(std::move(options), std::move(facts), loop, pool);
}

}  // namespace bootseal::host

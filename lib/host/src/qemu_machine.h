// One QEMU process and the connections to it.
#pragma once

#include <atomic>
#include <mutex>

#include "bootseal/host/executor.h"
#include "bootseal/host/hypervisor.h"
#include "bootseal/host/peer_client.h"
#include "process_watch.h"

namespace bootseal::host {

// The agent's hello; invalid_argument when it is none. Texts are cut at 200 characters.
Result<AgentHello> parse_agent_hello(const json::Value& event);

// A connected socket of `path` whose listener belongs to one of these uids: the folder is the VM's, and who
// owns the VM could have put another socket there. permission_denied otherwise.
Result<UniqueFd> connect_checked(const std::filesystem::path& path, std::initializer_list<uid_t> owners);

// A file of a disk, for QEMU. Errors as open_file.
Result<UniqueFd> open_disk(const std::filesystem::path& path, bool read_only);

class QemuMachine final : public Machine, public std::enable_shared_from_this<QemuMachine> {
 public:
  static std::shared_ptr<QemuMachine> create(const MachineConfig& config, const ProcessIdentity& process,
                                             MachineEvents events, EventLoop& loop, WorkerPool& pool) {
    return std::shared_ptr<QemuMachine>(new QemuMachine(config, process, std::move(events), loop, pool));
  }
  ~QemuMachine() override;

  // QMP, console and agent port. `fresh` = just started, otherwise found again.
  Status connect(std::chrono::milliseconds limit, bool fresh);

  [[nodiscard]] ProcessIdentity process() const override { return process_; }
  Status resume() override;
  Status pause() override;
  Status press_power_button() override;
  Status dump_memory(const std::filesystem::path& file) override;
  void kill() override;
  [[nodiscard]] bool wait_ended(std::chrono::milliseconds limit) override;
  [[nodiscard]] std::string last_words() const override;
  [[nodiscard]] const ConsoleLog& console() const override { return console_; }
  void type_on_console(std::string_view text) override;
  void ask_agent(std::string_view method, const json::Value& parameters, std::chrono::milliseconds limit,
                 std::function<void(Result<json::Value>)> done) override;
  void greet_agent() override;
  Result<std::vector<DiskId>> disks() override;
  Status attach_disk(const MachineDisk& disk) override;
  Status detach_disk(const DiskId& disk) override;
  Status grow_disk(const DiskId& disk, std::uint64_t size) override;
  Result<CopyWait> begin_copy(const DiskId& disk, const std::filesystem::path& target) override;

 private:
  QemuMachine(const MachineConfig& config, const ProcessIdentity& process, MachineEvents events,
              EventLoop& loop, WorkerPool& pool)
      : config_(config),
        process_(process),
        events_(std::move(events)),
        loop_(loop),
        pool_(pool),
        console_file_(config.serial_log),
        hypervisor_log_(config.hypervisor_log) {}

  Status connect_qmp(std::chrono::milliseconds limit);
  Status connect_console();
  Status connect_agent();
  // Any thread: later, as long as the process runs.
  void reconnect_later(std::string_view which, Status (QemuMachine::*connect)());
  Result<json::Value> execute(std::string_view command, const json::Value& arguments,
                              std::chrono::milliseconds limit = std::chrono::seconds(10));
  // qemu_disks.cpp
  // A descriptor set with this file; QEMU closes it when nothing uses it any more, after drop_set().
  Result<std::uint64_t> add_set(const std::filesystem::path& file, bool read_only);
  void drop_set(std::uint64_t set);
  void drop_first_sets();
  Result<std::string> node_of(const DiskId& disk);
  Status delete_node(const std::string& node);
  Status wait_for_copy(const std::string& job, const std::string& node,
                       const std::function<bool()>& cancelled);

  void on_qmp_event(const PeerMessage& event);
  void on_console_data(std::string_view data);
  void on_agent_event(const PeerMessage& event);
  void on_ended();

  const MachineConfig config_;
  const ProcessIdentity process_;
  MachineEvents events_;  // loop thread only, after connect()
  EventLoop& loop_;
  WorkerPool& pool_;
  ConsoleLog console_;
  const ConsoleFile console_file_, hypervisor_log_;
  std::shared_ptr<LogKeeper> logs_;  // set by connect()
  std::size_t since_trim_ = 0;       // loop thread only
  std::atomic<bool> ended_{false};
  std::unique_ptr<ProcessWatch> watch_;
  std::shared_ptr<PeerClient> qmp_;
  std::mutex mutex_;
  std::shared_ptr<StreamChannel> serial_;  // guarded by mutex_
  std::shared_ptr<PeerClient> agent_;      // guarded by mutex_
};

}  // namespace bootseal::host

// The network of a VM that runs, as hostd needs it (docs/architecture.md, Network in user mode).
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bootseal/base/ids.h"
#include "bootseal/base/subprocess.h"
#include "bootseal/netd/interface.h"

namespace bootseal::host {

struct NetworkConfig {
  VmId vm;
  uid_t uid = 0;
  std::filesystem::path run_folder;
  // As the VM was started with them: their order is that of QEMU's devices.
  std::vector<netd::Interface> interfaces;
};

struct Forward {
  netd::Protocol protocol = netd::Protocol::tcp;
  netd::Ipv4Address address;
  std::uint16_t port = 0, guest_port = 0;
  bool operator==(const Forward&) const = default;
};

struct InterfaceStatus {
  std::string nic_id;
  std::string mode;  // "user"
  std::vector<Forward> forwards;
  std::vector<std::string> problems;
  bool try_again = false;  // a problem that may go away by itself: a port that is taken
  bool operator==(const InterfaceStatus&) const = default;
};

// The network of one machine. Calls block and come from the VM's strand.
class VmNetwork {
 public:
  virtual ~VmNetwork() = default;
  [[nodiscard]] virtual ProcessIdentity process() const = 0;
  // Brings rules and open ports to what `interfaces` say (those of the config, with other rules and public
  // addresses), and connects QEMU where it is not connected. Errors: unavailable, timeout when the process
  // does not answer; a port that cannot be opened is a problem of its interface.
  virtual Result<std::vector<InterfaceStatus>> apply(const std::vector<netd::Interface>& interfaces) = 0;
  // Ends the process.
  virtual void end() = 0;
};

class Networks {
 public:
  virtual ~Networks() = default;
  // `started` runs as soon as there is a process; `ended` on the loop thread, once, when it is gone.
  virtual Result<std::shared_ptr<VmNetwork>> start(
      const NetworkConfig& config, std::function<void()> ended,
      const std::function<void(const ProcessIdentity&)>& started) = 0;
  // One that an earlier hostd started. not_found when it has ended.
  virtual Result<std::shared_ptr<VmNetwork>> attach(const NetworkConfig& config,
                                                    const ProcessIdentity& process,
                                                    std::function<void()> ended) = 0;
};

}  // namespace bootseal::host

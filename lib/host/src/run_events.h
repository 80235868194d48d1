// What the processes of one run told and the VM has not heard yet. They are not trusted: however much they
// tell, one of each kind waits, and one task on the strand hears them all.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>

#include "bootseal/host/hypervisor.h"

namespace bootseal::host {

struct Shutdown {
  std::string reason;
  bool by_guest = false;
};

struct WaitingEvents {
  std::optional<Shutdown> shutdown;
  std::optional<Generation> generation;
  bool reset = false;
  bool serial = false;              // since that reset
  std::optional<AgentHello> hello;  // since that reset
};

// Thread safe.
class RunEvents {
 public:
  // Each returns true when nothing waited before: whoever tells then posts the task that takes them.
  bool tell_shutdown(Shutdown shutdown);
  bool tell_generation(Generation generation);
  bool tell_reset();
  bool tell_serial();
  bool tell_hello(AgentHello hello);
  // The machine has ended: what waits is dropped, except why it ended and what the vault must know; nothing
  // more of a machine is taken.
  void end_machine();

  WaitingEvents take();

  // Strand only: when the run's memory was last dumped for a diagnosis, and since when one waits for another
  // virtual machine's.
  std::optional<std::chrono::steady_clock::time_point> last_dump, dump_waits_since;

 private:
  template <typename Change>
  bool tell(const Change& change);

  std::mutex mutex_;
  WaitingEvents waiting_;  // guarded by mutex_
  bool anything_ = false;  // guarded by mutex_: a task that takes them is on its way
  bool ended_ = false;     // guarded by mutex_
};

}  // namespace bootseal::host

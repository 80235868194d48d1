// Runs the daemons of a site: starts them in order, restarts one that ends, ends them on request.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "daemons.h"

namespace bootseal::app {

class Supervisor {
 public:
  // `report` gets a line for each step of the start.
  Supervisor(Paths paths, std::filesystem::path passphrase_file,
             std::function<void(const std::string&)> report)
      : paths_(std::move(paths)), passphrase_file_(std::move(passphrase_file)), report_(std::move(report)) {}

  // Ends daemons that a supervisor before this one left, and starts all anew; each answers when this returns.
  // After an error everything that was started has been ended.
  Status start();
  // Until SIGTERM or SIGINT (which the caller has blocked); then ends the daemons, last started first. VMs
  // are not touched.
  Status run();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Child {
    ProcessIdentity process;
    Time started;
    std::chrono::milliseconds backoff{0};
    Time restart_at{};
    bool running = false;
  };

  Status start_one(std::string_view name);
  void reap();
  void restart_due();
  [[nodiscard]] int next_restart_ms() const;
  void stop_all();

  Paths paths_;
  std::filesystem::path passphrase_file_;
  std::function<void(const std::string&)> report_;
  std::map<std::string, Child, std::less<>> children_;
};

}  // namespace bootseal::app

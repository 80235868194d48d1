// Decides when which VM gets its next step, and listens to the host.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "vm_reconciler.h"

namespace bootseal::api {

class Reconciler {
 public:
  struct Settings {
    std::chrono::seconds events_wait;
    std::chrono::milliseconds first_retry;
    std::chrono::milliseconds last_retry;
    const Clock* clock;
  };
  Reconciler(Database& database, Peers& peers, StatusBoard& board, VmReconciler& steps, Settings settings)
      : database_(database), peers_(peers), board_(board), steps_(steps), settings_(settings) {}
  ~Reconciler() { stop(); }

  // One step of a resource of the common kind, by its ResourceId::key(). Before start().
  using ResourceStep = std::function<Outcome(const std::string&, const std::string&, const std::stop_token&)>;
  void set_resource_steps(ResourceStep step) { step_resource_ = std::move(step); }
  // Called once an hour. Before start().
  void set_clean_up(std::function<Status()> clean_up) { clean_up_ = std::move(clean_up); }
  void start();
  void stop();
  // Look at this VM or other resource (its ResourceId::key()) or group (of a group) now. Thread safe; also
  // before start().
  void wake(const std::string& key);
  // wake(), and a step of this VM that waits for its guest's evidence, the vault or attestd gives up: another
  // operation is wanted now. Call it when that is stored. What is urgent does not wait for the steps of other
  // VMs either.
  enum class Urgency : std::uint8_t { usual, urgent };
  void preempt(const std::string& key, Urgency urgency);

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Item {
    Time due{};
    std::chrono::milliseconds retry_after{0};
    std::string reason;
    bool running = false;
    bool urgent = false;    // until nobody waits for it
    bool woken = false;     // while it was running
    std::stop_source step;  // ends the waiting of the step that is running
  };

  void work(Urgency lane, std::stop_token stop);
  void listen(std::stop_token stop);
  void wake_everything();
  void take_events(const HostEvents& events);
  Outcome step(const std::string& key, const std::string& reason, const std::stop_token& stop);
  // Guarded by mutex_.
  Item& wake_item(const std::string& key);
  // Guarded by mutex_: the due item of a lane that has waited longest, or none.
  std::map<std::string, Item>::iterator next_due(Urgency lane, Time now);

  Database& database_;
  Peers& peers_;
  StatusBoard& board_;
  VmReconciler& steps_;
  Settings settings_;
  ResourceStep step_resource_;
  std::function<Status()> clean_up_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, Item> items_;  // guarded by mutex_
  std::vector<std::jthread> threads_;
};

}  // namespace bootseal::api

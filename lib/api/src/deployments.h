// Carries deployments out: what a template names is made through the gateway, as the caller who made the
// deployment, several resources at once, each after what it depends on. Every step is stored before it is
// begun and after it has ended: a run goes on where it was when the control plane is killed, and a resource
// that is made is not made again.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "deployment_request.h"
#include "deployment_store.h"

namespace bootseal::api {

class DeploymentRun;

class Deployments {
 public:
  explicit Deployments(Service& service);
  ~Deployments();

  // Goes on with what was going on. Once.
  void start();
  // Ends the threads; what was going on goes on at the next start.
  void stop();

  // Checks the template and begins. 400 InvalidTemplate and others of templates::Plan; 409 DeploymentActive
  // while an earlier run of the same name goes on. `text` = the request's body.
  model::ArmResult<DeploymentRecord> begin(const Caller& caller, const DeploymentTarget& target,
                                           const DeploymentRequest& request, std::string_view text,
                                           const std::string& correlation_id);
  // The record such a request would make; nothing is stored. Errors as begin().
  model::ArmResult<std::pair<DeploymentRecord, std::unique_ptr<templates::Plan>>> check(
      const Caller& caller, const DeploymentTarget& target, const DeploymentRequest& request,
      std::string_view text, const std::string& correlation_id);
  // 409 DeploymentCannotBeCancelled when it does not go on. What was begun in it goes on by itself.
  model::ArmStatus cancel(const DeploymentRecord& record);
  // 409 DeploymentActive while it goes on.
  model::ArmStatus remove(const DeploymentRecord& record);

  // The group is being deleted: what goes on in it ends, and what has ended is forgotten. How many still go
  // on.
  model::ArmResult<std::size_t> forget_scope(const std::string& scope);

  [[nodiscard]] DeploymentStore& store() { return store_; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Item {
    std::shared_ptr<DeploymentRun> run;
    Time due{};
    bool running = false;
    bool woken = false;  // while it was running
  };
  void work(const std::stop_token& stop);
  void watch(const std::stop_token& stop);
  void advance(const std::string& key, const std::shared_ptr<DeploymentRun>& run);
  void wake(const std::string& key);
  void wake_all();
  model::ArmStatus make_room(const std::string& scope);

  Service& service_;
  DeploymentStore store_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, Item> items_;  // guarded by mutex_; by DeploymentRecord::key()
  std::vector<std::jthread> threads_;
};

}  // namespace bootseal::api

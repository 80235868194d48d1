// One run of a deployment. Not for several threads at once.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "deployment_request.h"
#include "deployment_store.h"

namespace bootseal::api {

class DeploymentRun {
 public:
  DeploymentRun(Service& service, DeploymentStore& store, DeploymentRecord record)
      : service_(service), store_(store), record_(std::move(record)) {}

  // Looks at what is going on, begins what can be begun, and ends the run when nothing is left. True when it
  // has ended. An error of the store leaves everything as it was: try again.
  Result<bool> advance();
  [[nodiscard]] const DeploymentRecord& record() const { return record_; }

 private:
  Result<bool> load();
  // What is made: the steps that go on, then the ones that can begin.
  Status poll();
  Status poll_step(DeploymentStep& step);
  Status begin_resources();
  Status begin_resource(std::size_t index);
  Status begin_removals(bool& left);
  Status begin_removal(const std::string& id, const std::string& type, const std::string& name, bool& left);
  // Takes up what a request that makes or deletes was answered.
  void take_answer(DeploymentStep& step, const InnerAnswer& answer);
  Status end_step(DeploymentStep& step, std::optional<model::ArmError> error);
  Status end(std::string state, std::optional<model::ArmError> error);
  Status end_by_steps();
  [[nodiscard]] std::size_t going_on() const;
  [[nodiscard]] bool failed() const;
  DeploymentStep* step_of(const std::string& id, bool removal);

  Service& service_;
  DeploymentStore& store_;
  DeploymentRecord record_;
  std::unique_ptr<templates::Plan> plan_;
  std::map<std::string, DeploymentStep> steps_;  // by "create " or "delete " and the id in lower case
  std::map<std::string, int> tries_;             // of requests that were to be tried again later
};

}  // namespace bootseal::api

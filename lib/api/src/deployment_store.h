// Deployments as they are stored: what clients see, the template, what a run needs while it goes on, and its
// steps.
//
// A record is under `deployments/<id in lower case>`; templates, which may be larger than a value of the
// store, lie in pieces under `deployment-templates/<run>/`, the parameters with their secrets under
// `deployment-parameters/<run>/` until the run has ended, steps under `deployment-steps/<run>/`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/model/resource_id.h"
#include "gateway.h"
#include "memory_table.h"

namespace bootseal::api {

struct DeploymentRecord {
  std::string id;     // as it was first written
  std::string scope;  // the id of the group or the subscription
  std::string name;
  std::string location;  // of a deployment in the subscription
  json::Object tags;
  std::string run_id;     // a GUID; a new one for each PUT, and the id of the operation that clients poll
  std::string state;      // "Accepted", "Running", "Succeeded", "Failed", "Canceled"
  bool complete = false;  // deletes what the template does not name
  Caller caller;          // who made it, and as whom it goes on
  TimePoint started;
  std::optional<TimePoint> ended;
  std::string correlation_id;
  std::string template_hash;
  json::Object parameters;  // without secrets
  json::Object outputs;
  json::Array providers;
  json::Array dependencies;
  json::Array output_resources;
  std::optional<model::ArmError> error;
  store::Revision revision = 0;

  [[nodiscard]] std::string key() const { return model::to_lower(id); }
  [[nodiscard]] bool active() const { return state == "Accepted" || state == "Running"; }
  // As clients get it.
  [[nodiscard]] json::Object answer() const;
};
using DeploymentPointer = std::shared_ptr<const DeploymentRecord>;

// One resource that is made or deleted.
struct DeploymentStep {
  std::string resource;  // its id
  std::string type;
  std::string name;
  bool removal = false;
  std::string state;      // "Running", "Succeeded", "Failed"
  std::string operation;  // the id of the operation it waits for; empty = the resource itself says
  int status = 0;         // HTTP, of the first answer
  std::optional<model::ArmError> error;
  TimePoint begun;
  std::optional<TimePoint> ended;

  [[nodiscard]] bool running() const { return state == "Running"; }
};

// An error as it is stored, with its status. Members that are missing stay as they are by default.
json::Object error_to_json(const model::ArmError& error);
model::ArmError error_from_json(const json::Value& value);

class DeploymentStore {
 public:
  explicit DeploymentStore(store::Store& store);

  // nullptr when there is none.
  Result<DeploymentPointer> get(const std::string& id);
  // Those directly in a scope, or all (empty).
  Result<std::vector<DeploymentPointer>> list(const std::string& scope);
  // Conflict when the record changed since it was read. The record's new revision.
  Result<store::Revision> put(const DeploymentRecord& record);
  // With all that belongs to its run.
  Status remove(const DeploymentRecord& record);

  enum class Text : std::uint8_t { document, parameters };
  Status put_text(Text kind, const std::string& run_id, const std::string& text);
  Result<std::string> text(Text kind, const std::string& run_id);
  Status remove_text(Text kind, const std::string& run_id);

  Status put_step(const std::string& run_id, const DeploymentStep& step);
  Result<std::vector<DeploymentStep>> steps(const std::string& run_id);
  // Kept beside the record, which only the run writes while it goes on.
  Status ask_to_cancel(const std::string& run_id);
  Result<bool> is_to_be_cancelled(const std::string& run_id);
  // What is left of the run that a new one takes the place of.
  Status forget_run(const std::string& run_id);

 private:
  Status remove_all(const std::string& prefix);
  store::Store& store_;
  MemoryTable<DeploymentRecord> table_;
};

}  // namespace bootseal::api

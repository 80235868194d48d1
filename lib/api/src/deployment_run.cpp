#include "deployment_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/log/log.h"
#include "bootseal/model/virtual_machine.h"

namespace bootseal::api {
namespace {

constexpr std::size_t kAtOnce = 20;  // resources of one deployment
constexpr int kMaxTries = 120;       // of a request that was answered "later"
constexpr json::Limits kStoredTemplate{.bytes = std::size_t{64} << 20, .depth = 200};

std::string step_name(const std::string& id, bool removal) {
  return (removal ? "delete " : "create ") + model::to_lower(id);
}

bool is_final(std::string_view state) {
  return state.empty() || state == "Succeeded" || state == "Failed" || state == "Canceled";
}

// The last part of the path of an Azure-AsyncOperation address.
std::string operation_of(const std::string& address) {
  const std::string path = address.substr(0, address.find('?'));
  return path.substr(path.rfind('/') + 1);
}

bool is_deployment(const DeploymentStep& step) {
  return model::equal_ignoring_case(step.type, "Microsoft.Resources/deployments");
}

model::ArmError deployment_failed(std::vector<model::ArmError> details) {
  return {409,
          "DeploymentFailed",
          "At least one resource deployment operation failed. Please list deployment operations for details. "
          "Please see "
          "https://aka.ms/arm-deployment-operations for usage details.",
          {},
          std::move(details)};
}

}  // namespace

DeploymentStep* DeploymentRun::step_of(const std::string& id, bool removal) {
  const auto found = steps_.find(step_name(id, removal));
  return found == steps_.end() ? nullptr : &found->second;
}

std::size_t DeploymentRun::going_on() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(steps_, [](const auto& one) { return one.second.running(); }));
}

bool DeploymentRun::failed() const {
  return std::ranges::any_of(steps_, [](const auto& one) { return one.second.state == "Failed"; });
}

// False when the run ended because it cannot go on.
Result<bool> DeploymentRun::load() {
  if (plan_) return true;
  BOOTSEAL_TRY(const auto steps, store_.steps(record_.run_id));
  steps_.clear();
  for (const DeploymentStep& step : steps) steps_[step_name(step.resource, step.removal)] = step;
  BOOTSEAL_TRY(const std::string document_text, store_.text(DeploymentStore::Text::document, record_.run_id));
  BOOTSEAL_TRY(const std::string parameters_text,
               store_.text(DeploymentStore::Text::parameters, record_.run_id));
  BOOTSEAL_TRY(const json::Value document, json::parse(document_text, kStoredTemplate));
  BOOTSEAL_TRY(const json::Value parameters, json::parse(parameters_text, kStoredTemplate));
  if (!parameters.is_object())
    return fail(ErrorCode::corrupt, "the stored parameters of a deployment are no object");
  auto target = deployment_target(service_, record_.scope, record_.name);
  if (!target) {
    BOOTSEAL_TRY_STATUS(end("Failed", target.error()));
    return false;
  }
  auto plan = templates::Plan::create(plan_input(service_, *target, document, parameters.get_object(),
                                                 record_.complete, record_.started, {}));
  if (!plan) {
    BOOTSEAL_TRY_STATUS(end("Failed", plan.error()));
    return false;
  }
  plan_ = *std::move(plan);
  return true;
}

Result<bool> DeploymentRun::advance() {
  if (!record_.active()) return true;
  BOOTSEAL_TRY(const bool cancelled, store_.is_to_be_cancelled(record_.run_id));
  if (cancelled) {
    BOOTSEAL_TRY_STATUS(end(
        "Canceled", model::ArmError{409,
                                    "DeploymentCanceled",
                                    "The deployment was cancelled. Resources that had been begun go on by "
                                    "themselves; nothing more was begun.",
                                    {},
                                    {}}));
    return true;
  }
  BOOTSEAL_TRY(const bool loaded, load());
  if (!loaded) return true;
  if (record_.state == "Accepted") {
    record_.state = "Running";
    BOOTSEAL_TRY(record_.revision, store_.put(record_));
  }
  BOOTSEAL_TRY_STATUS(poll());
  BOOTSEAL_TRY_STATUS(begin_resources());
  if (going_on() > 0 || !tries_.empty()) return false;
  if (record_.complete && !failed()) {
    bool left = false;
    BOOTSEAL_TRY_STATUS(begin_removals(left));
    if (going_on() > 0 || left) return false;
  }
  BOOTSEAL_TRY_STATUS(end_by_steps());
  return true;
}

Status DeploymentRun::poll() {
  for (auto& [name, step] : steps_)
    if (step.running()) BOOTSEAL_TRY_STATUS(poll_step(step));
  return {};
}

Status DeploymentRun::poll_step(DeploymentStep& step) {
  // Begun, and killed before the answer was stored: begin_resources() asks again.
  if (step.status == 0) return {};
  if (!step.operation.empty() && !is_deployment(step)) {
    BOOTSEAL_TRY(const auto operation, service_.database.operation(step.operation));
    if (operation) {
      if (operation->status == model::OperationStatus::in_progress) return {};
      if (operation->status == model::OperationStatus::succeeded) return end_step(step, std::nullopt);
      return end_step(step,
                      operation->error.value_or(model::ArmError{
                          500, "InternalServerError", "The operation failed without a reason.", {}, {}}));
    }
  }
  const std::string version = is_deployment(step) ? "2021-04-01" : "";
  const InnerAnswer answer = call_inside(service_, record_.caller, "GET", step.resource, version);
  if (step.removal) {
    if (answer.response.status == 404) return end_step(step, std::nullopt);
    return {};
  }
  if (!answer.good()) return end_step(step, answer.error());
  const std::string state = answer.provisioning_state();
  if (!is_final(state)) return {};
  if (state.empty() || state == "Succeeded") return end_step(step, std::nullopt);
  const json::Value* error = answer.body.at("properties").get_object().if_contains("error");
  return end_step(step, error != nullptr
                            ? error_from_json(*error)
                            : model::ArmError{409,
                                              "ResourceDeploymentFailure",
                                              fmt::format("The resource '{}' ended in the state '{}'.",
                                                          step.resource, state),
                                              {},
                                              {}});
}

Status DeploymentRun::begin_resources() {
  const auto& resources = plan_->resources();
  for (const std::size_t index : plan_->order()) {
    if (going_on() >= kAtOnce) return {};
    const DeploymentStep* step = step_of(resources[index].id, false);
    if (step != nullptr && !(step->running() && step->status == 0)) continue;
    const bool ready = std::ranges::all_of(resources[index].depends_on, [&](std::size_t needed) {
      const DeploymentStep* before = step_of(resources[needed].id, false);
      return before != nullptr && before->state == "Succeeded";
    });
    if (ready) BOOTSEAL_TRY_STATUS(begin_resource(index));
  }
  return {};
}

Status DeploymentRun::begin_resource(std::size_t index) {
  const templates::PlannedResource& resource = plan_->resources()[index];
  DeploymentStep& step = steps_[step_name(resource.id, false)];
  if (step.state.empty()) {
    step.resource = resource.id;
    step.type = resource.type;
    step.name = resource.name;
    step.state = "Running";
    step.begun = service_.now();
    BOOTSEAL_TRY_STATUS(store_.put_step(record_.run_id, step));
  }
  GatewayRuntime runtime(service_, record_.caller);
  const auto body = plan_->body(index, runtime);
  if (!body) return end_step(step, body.error());
  take_answer(step, call_inside(service_, record_.caller, "PUT", resource.id, resource.api_version,
                                json::serialize(*body)));
  if (!step.running()) return end_step(step, step.error);
  return store_.put_step(record_.run_id, step);
}

void DeploymentRun::take_answer(DeploymentStep& step, const InnerAnswer& answer) {
  const std::string name = step_name(step.resource, step.removal);
  const bool later = answer.response.status == 429 || answer.response.status == 503;
  if (later && ++tries_[name] < kMaxTries) return;  // the next look asks again
  tries_.erase(name);
  step.status = answer.response.status;
  if (!answer.good()) {
    step.error = answer.error();
    step.state = "Failed";
    return;
  }
  const std::string address = answer.header("Azure-AsyncOperation");
  if (!address.empty()) {
    step.operation = operation_of(address);
    return;
  }
  const std::string state = answer.provisioning_state();
  if (step.removal ? answer.response.status != 202 : is_final(state)) {
    step.state = state == "Failed" || state == "Canceled" ? "Failed" : "Succeeded";
    if (step.state == "Failed") step.error = answer.error();
  }
}

Status DeploymentRun::end_step(DeploymentStep& step, std::optional<model::ArmError> error) {
  step.state = error ? "Failed" : "Succeeded";
  step.error = std::move(error);
  step.ended = service_.now();
  tries_.erase(step_name(step.resource, step.removal));
  if (step.error) {
    log::info("deployment.step_failed",
              {{"deployment", record_.id}, {"resource", step.resource}, {"code", step.error->code}});
  }
  return store_.put_step(record_.run_id, step);
}

// Complete mode: what is in the group and not in the template goes. `left` = something has to wait for
// something else.
Status DeploymentRun::begin_removals(bool& left) {
  std::set<std::string> wanted;
  for (const templates::PlannedResource& resource : plan_->resources())
    if (resource.active) wanted.insert(model::to_lower(resource.id));
  const auto count_ended = [&] {
    return std::ranges::count_if(steps_,
                                 [](const auto& one) { return one.second.removal && one.second.ended; });
  };
  const auto ended_before = count_ended();
  const std::string group = model::to_lower(record_.scope);
  BOOTSEAL_TRY(const auto vms, service_.database.vms(group));
  for (const VmRecord& vm : vms) {
    if (!wanted.contains(vm.id.key()))
      BOOTSEAL_TRY_STATUS(
          begin_removal(vm.id.to_string(), std::string(model::kVirtualMachineType), vm.id.name, left));
  }
  BOOTSEAL_TRY(const auto resources, service_.resources.below(group));
  for (const ResourcePointer& resource : resources) {
    // Children go with their parents, and extensions with what they extend.
    const bool own = resource->id.parents.empty() && resource->id.extended.empty();
    if (own && !wanted.contains(resource->key()))
      BOOTSEAL_TRY_STATUS(
          begin_removal(resource->id.to_string(), resource->id.full_type(), resource->id.name, left));
  }
  // What waits for nothing that goes on will not come to an end by waiting.
  if (!left || going_on() > 0 || count_ended() > ended_before) return {};
  left = false;
  for (auto& [name, step] : steps_)
    if (step.removal && step.state.empty()) BOOTSEAL_TRY_STATUS(end_step(step, step.error));
  return {};
}

Status DeploymentRun::begin_removal(const std::string& id, const std::string& type, const std::string& name,
                                    bool& left) {
  DeploymentStep& step = steps_[step_name(id, true)];
  if (step.ended || (step.running() && step.status != 0)) return {};
  step.resource = id;
  step.type = type;
  step.name = name;
  step.removal = true;
  step.state = "Running";
  step.begun = service_.now();
  step.status = 0;
  BOOTSEAL_TRY_STATUS(store_.put_step(record_.run_id, step));
  take_answer(step, call_inside(service_, record_.caller, "DELETE", id, {}));
  if (step.state == "Failed" && step.status == 409) {
    // Something that goes as well may still use it.
    step.state.clear();
    left = true;
    return {};
  }
  if (!step.running()) return end_step(step, step.error);
  return store_.put_step(record_.run_id, step);
}

Status DeploymentRun::end_by_steps() {
  std::vector<model::ArmError> details;
  for (const auto& [name, step] : steps_) {
    if (step.state != "Failed") continue;
    model::ArmError detail = step.error.value_or(model::ArmError{});
    detail.target = step.resource;
    details.push_back(std::move(detail));
  }
  if (!details.empty()) return end("Failed", deployment_failed(std::move(details)));
  GatewayRuntime runtime(service_, record_.caller);
  auto outputs = plan_->outputs(runtime);
  if (!outputs) return end("Failed", outputs.error());
  record_.outputs = *std::move(outputs);
  return end("Succeeded", std::nullopt);
}

Status DeploymentRun::end(std::string state, std::optional<model::ArmError> error) {
  record_.state = std::move(state);
  record_.error = std::move(error);
  record_.ended = service_.now();
  record_.output_resources.clear();
  for (const auto& [name, step] : steps_)
    if (!step.removal && step.state == "Succeeded")
      record_.output_resources.push_back(json::Object{{"id", step.resource}});
  // Secrets live as long as the run.
  BOOTSEAL_TRY_STATUS(store_.remove_text(DeploymentStore::Text::parameters, record_.run_id));
  Result<store::Revision> written = store_.put(record_);
  if (!written && written.error().code == ErrorCode::invalid_argument) {
    record_.outputs.clear();
    record_.state = "Failed";
    record_.error = model::ArmError{
        409,
        "DeploymentOutputEvaluationFailed",
        "The outputs of the deployment are larger than what one deployment may answer (1 MiB).",
        {},
        {}};
    written = store_.put(record_);
  }
  BOOTSEAL_TRY(record_.revision, std::move(written));
  log::info("deployment.ended", {{"deployment", record_.id},
                                 {"state", record_.state},
                                 {"code", record_.error ? record_.error->code : ""}});
  return {};
}

}  // namespace bootseal::api

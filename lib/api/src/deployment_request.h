// A deployment as a client sends it, and what its template sees around it.
#pragma once

#include <string>

#include "bootseal/template/plan.h"
#include "service.h"

namespace bootseal::api {

struct DeploymentTarget {
  std::string scope;  // the id of the group or the subscription
  std::string name;
  bool in_group = true;
  json::Object resource_group;  // as its GET answers it; empty in the subscription

  // "…/providers/Microsoft.Resources/deployments/NAME"
  [[nodiscard]] std::string id() const {
    return scope + "/providers/Microsoft.Resources/deployments/" + name;
  }
};

struct DeploymentRequest {
  json::Value document;     // the template
  json::Object parameters;  // {"name":{"value"}}
  bool complete = false;
  std::string location;
  json::Object tags;
  bool only_ids = false;  // of what-if: ResourceIdOnly
};

// From the path. 400 for a name that cannot be one, 404 ResourceGroupNotFound, SubscriptionNotFound.
model::ArmResult<DeploymentTarget> deployment_target(Service& service, const net::Request& request);
// The same from what is stored; the group may be gone.
model::ArmResult<DeploymentTarget> deployment_target(Service& service, const std::string& scope,
                                                     const std::string& name);
// The body, read with the liberties of az. 400 InvalidRequestContent, InvalidDeployment.
model::ArmResult<DeploymentRequest> parse_deployment(const DeploymentTarget& target,
                                                     const net::Request& request);
// What plans are made of. `text` (the body, for places in messages) may be empty, and must outlive the input.
templates::PlanInput plan_input(const Service& service, const DeploymentTarget& target,
                                const json::Value& document, const json::Object& parameters, bool complete,
                                TimePoint now, std::string_view text);

// Reads resources through the gateway, as this caller.
class GatewayRuntime final : public templates::Runtime {
 public:
  GatewayRuntime(Service& service, const Caller& caller) : service_(service), caller_(caller) {}
  model::ArmResult<json::Value> resource(const std::string& id, const std::string& api_version) override;
  model::ArmResult<json::Value> list(const std::string& function, const std::string& id,
                                     const std::string& api_version, const json::Value& body) override;
  model::ArmResult<json::Value> provider(const std::string& name_space, const std::string& type) override;

 private:
  Service& service_;
  const Caller& caller_;
};

// A request to the gateway; the answer's body, or its error.
struct InnerAnswer {
  net::Response response;
  json::Value body;  // null when there is none
  [[nodiscard]] bool good() const { return response.status >= 200 && response.status < 300; }
  [[nodiscard]] model::ArmError error() const;
  [[nodiscard]] std::string header(std::string_view name) const;
  // properties.provisioningState; empty when there is none.
  [[nodiscard]] std::string provisioning_state() const;
};
InnerAnswer call_inside(Service& service, const Caller& caller, const std::string& method,
                        const std::string& path, const std::string& api_version,
                        const std::string& body = {});

}  // namespace bootseal::api

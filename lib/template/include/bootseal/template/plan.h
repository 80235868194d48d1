// A template and its parameters, expanded into the resources to make, in the order in which they can be made.
//
//   BOOTSEAL_ARM_TRY(const auto plan, templates::Plan::create(std::move(input)));
//   for (const std::size_t index : plan->order()) …
//     BOOTSEAL_ARM_TRY(const json::Object body, plan->body(index, runtime));
//
// Pure and deterministic: the same input makes the same plan, so that a run is continued from what it was
// begun with (known_parameters() holds the answers of newGuid() and utcNow()). Not for several threads at
// once.
//
// Supported: parameters of every type with their constraints, variables and copies of them, functions of the
// user, resources as array or (languageVersion 2.0) as object, copy of resources, properties, variables and
// outputs, conditions, children inside their parents, scopes, existing resources, dependencies by name,
// type/name, id, symbolic name or loop in any case, nested deployments with inner or outer scope. Refused,
// and said so: linked templates, parameters from a key vault, extensions.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/model/arm_error.h"
#include "bootseal/template/evaluator.h"
#include "bootseal/template/tolerant_json.h"

namespace bootseal::templates {

inline constexpr std::size_t kMaxResources = 800;  // Azure's limits
inline constexpr std::size_t kMaxParameters = 256;
inline constexpr std::size_t kMaxVariables = 256;
inline constexpr std::size_t kMaxOutputs = 64;
inline constexpr std::size_t kMaxNesting = 5;  // of deployments inside deployments

// Where the value at a path of the template ("resources[2].name") stands in the text the user wrote; for
// messages.
using Where = std::function<std::optional<TextPlace>(std::string_view path)>;

struct PlanInput {
  json::Value document;     // the template
  json::Object parameters;  // {"name":{"value":…}}
  Surroundings surroundings;
  Where where;  // may be empty
  Limits limits;
  std::size_t nesting = 0;  // how many deployments this one is nested in
};

struct PlannedResource {
  std::string id;    // names as the template writes them
  std::string type;  // "Microsoft.Network/virtualNetworks/subnets"
  std::string name;  // "v/s"
  std::string api_version;
  std::string symbolic_name;            // of languageVersion 2.0; else empty
  std::string copy_name;                // the loop it comes from; else empty
  std::string path;                     // in the template: "resources[2].resources[0]"
  bool active = true;                   // its condition holds
  bool existing = false;                // only referred to, not made
  std::vector<std::size_t> depends_on;  // active resources to be made before it; ascending
  json::Object members;                 // what is sent, expressions not evaluated yet
  std::vector<Loop> loops;

  [[nodiscard]] bool is_deployment() const;
  [[nodiscard]] bool is_made() const { return active && !existing; }
};

class Plan {
 public:
  // 400 InvalidTemplate in Azure's words with the place where it is known, also for what only shows when
  // expressions are evaluated; 400 InvalidRequestContent for a template that is no object or has members that
  // no template has.
  static model::ArmResult<std::unique_ptr<Plan>> create(PlanInput input);
  virtual ~Plan() = default;

  [[nodiscard]] virtual const std::vector<PlannedResource>& resources() const = 0;
  // Indices of what is made, each after everything it depends on; otherwise in the order of the template.
  [[nodiscard]] virtual const std::vector<std::size_t>& order() const = 0;
  // What is sent for a resource: {"location","tags","properties",…}.
  virtual model::ArmResult<json::Object> body(std::size_t index, Runtime& runtime) = 0;
  // The same before anything exists: what is deferred stays as it is written.
  virtual model::ArmResult<json::Object> preview(std::size_t index) = 0;
  // {"name":{"type","value"}}; the values of secure outputs are left out.
  virtual model::ArmResult<json::Object> outputs(Runtime& runtime) = 0;
  // The plan of a nested deployment as far as it can be made before anything exists; nullptr when its
  // parameters are deferred or it goes to another scope.
  virtual model::ArmResult<std::unique_ptr<Plan>> nested(std::size_t index) = 0;

  // {"name":{"type","value"}} as answered: without the values of secure parameters.
  [[nodiscard]] virtual json::Object shown_parameters() const = 0;
  // {"name":{"value"}}, everything; makes the same plan again. Holds secrets.
  [[nodiscard]] virtual json::Object known_parameters() const = 0;
  // [{"namespace","resourceTypes":[{"resourceType","locations"}]}] and [{"id","resourceType","resourceName",
  // "dependsOn":[{"id","resourceType","resourceName"}]}], as in a deployment's answer.
  [[nodiscard]] virtual json::Array providers() = 0;
  [[nodiscard]] virtual json::Array dependencies() const = 0;
};

}  // namespace bootseal::templates

// Evaluates the expressions of a template against what is around it.
//
//   templates::Budget budget;
//   templates::Evaluator evaluator(surroundings, symbols, runtime, budget);
//   BOOTSEAL_ARM_TRY(const json::Value body, evaluator.value(resource_properties));
//
// Pure, and bounded in time, memory and depth by the budget. Names of functions, members, parameters and
// variables are compared without regard to case. What only exists once resources do (reference(), list…())
// comes from the Runtime; without one such an expression is *deferred* (is_deferred()).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/model/arm_error.h"
#include "bootseal/template/expression.h"

namespace bootseal::templates {

// What resourceGroup(), subscription(), tenant(), deployment() and environment() answer.
struct Surroundings {
  json::Object resource_group;  // empty for a deployment at a subscription
  json::Object subscription;
  json::Object tenant;
  json::Object deployment;
  json::Object environment;
  // The id below which resourceId() makes its ids: "/subscriptions/S/resourceGroups/G" or "/subscriptions/S".
  std::string scope;
  TimePoint now;  // utcNow()
};

// What exists: the resources, read when an expression wants them.
class Runtime {
 public:
  virtual ~Runtime() = default;
  // The whole resource, as a GET answers it. `api_version` may be empty.
  virtual model::ArmResult<json::Value> resource(const std::string& id, const std::string& api_version) = 0;
  // list…(): what `POST id/function` answers.
  virtual model::ArmResult<json::Value> list(const std::string& function, const std::string& id,
                                             const std::string& api_version, const json::Value& body) = 0;
  // The entry of a resource type as in GET …/providers: {"resourceType","locations","apiVersions"}.
  virtual model::ArmResult<json::Value> provider(const std::string& name_space, const std::string& type) = 0;
};

struct UserFunction {
  std::vector<std::string> parameters;
  json::Value output;
};

class Evaluator;

// What the names in a template's expressions stand for.
class Symbols {
 public:
  virtual ~Symbols() = default;
  // 400 InvalidTemplate when there is none of that name.
  virtual model::ArmResult<json::Value> parameter(std::string_view name, Evaluator& evaluator) = 0;
  virtual model::ArmResult<json::Value> variable(std::string_view name, Evaluator& evaluator) = 0;
  // nullptr when there is none.
  virtual const UserFunction* function(std::string_view name_space, std::string_view name) = 0;
  // The id that reference('name') means, with its api-version; nothing when the template has no such
  // resource.
  struct Named {
    std::string id;
    std::string api_version;
  };
  virtual std::vector<Named> resources_named(std::string_view name) = 0;
};

struct Limits {
  std::uint64_t work = 64'000'000;          // bytes of results made, and 16 for every call
  std::size_t depth = 160;                  // of calls and values inside each other, variables included
  std::size_t text = std::size_t{4} << 20;  // bytes of one text
};

// What is left of the limits; shared by everything that one request evaluates.
class Budget {
 public:
  explicit Budget(Limits limits = {}) : limits_(limits) {}
  // 400 InvalidTemplate when the work or the depth of this value is too much.
  model::ArmStatus charge(const json::Value& value);
  model::ArmStatus charge(std::uint64_t work);
  [[nodiscard]] const Limits& limits() const { return limits_; }

 private:
  Limits limits_;
  std::uint64_t spent_ = 0;
};

// One copy loop around an expression.
struct Loop {
  std::string name;
  std::int64_t index = 0;
};

class Evaluator {
 public:
  // All arguments outlive the evaluator; `runtime` may be nullptr.
  Evaluator(const Surroundings& surroundings, Symbols& symbols, Runtime* runtime, Budget& budget)
      : surroundings_(surroundings), symbols_(symbols), runtime_(runtime), budget_(budget) {}

  // The value of an expression tree.
  model::ArmResult<json::Value> expression(const Expression& tree);
  // What a string of a template stands for.
  model::ArmResult<json::Value> text(std::string_view text);
  // The same for every string in a value, names of members included; "copy" loops of properties expanded.
  model::ArmResult<json::Value> value(const json::Value& value);
  // As above; must come out as a string. `what` names it in the error ("the name of the resource").
  model::ArmResult<std::string> string(const json::Value& value, std::string_view what);

  // Loops around what is evaluated next, the innermost last. copyIndex() is about the innermost.
  std::vector<Loop> loops;
  // utcNow() and newGuid() are allowed (default values of parameters only, as on Azure).
  bool volatile_functions = false;
  // A deferred expression in value() stays as it is written, instead of ending the evaluation (what-if).
  bool keep_deferred = false;
  // Told of every expression that stays so.
  std::function<void(const Expression& tree)> on_deferred;

  // -- for the functions --
  [[nodiscard]] const Surroundings& surroundings() const { return surroundings_; }
  [[nodiscard]] Symbols& symbols() { return symbols_; }
  [[nodiscard]] Runtime* runtime() { return runtime_; }
  [[nodiscard]] Budget& budget() { return budget_; }
  // Names bound by lambda(), the innermost last.
  std::vector<std::pair<std::string, json::Value>> lambda_variables;

 private:
  model::ArmResult<json::Value> call(const Expression& tree);
  model::ArmResult<json::Value> call_user_function(const Expression& tree);
  model::ArmResult<json::Value> member(const json::Value& target, std::string_view name);
  model::ArmResult<json::Value> element(const json::Value& target, const json::Value& index);
  model::ArmResult<json::Value> object(const json::Object& object);
  model::ArmStatus expand_copies(const json::Array& copies, json::Object& into);

  const Surroundings& surroundings_;
  Symbols& symbols_;
  Runtime* runtime_;
  Budget& budget_;
  std::size_t depth_ = 0;
  bool in_user_function_ = false;
};

// True for the error of an expression that needs a Runtime where there was none.
bool is_deferred(const model::ArmError& error);
// 400 InvalidTemplate.
tl::unexpected<model::ArmError> invalid_template(std::string message);
// The member whose name is the same without regard to case; nullptr when there is none.
const json::Value* find_member(const json::Object& object, std::string_view name);
// The names of all functions of the language, in lower case.
std::vector<std::string> function_names();

}  // namespace bootseal::templates

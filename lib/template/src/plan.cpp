#include "bootseal/template/plan.h"

#include <algorithm>
#include <array>

#include "dependencies.h"
#include "functions.h"
#include "nested.h"
#include "outputs.h"
#include "resource_ids.h"

namespace bootseal::templates {
namespace {

constexpr std::array<std::string_view, 12> kSections{
    "$schema",    "contentVersion", "apiProfile", "languageVersion", "definitions", "metadata",
    "parameters", "variables",      "functions",  "resources",       "outputs",     "imports"};

model::ArmStatus check_document(const TemplateContext& context) {
  const json::Object* document = context.input.document.if_object();
  if (document == nullptr)
    return model::refuse(400, "InvalidRequestContent",
                         "The request content was invalid: the template must be an object.",
                         "properties.template");
  for (const auto& member : *document) {
    const bool known = std::ranges::any_of(
        kSections, [&](std::string_view one) { return model::equal_ignoring_case(one, member.key()); });
    if (known) continue;
    return model::refuse(
        400, "InvalidRequestContent",
        fmt::format(
            "The request content was invalid and could not be deserialized: 'Could not find member '{}' "
            "on object of type 'Template'. Path 'properties.template.{}''.",
            std::string_view(member.key()), std::string_view(member.key())),
        "properties.template." + std::string(member.key()));
  }
  const json::Value* imports = find_member(*document, "imports");
  if (imports != nullptr && imports->is_structured() &&
      !(imports->is_object() ? imports->get_object().empty() : imports->get_array().empty()))
    return TemplateContext::problem("imports",
                                    "Imported extensions are not available on this site; remove 'imports'");
  return {};
}

json::Object resource_reference(const PlannedResource& resource) {
  return {{"id", resource.id}, {"resourceType", resource.type}, {"resourceName", resource.name}};
}

class PlanOfTemplate final : public Plan {
 public:
  explicit PlanOfTemplate(PlanInput input) : context_(std::move(input)) {}

  model::ArmStatus make() {
    if (context_.input.nesting > kMaxNesting) {
      return TemplateContext::problem(
          "resources",
          fmt::format("Deployments are nested deeper than {} levels. Flatten them", kMaxNesting));
    }
    BOOTSEAL_ARM_TRY_STATUS(check_document(context_));
    BOOTSEAL_ARM_TRY(symbols_, TemplateSymbols::create(context_));
    BOOTSEAL_ARM_TRY(Expansion expansion, expand_resources(context_, *symbols_));
    names_.emplace(expansion);
    symbols_->find_resources = [this](std::string_view name) { return named(name); };
    BOOTSEAL_ARM_TRY_STATUS(connect(context_, expansion, *names_));
    resources_ = std::move(expansion.resources);
    for (std::size_t i = 0; i < resources_.size(); ++i)
      if (resources_[i].is_made()) BOOTSEAL_ARM_TRY_STATUS(check_body(i));
    BOOTSEAL_ARM_TRY(order_, sort_by_dependency(resources_));
    BOOTSEAL_ARM_TRY_STATUS(check_outputs(context_, *symbols_));
    for (const std::size_t index : order_)
      if (resources_[index].is_deployment()) BOOTSEAL_ARM_TRY_STATUS(nested(index));
    return {};
  }

  [[nodiscard]] const std::vector<PlannedResource>& resources() const override { return resources_; }
  [[nodiscard]] const std::vector<std::size_t>& order() const override { return order_; }

  model::ArmResult<json::Object> body(std::size_t index, Runtime& runtime) override {
    Budget budget(context_.input.limits);
    VersionedRuntime versioned(runtime, *this);
    Evaluator evaluator(context_.input.surroundings, *symbols_, &versioned, budget);
    return members(index, evaluator);
  }

  model::ArmResult<json::Object> preview(std::size_t index) override {
    Budget budget(context_.input.limits);
    Evaluator evaluator(context_.input.surroundings, *symbols_, nullptr, budget);
    evaluator.keep_deferred = true;
    return members(index, evaluator);
  }

  model::ArmResult<json::Object> outputs(Runtime& runtime) override {
    Budget budget(context_.input.limits);
    VersionedRuntime versioned(runtime, *this);
    Evaluator evaluator(context_.input.surroundings, *symbols_, &versioned, budget);
    return evaluate_outputs(context_, evaluator);
  }

  model::ArmResult<std::unique_ptr<Plan>> nested(std::size_t index) override {
    const PlannedResource& resource = resources_[index];
    Evaluator evaluator(context_.input.surroundings, *symbols_, nullptr, context_.budget);
    BOOTSEAL_ARM_TRY(json::Object members, this->members(index, evaluator, true));
    const json::Value* properties = members.if_contains("properties");
    const std::string expected =
        make_id(context_.input.surroundings.scope, resource.type, split_path(resource.name));
    if (properties == nullptr || !model::equal_ignoring_case(expected, resource.id))
      return std::unique_ptr<Plan>();
    PlanInput input;
    input.document = properties->at("template");
    input.surroundings = context_.input.surroundings;
    input.surroundings.deployment = {{"name", resource.name},
                                     {"properties", json::Object{{"mode", "Incremental"}}}};
    input.limits = context_.input.limits;
    input.nesting = context_.input.nesting + 1;
    if (const json::Value* parameters = properties->get_object().if_contains("parameters");
        parameters != nullptr) {
      if (!parameters->is_object()) return std::unique_ptr<Plan>();
      input.parameters = parameters->get_object();
    }
    // Charged to the outer template, so that nesting does not multiply what one request may cost.
    auto made = std::make_unique<PlanOfTemplate>(std::move(input));
    made->context_.budget = context_.budget;
    const model::ArmStatus status = made->make();
    context_.budget = made->context_.budget;
    if (!status) return tl::unexpected(at_nested(resource, status.error()));
    return std::unique_ptr<Plan>(std::move(made));
  }

  [[nodiscard]] json::Object shown_parameters() const override {
    json::Object result;
    for (const Parameter& parameter : symbols_->declared()) {
      json::Object shown{{"type", to_string(parameter.type)}};
      if (!is_secure(parameter.type)) shown["value"] = symbols_->values().at(model::to_lower(parameter.name));
      result[parameter.name] = std::move(shown);
    }
    return result;
  }

  [[nodiscard]] json::Object known_parameters() const override {
    json::Object result;
    for (const Parameter& parameter : symbols_->declared())
      result[parameter.name] =
          json::Object{{"value", symbols_->values().at(model::to_lower(parameter.name))}};
    return result;
  }

  [[nodiscard]] json::Array providers() override {
    std::map<std::string, std::map<std::string, json::Value>> found;
    for (const std::size_t index : order_) {
      const PlannedResource& resource = resources_[index];
      const std::size_t slash = resource.type.find('/');
      json::Value location;
      if (const json::Value* given = find_member(resource.members, "location")) {
        Evaluator evaluator(context_.input.surroundings, *symbols_, nullptr, context_.budget);
        evaluator.loops = resource.loops;
        if (Outcome value = evaluator.value(*given); value && value->is_string()) location = *value;
      }
      found[resource.type.substr(0, slash)].emplace(resource.type.substr(slash + 1), location);
    }
    json::Array result;
    for (const auto& [name_space, types] : found) {
      json::Array shown;
      for (const auto& [type, location] : types)
        shown.push_back(json::Object{{"resourceType", type}, {"locations", json::Array{location}}});
      result.push_back(json::Object{{"namespace", name_space}, {"resourceTypes", std::move(shown)}});
    }
    return result;
  }

  [[nodiscard]] json::Array dependencies() const override {
    json::Array result;
    for (const std::size_t index : order_) {
      if (resources_[index].depends_on.empty()) continue;
      json::Array needed;
      for (const std::size_t to : resources_[index].depends_on)
        needed.push_back(resource_reference(resources_[to]));
      json::Object entry{{"dependsOn", std::move(needed)}};
      for (auto& member : resource_reference(resources_[index])) entry[member.key()] = member.value();
      result.push_back(std::move(entry));
    }
    return result;
  }

 private:
  // Gives resources of the template the api-version that the template names for them.
  class VersionedRuntime final : public Runtime {
   public:
    VersionedRuntime(Runtime& inner, PlanOfTemplate& plan) : inner_(inner), plan_(plan) {}
    Outcome resource(const std::string& id, const std::string& api_version) override {
      return inner_.resource(id, version(id, api_version));
    }
    Outcome list(const std::string& function, const std::string& id, const std::string& api_version,
                 const json::Value& body) override {
      return inner_.list(function, id, version(id, api_version), body);
    }
    Outcome provider(const std::string& name_space, const std::string& type) override {
      return inner_.provider(name_space, type);
    }

   private:
    std::string version(const std::string& id, const std::string& given) {
      if (!given.empty()) return given;
      const std::vector<Symbols::Named> found = plan_.named(id);
      return found.size() == 1 ? found.front().api_version : given;
    }
    Runtime& inner_;
    PlanOfTemplate& plan_;
  };

  [[nodiscard]] std::vector<Symbols::Named> named(std::string_view name) const {
    std::vector<Symbols::Named> result;
    const std::vector<std::size_t>* found = names_->find_resource(name);
    if (found == nullptr) return result;
    // A resource that is not made gives way to one of the same name that is.
    const bool some_active =
        std::ranges::any_of(*found, [&](std::size_t one) { return resources_[one].active; });
    for (const std::size_t index : *found)
      if (resources_[index].active || !some_active)
        result.push_back({resources_[index].id, resources_[index].api_version});
    return result;
  }

  // Evaluates what can be evaluated, so that mistakes show before anything is made, and notes what is
  // referred to.
  model::ArmStatus check_body(std::size_t index) {
    Evaluator evaluator(context_.input.surroundings, *symbols_, nullptr, context_.budget);
    evaluator.keep_deferred = true;
    evaluator.on_deferred = [&](const Expression& tree) { note_references(index, evaluator, tree); };
    BOOTSEAL_ARM_TRY_STATUS(members(index, evaluator));
    return {};
  }

  void note_references(std::size_t from, Evaluator& evaluator, const Expression& tree) {
    visit_references(evaluator, tree, [&](const Expression& call) {
      if (call.arguments.empty()) return;
      const Outcome target = evaluator.expression(*call.arguments.front());
      if (!target || !target->is_string()) return;
      const std::vector<std::size_t>* found = names_->find_resource(text_of(*target));
      if (found == nullptr) return;
      for (const std::size_t to : *found) add_dependency(resources_, from, to);
    });
  }

  // `settled`: a deployment whose parameters are deferred comes out without properties.
  model::ArmResult<json::Object> members(std::size_t index, Evaluator& evaluator, bool settled = false) {
    const PlannedResource& resource = resources_[index];
    evaluator.loops = resource.loops;
    json::Object given = resource.members;
    std::optional<json::Value> nested_template;
    json::Value* properties = resource.is_deployment() ? given.if_contains("properties") : nullptr;
    if (properties != nullptr && properties->is_object()) {
      BOOTSEAL_ARM_TRY(nested_template, take_template(resource, properties->get_object()));
    }
    Outcome evaluated = evaluator.value(json::Value(std::move(given)));
    if (!evaluated && settled && is_deferred(evaluated.error())) return json::Object();
    if (!evaluated)
      return tl::unexpected(at_resource(context_, resource.path, resource.id, evaluated.error()));
    json::Object result = std::move(evaluated->get_object());
    if (!nested_template) return result;
    json::Object& target = result["properties"].get_object();
    if (has_inner_scope(target)) {
      target["template"] = std::move(*nested_template);
      return result;
    }
    model::ArmResult<IsolatedTemplate> isolated = isolate(context_, *symbols_, evaluator, *nested_template);
    if (!isolated) return tl::unexpected(at_resource(context_, resource.path, resource.id, isolated.error()));
    if (evaluator.on_deferred) note_nested_references(isolated->document, evaluator);
    target["template"] = std::move(isolated->document);
    target["parameters"] = std::move(isolated->parameters);
    target["expressionEvaluationOptions"] = json::Object{{"scope", "inner"}};
    return result;
  }

  void note_nested_references(const json::Value& value, Evaluator& evaluator) {
    if (value.is_string() && is_expression(text_of(value))) {
      if (const auto tree = parse_expression(text_of(value))) evaluator.on_deferred(**tree);
    } else if (const json::Array* list = value.if_array()) {
      for (const json::Value& element : *list) note_nested_references(element, evaluator);
    } else if (const json::Object* members = value.if_object()) {
      for (const auto& member : *members) note_nested_references(member.value(), evaluator);
    }
  }

  // Takes the template out of a nested deployment's properties: it is not evaluated with the rest.
  model::ArmResult<std::optional<json::Value>> take_template(const PlannedResource& resource,
                                                             json::Object& properties) const {
    if (find_member(properties, "templateLink") != nullptr ||
        find_member(properties, "parametersLink") != nullptr) {
      return TemplateContext::problem(resource.path,
                                      fmt::format("The nested deployment '{}'{} is a link. This site fetches "
                                                  "no templates; put the template itself into "
                                                  "'properties.template'",
                                                  resource.name, context_.at(resource.path)));
    }
    const json::Value* found = find_member(properties, "template");
    if (found == nullptr || !found->is_object()) {
      return TemplateContext::problem(resource.path,
                                      fmt::format("The nested deployment '{}'{} has no 'properties.template'",
                                                  resource.name, context_.at(resource.path)));
    }
    json::Value taken = *found;
    json::Object rest;
    for (const auto& member : properties)
      if (!model::equal_ignoring_case(member.key(), "template")) rest[member.key()] = member.value();
    properties = std::move(rest);
    return std::optional(std::move(taken));
  }

  static model::ArmError at_nested(const PlannedResource& resource, const model::ArmError& error) {
    model::ArmError result = error;
    result.message = fmt::format("In the nested deployment '{}': {}", resource.name, error.message);
    return result;
  }

  TemplateContext context_;
  std::unique_ptr<TemplateSymbols> symbols_;
  std::optional<ResourceNames> names_;
  std::vector<PlannedResource> resources_;
  std::vector<std::size_t> order_;
};

}  // namespace

bool PlannedResource::is_deployment() const {
  return model::equal_ignoring_case(type, "Microsoft.Resources/deployments");
}

model::ArmResult<std::unique_ptr<Plan>> Plan::create(PlanInput input) {
  auto plan = std::make_unique<PlanOfTemplate>(std::move(input));
  BOOTSEAL_ARM_TRY_STATUS(plan->make());
  return std::unique_ptr<Plan>(std::move(plan));
}

}  // namespace bootseal::templates

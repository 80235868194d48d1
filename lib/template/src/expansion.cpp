#include "expansion.h"

#include <algorithm>
#include <array>

#include "functions.h"
#include "resource_ids.h"

namespace bootseal::templates {
namespace {

// Members of a resource that are instructions to the deployment, not part of the resource.
constexpr std::array<std::string_view, 13> kInstructions{
    "type",  "name",     "apiVersion", "condition", "copy",   "dependsOn", "resources",
    "scope", "existing", "comments",   "metadata",  "import", "asserts"};

bool is_instruction(std::string_view name, bool deployment) {
  if (deployment && (model::equal_ignoring_case(name, "resourceGroup") ||
                     model::equal_ignoring_case(name, "subscriptionId")))
    return true;
  return std::ranges::any_of(kInstructions,
                             [&](std::string_view one) { return model::equal_ignoring_case(one, name); });
}

struct Parent {
  std::size_t index = 0;
  std::string type;
  std::string name;
};

struct Source {
  const json::Object& resource;
  std::string path;
  std::string symbolic_name;
  std::optional<Parent> parent;
};

class Expander {
 public:
  Expander(TemplateContext& context, TemplateSymbols& symbols) : context_(context), symbols_(symbols) {}

  model::ArmResult<Expansion> run() {
    const json::Value* section = find_member(context_.input.document.get_object(), "resources");
    if (section == nullptr || section->is_null())
      return TemplateContext::problem("resources", "Required property 'resources' not found in the template");
    BOOTSEAL_ARM_TRY_STATUS(all(*section, "resources", std::nullopt));
    return std::move(result_);
  }

 private:
  model::ArmStatus all(const json::Value& section, const std::string& path,
                       const std::optional<Parent>& parent) {
    const auto each = [&](const json::Value& resource, const std::string& at,
                          std::string symbolic_name) -> model::ArmStatus {
      if (!resource.is_object())
        return TemplateContext::problem(
            at, fmt::format("The template resource{} must be an object.", context_.at(at)));
      return one({resource.get_object(), at, std::move(symbolic_name), parent});
    };
    if (const json::Array* list = section.if_array()) {
      for (std::size_t i = 0; i < list->size(); ++i)
        BOOTSEAL_ARM_TRY_STATUS(each((*list)[i], fmt::format("{}[{}]", path, i), {}));
      return {};
    }
    if (!section.is_object() || parent)
      return TemplateContext::problem(
          path, "The template's 'resources' must be an array, or an object of symbolic names.");
    for (const auto& member : section.get_object())
      BOOTSEAL_ARM_TRY_STATUS(
          each(member.value(), fmt::format("{}.{}", path, std::string_view(member.key())), member.key()));
    return {};
  }

  // A resource, as often as its copy says.
  model::ArmStatus one(const Source& source) {
    const json::Value* copy = find_member(source.resource, "copy");
    if (!source.symbolic_name.empty())
      result_.symbolic_names.try_emplace(model::to_lower(source.symbolic_name));
    if (copy == nullptr || copy->is_null()) return instance(source, std::nullopt);
    const auto wrong = [&](std::string_view why) {
      return TemplateContext::problem(source.path + ".copy",
                                      fmt::format("The copy of the template resource{} is not valid: {}.",
                                                  context_.at(source.path), why));
    };
    if (!copy->is_object()) return wrong("it must be an object with a name and a count");
    if (source.parent && !loops_.empty())
      return wrong("a child inside a copied resource cannot be copied; move it out of its parent");
    Evaluator evaluator = make_evaluator();
    const json::Value* name = find_member(copy->get_object(), "name");
    const json::Value* count = find_member(copy->get_object(), "count");
    if (name == nullptr || count == nullptr) return wrong("it must have a name and a count");
    BOOTSEAL_ARM_TRY(const std::string loop,
                     evaluated(source, evaluator.string(*name, "the name of the copy")));
    BOOTSEAL_ARM_TRY(const json::Value times, evaluated(source, evaluator.value(*count)));
    if (!times.is_int64() || times.get_int64() < 0 ||
        times.get_int64() > static_cast<std::int64_t>(kMaxResources))
      return wrong(fmt::format("the copy count must be an integer of 0 to {}, it is {}", kMaxResources,
                               to_text(times)));
    const auto [made, fresh] = result_.copies.try_emplace(model::to_lower(loop));
    if (!fresh) return wrong(fmt::format("the template has two copy loops named '{}'", loop));
    BOOTSEAL_ARM_TRY(made->second.batch, batch_size(source, copy->get_object(), evaluator));
    for (std::int64_t i = 0; i < times.get_int64(); ++i) {
      loops_.push_back({loop, i});
      const model::ArmStatus status = instance(source, loop);
      loops_.pop_back();
      if (!status) return status;
    }
    return {};
  }

  model::ArmResult<std::size_t> batch_size(const Source& source, const json::Object& copy,
                                           Evaluator& evaluator) {
    const json::Value* mode = find_member(copy, "mode");
    if (mode == nullptr) return 0U;
    BOOTSEAL_ARM_TRY(const std::string text,
                     evaluated(source, evaluator.string(*mode, "the mode of the copy")));
    if (model::equal_ignoring_case(text, "parallel")) return 0U;
    const json::Value* size = find_member(copy, "batchSize");
    json::Value value(1);
    if (size != nullptr) {
      BOOTSEAL_ARM_TRY(value, evaluated(source, evaluator.value(*size)));
    }
    if (!model::equal_ignoring_case(text, "serial") || !value.is_int64() || value.get_int64() < 1 ||
        value.get_int64() > static_cast<std::int64_t>(kMaxResources)) {
      return TemplateContext::problem(source.path + ".copy",
                                      fmt::format("The copy of the template resource{} is not valid: its "
                                                  "mode must be Parallel or Serial, and its batchSize "
                                                  "an integer of at least 1.",
                                                  context_.at(source.path)));
    }
    return static_cast<std::size_t>(value.get_int64());
  }

  model::ArmStatus instance(const Source& source, const std::optional<std::string>& loop) {
    if (result_.resources.size() >= kMaxResources) {
      return TemplateContext::problem(
          "resources", fmt::format("The number of template resources limit exceeded. Limit: '{}'. Please see "
                                   "https://aka.ms/arm-resource-limits for usage details.",
                                   kMaxResources));
    }
    Evaluator evaluator = make_evaluator();
    PlannedResource planned;
    planned.path = source.path;
    planned.symbolic_name = source.symbolic_name;
    planned.copy_name = loop.value_or("");
    planned.loops = loops_;
    BOOTSEAL_ARM_TRY_STATUS(name_and_type(source, evaluator, planned));
    BOOTSEAL_ARM_TRY_STATUS(flags(source, evaluator, planned));
    BOOTSEAL_ARM_TRY_STATUS(api_version(source, evaluator, planned));
    BOOTSEAL_ARM_TRY(planned.id, id_of(source, evaluator, planned));
    BOOTSEAL_ARM_TRY(std::vector<std::string> wanted, dependencies(source, evaluator, planned));
    for (const auto& member : source.resource)
      if (!is_instruction(member.key(), planned.is_deployment()))
        planned.members[member.key()] = member.value();

    const std::size_t index = result_.resources.size();
    if (loop) result_.copies[model::to_lower(*loop)].resources.push_back(index);
    if (!source.symbolic_name.empty())
      result_.symbolic_names[model::to_lower(source.symbolic_name)].push_back(index);
    const Parent as_parent{index, planned.type, planned.name};
    const bool active = planned.active;
    result_.resources.push_back(std::move(planned));
    result_.wanted.push_back(std::move(wanted));
    result_.parents.push_back(source.parent ? std::optional(source.parent->index) : std::nullopt);

    const json::Value* children = find_member(source.resource, "resources");
    // Children of a resource that is not made are not made either.
    if (children == nullptr || children->is_null() || !active) return {};
    if (!children->is_array())
      return TemplateContext::problem(source.path + ".resources",
                                      "The 'resources' of a resource must be an array.");
    return all(*children, source.path + ".resources", as_parent);
  }

  model::ArmStatus name_and_type(const Source& source, Evaluator& evaluator, PlannedResource& planned) {
    for (const auto& [member, into] : {std::pair{"type", &planned.type}, std::pair{"name", &planned.name}}) {
      const json::Value* value = find_member(source.resource, member);
      if (value == nullptr) {
        return TemplateContext::problem(source.path,
                                        fmt::format("The template resource{} is not valid: it has no '{}'",
                                                    context_.at(source.path), member));
      }
      BOOTSEAL_ARM_TRY(
          *into, evaluated(source, evaluator.string(*value, fmt::format("the {} of the resource", member))));
    }
    if (source.parent) {
      const std::string prefix = source.parent->type + "/";
      const bool whole = model::to_lower(planned.type).starts_with(model::to_lower(prefix));
      if (!whole) planned.type = prefix + planned.type;
      if (!whole || split_path(planned.name).size() + 1 < split_path(planned.type).size())
        planned.name = source.parent->name + "/" + planned.name;
    }
    const std::vector<std::string> names = split_path(planned.name);
    const std::vector<std::string> types = split_path(planned.type);
    const bool blank =
        std::ranges::any_of(names, &std::string::empty) || std::ranges::any_of(types, &std::string::empty);
    if (types.size() == names.size() + 1 && !blank) return {};
    return TemplateContext::problem(
        source.path,
        fmt::format(
            "The template resource '{}' for type '{}'{} has incorrect segment lengths. A nested resource "
            "type must have "
            "identical number of segments as its resource name. A root resource type must have segment "
            "length one greater "
            "than its resource name. Please see https://aka.ms/arm-syntax-resources for usage details.",
            planned.name, planned.type, context_.at(source.path + ".type")));
  }

  model::ArmStatus flags(const Source& source, Evaluator& evaluator, PlannedResource& planned) {
    for (const auto& [member, into] :
         {std::pair{"condition", &planned.active}, std::pair{"existing", &planned.existing}}) {
      const json::Value* value = find_member(source.resource, member);
      if (value == nullptr) continue;
      BOOTSEAL_ARM_TRY(const json::Value flag, evaluated(source, evaluator.value(*value)));
      if (!flag.is_bool()) {
        return TemplateContext::problem(
            source.path, fmt::format("The '{}' of the template resource '{}'{} must be true or false.",
                                     member, planned.name, context_.at(source.path)));
      }
      *into = flag.get_bool();
    }
    return {};
  }

  model::ArmStatus api_version(const Source& source, Evaluator& evaluator, PlannedResource& planned) {
    const json::Value* value = find_member(source.resource, "apiVersion");
    if (value != nullptr) {
      BOOTSEAL_ARM_TRY(planned.api_version,
                       evaluated(source, evaluator.string(*value, "the apiVersion of the resource")));
    }
    if (model::check_api_version(planned.api_version)) return {};
    return TemplateContext::problem(
        source.path,
        fmt::format(
            "The template resource '{}'{} is not valid. {}", planned.name, context_.at(source.path),
            value == nullptr
                ? "The api-version is missing: write \"apiVersion\": \"2022-08-01\", or the version that the "
                  "resource type wants"
                : fmt::format("Its apiVersion '{}' is no api-version: write one as 2022-08-01",
                              planned.api_version)));
  }

  model::ArmResult<std::string> id_of(const Source& source, Evaluator& evaluator,
                                      const PlannedResource& planned) {
    const std::string& here = context_.input.surroundings.scope;
    const std::vector<std::string> parts = split_path(here);
    std::string subscription = parts.size() > 2 ? parts[2] : "";
    std::string scope = here;
    if (model::equal_ignoring_case(planned.type, "Microsoft.Resources/resourceGroups"))
      return fmt::format("/subscriptions/{}/resourceGroups/{}", subscription, planned.name);
    if (planned.is_deployment()) {
      const json::Value* other = find_member(source.resource, "subscriptionId");
      if (other != nullptr) {
        BOOTSEAL_ARM_TRY(subscription,
                         evaluated(source, evaluator.string(*other, "the subscriptionId of the deployment")));
        scope = "/subscriptions/" + subscription;
      }
      const json::Value* group = find_member(source.resource, "resourceGroup");
      if (group != nullptr) {
        BOOTSEAL_ARM_TRY(const std::string name,
                         evaluated(source, evaluator.string(*group, "the resourceGroup of the deployment")));
        scope = fmt::format("/subscriptions/{}/resourceGroups/{}", subscription, name);
      }
    }
    if (source.parent) scope = scope_of_parent(*source.parent);
    const json::Value* given = find_member(source.resource, "scope");
    if (given != nullptr && !given->is_null()) {
      BOOTSEAL_ARM_TRY(scope, evaluated(source, evaluator.string(*given, "the scope of the resource")));
      if (!scope.starts_with('/')) scope = extended_scope(here, scope);
    }
    return make_id(scope, planned.type, split_path(planned.name));
  }

  // What stands before "/providers/TYPE…" in the parent's id.
  [[nodiscard]] std::string scope_of_parent(const Parent& parent) const {
    const std::string& id = result_.resources[parent.index].id;
    const std::string tail = "/providers/" + interleave(parent.type, split_path(parent.name));
    return id.substr(0, id.size() - std::min(id.size(), tail.size()));
  }

  // "Microsoft.Compute/virtualMachines/vm1", or the name, of a resource that is extended.
  [[nodiscard]] std::string extended_scope(const std::string& here, const std::string& scope) const {
    for (const PlannedResource& resource : result_.resources) {
      const bool named =
          model::equal_ignoring_case(resource.type + "/" + resource.name, scope) ||
          (!resource.symbolic_name.empty() && model::equal_ignoring_case(resource.symbolic_name, scope));
      if (named) return resource.id;
    }
    return here + "/providers/" + scope;
  }

  model::ArmResult<std::vector<std::string>> dependencies(const Source& source, Evaluator& evaluator,
                                                          const PlannedResource& planned) {
    std::vector<std::string> result;
    const json::Value* given = find_member(source.resource, "dependsOn");
    if (given == nullptr || given->is_null()) return result;
    BOOTSEAL_ARM_TRY(const json::Value list, evaluated(source, evaluator.value(*given)));
    if (!list.is_array()) {
      return TemplateContext::problem(
          source.path + ".dependsOn",
          fmt::format("The 'dependsOn' of the template resource '{}'{} must be an array of strings.",
                      planned.name, context_.at(source.path)));
    }
    for (const json::Value& one : list.get_array()) {
      if (one.is_null()) continue;
      if (!one.is_string()) {
        return TemplateContext::problem(
            source.path + ".dependsOn",
            fmt::format("The 'dependsOn' of the template resource '{}'{} must hold strings only.",
                        planned.name, context_.at(source.path)));
      }
      result.emplace_back(text_of(one));
    }
    return result;
  }

  Evaluator make_evaluator() {
    Evaluator evaluator(context_.input.surroundings, symbols_, nullptr, context_.budget);
    evaluator.loops = loops_;
    return evaluator;
  }

  template <typename T>
  model::ArmResult<T> evaluated(const Source& source, model::ArmResult<T> result) {
    if (result) return result;
    const json::Value* name = find_member(source.resource, "name");
    return tl::unexpected(
        at_resource(context_, source.path, name != nullptr ? to_text(*name) : source.path, result.error()));
  }

  TemplateContext& context_;
  TemplateSymbols& symbols_;
  Expansion result_;
  std::vector<Loop> loops_;
};

}  // namespace

model::ArmError at_resource(const TemplateContext& context, std::string_view path, std::string_view name,
                            const model::ArmError& error) {
  if (error.message.starts_with("Deployment template") || error.message.starts_with("Unable to process"))
    return error;
  model::ArmError result = error;
  if (is_deferred(error)) result.code = "InvalidTemplate";
  result.message = fmt::format("Unable to process template language expressions for resource '{}'{}. '{}'",
                               name, context.at(path), error.message);
  result.target = path;
  return result;
}

model::ArmResult<Expansion> expand_resources(TemplateContext& context, TemplateSymbols& symbols) {
  return Expander(context, symbols).run();
}

}  // namespace bootseal::templates

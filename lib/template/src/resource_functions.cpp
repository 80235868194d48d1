// Ids of resources, and what is read from resources (learn.microsoft.com, "Resource functions for ARM
// templates").
#include "functions.h"
#include "resource_ids.h"

namespace bootseal::templates {
namespace {

// The type (the first argument with a '/'), the names after it and how many arguments stand before it.
struct Named {
  std::size_t before = 0;
  std::string type;
  std::vector<std::string> names;
};

model::ArmResult<Named> named(const Call& call, std::size_t first) {
  Named result;
  std::size_t at = first;
  for (; at < call.count(); ++at) {
    BOOTSEAL_ARM_TRY(const std::string_view text, call.text(at));
    if (text.find('/') != std::string_view::npos) break;
  }
  if (at >= call.count())
    return call.refuse(
        "a resource type is missing: its name has a '/', as in 'Microsoft.Network/virtualNetworks'.");
  result.before = at - first;
  result.type = text_of(call.arguments[at]);
  for (++at; at < call.count(); ++at) {
    BOOTSEAL_ARM_TRY(const std::string_view text, call.text(at));
    result.names.emplace_back(text);
  }
  const std::size_t wanted = split_path(result.type).size() - 1;
  if (result.names.size() != wanted) {
    return call.refuse(fmt::format("the type '{}' requires '{}' resource name argument(s), '{}' are given.",
                                   result.type, wanted, result.names.size()));
  }
  return result;
}

Outcome resource_id(Call& call) {
  BOOTSEAL_ARM_TRY(const Named target, named(call, 0));
  const std::string_view scope = call.evaluator.surroundings().scope;
  if (target.before > 2)
    return call.refuse("at most a subscription and a resource group may stand before the type.");
  if (target.before == 0) return to_value(make_id(scope, target.type, target.names));
  const std::vector<std::string> parts = split_path(scope);  // "", "subscriptions", S, …
  std::string subscription = parts.size() > 2 ? parts[2] : "";
  if (target.before == 2) subscription = text_of(call.arguments[0]);
  const std::string_view group = text_of(call.arguments[target.before - 1]);
  return to_value(make_id(fmt::format("/subscriptions/{}/resourceGroups/{}", subscription, group),
                          target.type, target.names));
}

Outcome subscription_resource_id(Call& call) {
  BOOTSEAL_ARM_TRY(const Named target, named(call, 0));
  if (target.before > 1) return call.refuse("at most a subscription may stand before the type.");
  const std::vector<std::string> parts = split_path(call.evaluator.surroundings().scope);
  std::string subscription = parts.size() > 2 ? parts[2] : "";
  if (target.before == 1) subscription = text_of(call.arguments[0]);
  return to_value(make_id("/subscriptions/" + subscription, target.type, target.names));
}

Outcome tenant_resource_id(Call& call) {
  BOOTSEAL_ARM_TRY(const Named target, named(call, 0));
  if (target.before != 0) return call.refuse("nothing may stand before the type.");
  return to_value(make_id("", target.type, target.names));
}

Outcome extension_resource_id(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view scope, call.text(0));
  BOOTSEAL_ARM_TRY(const Named target, named(call, 1));
  if (target.before != 0) return call.refuse("the type must follow the id of the extended resource.");
  return to_value(make_id(scope, target.type, target.names));
}

tl::unexpected<model::ArmError> deferred(const Call& call) {
  return model::refuse(
      400, "ExpressionDeferred",
      fmt::format("The template function '{}' is not expected at this location: it can only be used in "
                  "the properties of resources and in outputs.",
                  call.name));
}

// What the first argument of reference() or list…() means, with the api-version the template has for it.
model::ArmResult<Symbols::Named> target_of(const Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view given, call.text(0));
  const std::vector<Symbols::Named> found = call.evaluator.symbols().resources_named(given);
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    return invalid_template(
        fmt::format("The template reference '{}' is not valid: {} resources of the template have this name. "
                    "Use resourceId().",
                    given, found.size()));
  }
  if (given.starts_with('/')) return Symbols::Named{std::string(given), {}};
  return invalid_template(fmt::format(
      "The template reference '{}' is not valid: could not find template resource or resource copy with this "
      "name. Please see https://aka.ms/arm-function-reference for usage details.",
      given));
}

Outcome reference(Call& call) {
  BOOTSEAL_ARM_TRY(Symbols::Named target, target_of(call));
  if (call.count() > 1 && !call.arguments[1].is_null()) {
    BOOTSEAL_ARM_TRY(const std::string_view version, call.text(1));
    if (!version.empty()) target.api_version = version;
  }
  bool full = false;
  if (call.count() > 2) {
    BOOTSEAL_ARM_TRY(const std::string_view what, call.text(2));
    full = model::equal_ignoring_case(what, "Full");
    if (!full && !model::equal_ignoring_case(what, "Properties"))
      return call.refuse("argument 3 can only be 'Full'.");
  }
  if (call.evaluator.runtime() == nullptr) return deferred(call);
  BOOTSEAL_ARM_TRY(json::Value resource, call.evaluator.runtime()->resource(target.id, target.api_version));
  if (full) return resource;
  const json::Object* members = resource.if_object();
  const json::Value* properties = members == nullptr ? nullptr : find_member(*members, "properties");
  if (properties == nullptr) return json::Value(json::Object());
  return *properties;
}

Outcome list(Call& call) {
  BOOTSEAL_ARM_TRY(Symbols::Named target, target_of(call));
  if (call.count() > 1) {
    BOOTSEAL_ARM_TRY(const std::string_view version, call.text(1));
    if (!version.empty()) target.api_version = version;
  }
  if (call.evaluator.runtime() == nullptr) return deferred(call);
  const json::Value body = call.count() > 2 ? call.arguments[2] : json::Value(nullptr);
  return call.evaluator.runtime()->list(std::string(call.name), target.id, target.api_version, body);
}

Outcome providers(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view name_space, call.text(0));
  std::string_view type;
  if (call.count() > 1) {
    BOOTSEAL_ARM_TRY(type, call.text(1));
  }
  if (call.evaluator.runtime() == nullptr) return deferred(call);
  return call.evaluator.runtime()->provider(std::string(name_space), std::string(type));
}

// A site has one zone, which no resource names: Azure answers an empty array for a location without zones.
Outcome pick_zones(Call& call) {
  for (std::size_t i = 0; i < 3; ++i) BOOTSEAL_ARM_TRY_STATUS(call.text(i));
  for (std::size_t i = 3; i < call.count(); ++i) {
    BOOTSEAL_ARM_TRY(const std::int64_t count, call.integer(i));
    if (count < 0 || count > 3) return call.refuse("count and offset must be 0 to 3.");
  }
  return json::Value(json::Array());
}

}  // namespace

void add_resource_functions(FunctionTable& table) {
  table["resourceid"] = {2, kAnyCount, resource_id};
  table["subscriptionresourceid"] = {2, kAnyCount, subscription_resource_id};
  table["tenantresourceid"] = {2, kAnyCount, tenant_resource_id};
  table["extensionresourceid"] = {3, kAnyCount, extension_resource_id};
  table["reference"] = {1, 3, reference};
  table["list*"] = {1, 3, list};
  table["providers"] = {1, 2, providers};
  table["pickzones"] = {3, 5, pick_zones};
}

}  // namespace bootseal::templates

#include "deployment_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/template/tolerant_json.h"
#include "deployment_store.h"

namespace bootseal::api {
namespace {

constexpr std::string_view kDefaultVersion = "2022-09-01";
constexpr std::size_t kMaxNameLength = 64;

tl::unexpected<model::ArmError> bad_request(std::string message, std::string target = {}) {
  return model::refuse(
      400, "InvalidRequestContent",
      fmt::format("The request content was invalid and could not be deserialized: '{}'.", message),
      std::move(target));
}

model::ArmStatus check_deployment_name(const std::string& name) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '(' || c == ')';
  };
  if (!name.empty() && name.size() <= kMaxNameLength && std::ranges::all_of(name, is_allowed) &&
      !name.ends_with('.'))
    return {};
  return model::refuse(
      400, "InvalidDeploymentName",
      fmt::format(
          "The deployment name '{}' is invalid. It must have 1 to {} letters, digits, '-', '_', '.', '(' and "
          "')', and not end with a period.",
          name.substr(0, 80), kMaxNameLength),
      "name");
}

json::Object group_object(const GroupRecord& group) {
  return {{"id", model::ResourceId::of_group(group.subscription, group.name).to_string()},
          {"name", group.name},
          {"type", "Microsoft.Resources/resourceGroups"},
          {"location", group.location},
          {"tags", group.tags},
          {"properties", json::Object{{"provisioningState", group.deleting ? "Deleting" : "Succeeded"}}}};
}

model::ArmStatus check_group_stays(const GroupRecord& group) {
  if (!group.deleting) return {};
  return model::refuse(
      409, "ResourceGroupBeingDeleted",
      fmt::format("The resource group '{}' is in deprovisioning state and cannot perform this operation.",
                  group.name));
}

model::ArmStatus refuse_links(const json::Object& properties) {
  for (const char* member : {"templateLink", "parametersLink"}) {
    if (templates::find_member(properties, member) == nullptr) continue;
    return model::refuse(
        400, "InvalidTemplateDeployment",
        fmt::format(
            "'{}' is a link. This site fetches no templates from elsewhere: send the template itself in "
            "'properties.template' (az: --template-file), and the parameters in 'properties.parameters'.",
            member),
        fmt::format("properties.{}", member));
  }
  const json::Value* fallback = templates::find_member(properties, "onErrorDeployment");
  if (fallback == nullptr || fallback->is_null()) return {};
  return model::refuse(400, "InvalidTemplateDeployment",
                       "'onErrorDeployment' is not available on this site: deploy the earlier template again "
                       "when this one fails.",
                       "properties.onErrorDeployment");
}

}  // namespace

model::ArmResult<DeploymentTarget> deployment_target(Service& service, const net::Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(check_subscription(service, request));
  DeploymentTarget target;
  const auto name = request.parameters.find("deploymentName");
  if (name != request.parameters.end()) {
    target.name = name->second;
    BOOTSEAL_ARM_TRY_STATUS(check_deployment_name(target.name));
  }
  target.in_group = request.parameters.contains("resourceGroupName");
  target.scope = "/subscriptions/" + service.site.subscription;
  if (!target.in_group) return target;
  BOOTSEAL_ARM_TRY(const GroupRecord group, find_group(service, request));
  if (request.method == "PUT") BOOTSEAL_ARM_TRY_STATUS(check_group_stays(group));
  target.resource_group = group_object(group);
  target.scope = std::string(target.resource_group.at("id").get_string());
  return target;
}

model::ArmResult<DeploymentTarget> deployment_target(Service& service, const std::string& scope,
                                                     const std::string& name) {
  DeploymentTarget target{scope, name, true, {}};
  BOOTSEAL_ARM_TRY(const model::ResourceId id, model::ResourceId::parse(scope));
  target.in_group = !id.group.empty();
  if (!target.in_group) return target;
  BOOTSEAL_ARM_TRY(const auto group, service.database.group(id.subscription, id.group));
  if (!group) {
    return model::refuse(
        404, "ResourceGroupNotFound",
        fmt::format("Resource group '{}' could not be found: it was deleted while the deployment went on.",
                    id.group));
  }
  target.resource_group = group_object(*group);
  return target;
}

model::ArmResult<DeploymentRequest> parse_deployment(const DeploymentTarget& target,
                                                     const net::Request& request) {
  const Result<json::Value> body = templates::read_tolerant_json(request.body);
  if (!body) return bad_request(body.error().message);
  if (!body->is_object()) return bad_request("wanted an object with 'properties'");
  const json::Value* properties = templates::find_member(body->get_object(), "properties");
  if (properties == nullptr || !properties->is_object())
    return bad_request("'properties' is missing", "properties");
  const json::Object& members = properties->get_object();
  BOOTSEAL_ARM_TRY_STATUS(refuse_links(members));

  DeploymentRequest result;
  const json::Value* document = templates::find_member(members, "template");
  if (document == nullptr || document->is_null())
    return bad_request("'properties.template' is missing", "properties.template");
  result.document = *document;
  const json::Value* parameters = templates::find_member(members, "parameters");
  if (parameters != nullptr && !parameters->is_null()) {
    if (!parameters->is_object())
      return bad_request("'properties.parameters' must be an object", "properties.parameters");
    result.parameters = parameters->get_object();
  }
  const json::Value* mode = templates::find_member(members, "mode");
  const std::string_view mode_text =
      mode != nullptr && mode->is_string() ? std::string_view(mode->get_string()) : "";
  result.complete = model::equal_ignoring_case(mode_text, "Complete");
  if (!result.complete && !model::equal_ignoring_case(mode_text, "Incremental"))
    return bad_request("'properties.mode' must be 'Incremental' or 'Complete'", "properties.mode");
  if (result.complete && !target.in_group)
    return model::refuse(400, "InvalidDeployment",
                         "The mode 'Complete' is only possible for a deployment at a resource group.",
                         "properties.mode");
  const json::Value* settings = templates::find_member(members, "whatIfSettings");
  const json::Value* format = settings != nullptr && settings->is_object()
                                  ? templates::find_member(settings->get_object(), "resultFormat")
                                  : nullptr;
  result.only_ids = format != nullptr && format->is_string() &&
                    model::equal_ignoring_case(format->get_string(), "ResourceIdOnly");

  const json::Value* tags = templates::find_member(body->get_object(), "tags");
  if (tags != nullptr && tags->is_object()) result.tags = tags->get_object();
  const json::Value* location = templates::find_member(body->get_object(), "location");
  if (location != nullptr && location->is_string()) result.location = std::string(location->get_string());
  if (!target.in_group) {
    if (result.location.empty())
      return model::refuse(400, "LocationRequired",
                           "The 'location' property must be specified for a deployment at a subscription.",
                           "location");
    BOOTSEAL_ARM_TRY_STATUS(check_location(result.location, "Microsoft.Resources/deployments"));
  }
  return result;
}

templates::PlanInput plan_input(const Service& service, const DeploymentTarget& target,
                                const json::Value& document, const json::Object& parameters, bool complete,
                                TimePoint now, std::string_view text) {
  templates::PlanInput input;
  input.document = document;
  input.parameters = parameters;
  templates::Surroundings& around = input.surroundings;
  around.scope = target.scope;
  around.resource_group = target.resource_group;
  around.subscription = {{"id", "/subscriptions/" + service.site.subscription},
                         {"subscriptionId", service.site.subscription},
                         {"tenantId", service.site.tenant},
                         {"displayName", "Bootseal"}};
  around.tenant = {{"tenantId", service.site.tenant}, {"displayName", "Bootseal"}};
  json::Object outline;
  for (const char* member : {"$schema", "contentVersion"})
    if (document.is_object() && document.get_object().contains(member)) outline[member] = document.at(member);
  around.deployment = {{"name", target.name},
                       {"properties", json::Object{{"template", std::move(outline)},
                                                   {"mode", complete ? "Complete" : "Incremental"},
                                                   {"provisioningState", "Accepted"}}}};
  const std::string endpoint = service.options.endpoint ? service.options.endpoint() : std::string();
  around.environment = {{"name", "Bootseal"},
                        {"resourceManager", endpoint + "/"},
                        {"authentication", json::Object{{"loginEndpoint", endpoint + "/adfs"},
                                                        {"audiences", json::Array{json::Value(endpoint)}},
                                                        {"tenant", service.site.tenant},
                                                        {"identityProvider", "ADFS"}}},
                        {"suffixes", json::Object{}}};
  around.now = now;
  if (!text.empty()) {
    input.where = [text](std::string_view path) {
      return templates::locate(text, path, "properties.template");
    };
  }
  return input;
}

std::string InnerAnswer::header(std::string_view name) const {
  for (const auto& [given, value] : response.headers)
    if (model::equal_ignoring_case(given, name)) return value;
  return {};
}

model::ArmError InnerAnswer::error() const {
  model::ArmError error;
  const json::Value* found = body.is_object() ? body.get_object().if_contains("error") : nullptr;
  if (found != nullptr) error = error_from_json(*found);
  error.status = response.status;
  if (error.code.empty()) error.code = "InternalServerError";
  if (error.message.empty())
    error.message = fmt::format("the request was answered {} without a reason", response.status);
  return error;
}

std::string InnerAnswer::provisioning_state() const {
  const json::Value* properties = body.is_object() ? body.get_object().if_contains("properties") : nullptr;
  const json::Value* state = properties != nullptr && properties->is_object()
                                 ? properties->get_object().if_contains("provisioningState")
                                 : nullptr;
  return state != nullptr && state->is_string() ? std::string(state->get_string()) : std::string();
}

InnerAnswer call_inside(Service& service, const Caller& caller, const std::string& method,
                        const std::string& path, const std::string& api_version, const std::string& body) {
  InnerAnswer answer;
  answer.response = service.gateway->call(
      caller,
      internal_request(method, path, api_version.empty() ? std::string(kDefaultVersion) : api_version, body));
  if (auto value = json::parse(answer.response.body, {.bytes = std::size_t{16} << 20, .depth = 200}))
    answer.body = *std::move(value);
  return answer;
}

model::ArmResult<json::Value> GatewayRuntime::resource(const std::string& id,
                                                       const std::string& api_version) {
  InnerAnswer answer = call_inside(service_, caller_, "GET", id, api_version);
  if (!answer.good()) return tl::unexpected(answer.error());
  return std::move(answer.body);
}

model::ArmResult<json::Value> GatewayRuntime::list(const std::string& function, const std::string& id,
                                                   const std::string& api_version, const json::Value& body) {
  InnerAnswer answer = call_inside(service_, caller_, "POST", id + "/" + function, api_version,
                                   body.is_null() ? std::string() : json::serialize(body));
  if (answer.good()) return std::move(answer.body);
  model::ArmError error = answer.error();
  error.message = fmt::format(
      "The template function '{}' cannot be evaluated for '{}': this site answers the action {} with {} "
      "({}).",
      function, id, function, answer.response.status, error.message);
  return tl::unexpected(std::move(error));
}

model::ArmResult<json::Value> GatewayRuntime::provider(const std::string& name_space,
                                                       const std::string& type) {
  const std::string path =
      fmt::format("/subscriptions/{}/providers/{}", service_.site.subscription, name_space);
  InnerAnswer answer = call_inside(service_, caller_, "GET", path, {});
  if (!answer.good()) return tl::unexpected(answer.error());
  const json::Value* types =
      answer.body.is_object() ? answer.body.get_object().if_contains("resourceTypes") : nullptr;
  if (type.empty() || types == nullptr || !types->is_array()) return std::move(answer.body);
  for (const json::Value& one : types->get_array()) {
    const json::Value* name = one.is_object() ? one.get_object().if_contains("resourceType") : nullptr;
    if (name != nullptr && name->is_string() && model::equal_ignoring_case(name->get_string(), type))
      return one;
  }
  return model::refuse(
      404, "InvalidResourceType",
      fmt::format("The resource type '{}' could not be found in the namespace '{}'.", type, name_space));
}

}  // namespace bootseal::api

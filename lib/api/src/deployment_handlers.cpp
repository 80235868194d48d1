// Microsoft.Resources/deployments: requests and answers.
#include <fmt/format.h>

#include <algorithm>

#include "bootseal/template/tolerant_json.h"
#include "bootseal/template/unique.h"
#include "deployment_views.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

// A value of the store holds 1 MiB.
constexpr std::size_t kMaxStoredAnswer = std::size_t{900} << 10;

ArmResult<DeploymentPointer> find_deployment(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentTarget target, deployment_target(service, request));
  BOOTSEAL_ARM_TRY(DeploymentPointer record, service.deployments->store().get(target.id()));
  if (record) return record;
  return model::refuse(404, "DeploymentNotFound",
                       fmt::format("Deployment '{}' could not be found.", target.name));
}

std::string correlation_of(const Request& request) {
  const auto given = request.header("x-ms-correlation-request-id");
  return given && given->size() <= 64 ? *given : Guid::random().to_string();
}

void add_status_headers(const Request& request, const DeploymentRecord& record, Response& response) {
  response.headers.emplace_back(
      "Azure-AsyncOperation",
      fmt::format("{}{}/operationStatuses/{}?api-version={}", base_url(request), record.id, record.run_id,
                  request.query_value("api-version").value_or("2021-04-01")));
  response.headers.emplace_back("Retry-After", "1");
}

ArmResult<Response> put_deployment(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentTarget target, deployment_target(service, request));
  BOOTSEAL_ARM_TRY(const DeploymentRequest wanted, parse_deployment(target, request));
  BOOTSEAL_ARM_TRY(const DeploymentPointer existing, service.deployments->store().get(target.id()));
  BOOTSEAL_ARM_TRY(const DeploymentRecord record,
                   service.deployments->begin(caller, target, wanted, request.body, correlation_of(request)));
  Response response = Response::json(existing ? 200 : 201, record.answer());
  add_status_headers(request, record, response);
  return response;
}

ArmResult<Response> validate(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentTarget target, deployment_target(service, request));
  BOOTSEAL_ARM_TRY(const DeploymentRequest wanted, parse_deployment(target, request));
  BOOTSEAL_ARM_TRY(const auto checked,
                   service.deployments->check(caller, target, wanted, request.body, correlation_of(request)));
  const auto& [record, plan] = checked;
  json::Object answer = record.answer();
  json::Array validated;
  for (const std::size_t index : plan->order())
    validated.push_back(json::Object{{"id", plan->resources()[index].id}});
  json::Object& properties = answer["properties"].get_object();
  properties["provisioningState"] = "Succeeded";
  properties["validatedResources"] = std::move(validated);
  return Response::json(200, answer);
}

ArmResult<Response> what_if(Service& service, const Caller& caller, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentTarget target, deployment_target(service, request));
  BOOTSEAL_ARM_TRY(const DeploymentRequest wanted, parse_deployment(target, request));
  BOOTSEAL_ARM_TRY(const auto checked,
                   service.deployments->check(caller, target, wanted, request.body, correlation_of(request)));
  BOOTSEAL_ARM_TRY(json::Array changes, what_if_changes(service, caller, target, wanted, *checked.second));
  json::Object result{{"status", "Succeeded"}, {"properties", json::Object{{"changes", std::move(changes)}}}};
  if (json::serialize(result).size() > kMaxStoredAnswer) return Response::json(200, result);
  model::Operation operation;
  operation.id = Guid::random().to_string();
  operation.kind = model::OperationKind::update;
  operation.resource = target.id();
  operation.status = model::OperationStatus::succeeded;
  operation.start_time = checked.first.started;
  operation.end_time = service.now();
  operation.output = std::move(result);
  BOOTSEAL_ARM_TRY_STATUS(service.database.put_operation(operation));
  Response response = Response::empty(202);
  add_operation_headers(service, request, operation.id, response, "Microsoft.Resources");
  // The result is read from Location: the status of an operation would be all that is read otherwise.
  std::erase_if(response.headers, [](const auto& header) { return header.first == "Azure-AsyncOperation"; });
  return response;
}

ArmResult<Response> get_deployment(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentPointer record, find_deployment(service, request));
  return Response::json(200, record->answer());
}

ArmResult<Response> check_deployment(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY_STATUS(find_deployment(service, request));
  return Response::empty(204);
}

// "provisioningState eq 'Failed'", the one filter that Azure knows here.
ArmResult<std::string> wanted_state(const Request& request) {
  const std::string filter = request.query_value("$filter").value_or("");
  if (filter.empty()) return std::string();
  constexpr std::string_view kPrefix = "provisioningState eq '";
  const bool known = filter.size() > kPrefix.size() && filter.ends_with('\'') &&
                     model::equal_ignoring_case(filter.substr(0, kPrefix.size()), kPrefix);
  if (known) return filter.substr(kPrefix.size(), filter.size() - kPrefix.size() - 1);
  return model::refuse(
      400, "InvalidFilterInQueryString",
      "Invalid $filter specified in the query string. Deployments can be filtered by \"provisioningState eq "
      "'Failed'\" only.",
      "$filter");
}

ArmResult<Response> list_deployments(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentTarget target, deployment_target(service, request));
  BOOTSEAL_ARM_TRY(const std::string state, wanted_state(request));
  BOOTSEAL_ARM_TRY(const auto records, service.deployments->store().list(target.scope));
  std::vector<ListItem> items;
  for (const DeploymentPointer& record : records)
    if (state.empty() || model::equal_ignoring_case(record->state, state))
      items.push_back({record->key(), [record] { return record->answer(); }});
  return page_of(request, items);
}

ArmResult<Response> delete_deployment(Service& service, const Request& request) {
  auto record = find_deployment(service, request);
  if (!record && record.error().status == 404) return Response::empty(204);
  if (!record) return tl::unexpected(record.error());
  BOOTSEAL_ARM_TRY_STATUS(service.deployments->remove(**record));
  model::Operation operation;
  operation.id = Guid::random().to_string();
  operation.kind = model::OperationKind::remove;
  operation.resource = (*record)->id;
  operation.status = model::OperationStatus::succeeded;
  operation.start_time = service.now();
  operation.end_time = operation.start_time;
  BOOTSEAL_ARM_TRY_STATUS(service.database.put_operation(operation));
  Response response = Response::empty(202);
  add_operation_headers(service, request, operation.id, response, "Microsoft.Resources");
  return response;
}

ArmResult<Response> cancel_deployment(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentPointer record, find_deployment(service, request));
  BOOTSEAL_ARM_TRY_STATUS(service.deployments->cancel(*record));
  return Response::empty(204);
}

ArmResult<Response> export_template(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentPointer record, find_deployment(service, request));
  BOOTSEAL_ARM_TRY(const std::string text,
                   service.deployments->store().text(DeploymentStore::Text::document, record->run_id));
  BOOTSEAL_ARM_TRY(const json::Value document,
                   json::parse(text, {.bytes = std::size_t{64} << 20, .depth = 200}));
  return Response::json(200, json::Object{{"template", document}});
}

ArmResult<Response> get_status(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentPointer record, find_deployment(service, request));
  const std::string& asked = request.parameter("operationId");
  if (!model::equal_ignoring_case(asked, record->run_id)) {
    return model::refuse(
        404, "DeploymentOperationNotFound",
        fmt::format(
            "The operation '{}' of the deployment '{}' could not be found: a newer one has taken its place.",
            asked.substr(0, 64), record->name));
  }
  json::Object answer{{"id", fmt::format("{}/operationStatuses/{}", record->id, record->run_id)},
                      {"name", record->run_id},
                      {"status", record->state},
                      {"startTime", format_time(record->started)}};
  if (record->ended) answer["endTime"] = format_time(*record->ended);
  if (record->error) answer["error"] = record->error->to_json();
  Response response = Response::json(200, answer);
  if (record->active()) response.headers.emplace_back("Retry-After", "1");
  return response;
}

std::string operation_name(const DeploymentStep& step) {
  return templates::unique_string((step.removal ? "delete " : "create ") + model::to_lower(step.resource));
}

json::Object operation_answer(const DeploymentRecord& record, const DeploymentStep& step) {
  const std::string name = operation_name(step);
  const TimePoint last = step.ended.value_or(step.begun);
  json::Object properties{
      {"provisioningOperation", step.removal ? "Delete" : "Create"},
      {"provisioningState", step.state},
      {"timestamp", format_time(last)},
      {"duration", fmt::format("PT{:.3f}S", std::chrono::duration<double>(last - step.begun).count())},
      {"trackingId", record.correlation_id},
      {"statusCode", step.running()              ? "Accepted"
                     : !step.error               ? "OK"
                     : step.status == 403        ? "Forbidden"
                     : step.status == 404        ? "NotFound"
                     : step.error->status >= 500 ? "InternalServerError"
                     : step.status == 400        ? "BadRequest"
                                                 : "Conflict"},
      {"targetResource",
       json::Object{{"id", step.resource}, {"resourceType", step.type}, {"resourceName", step.name}}}};
  if (step.error)
    properties["statusMessage"] = json::Object{{"status", "Failed"}, {"error", step.error->to_json()}};
  return {{"id", fmt::format("{}/operations/{}", record.id, name)},
          {"operationId", name},
          {"properties", std::move(properties)}};
}

ArmResult<Response> list_operations(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentPointer record, find_deployment(service, request));
  BOOTSEAL_ARM_TRY(const std::vector<DeploymentStep> steps,
                   service.deployments->store().steps(record->run_id));
  std::vector<ListItem> items;
  for (const DeploymentStep& step : steps)
    items.push_back({operation_name(step), [record, step] { return operation_answer(*record, step); }});
  std::ranges::sort(items, {}, &ListItem::key);
  return page_of(request, items);
}

ArmResult<Response> get_operation(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const DeploymentPointer record, find_deployment(service, request));
  BOOTSEAL_ARM_TRY(const std::vector<DeploymentStep> steps,
                   service.deployments->store().steps(record->run_id));
  for (const DeploymentStep& step : steps)
    if (model::equal_ignoring_case(operation_name(step), request.parameter("operationId")))
      return Response::json(200, operation_answer(*record, step));
  return model::refuse(404, "DeploymentOperationNotFound",
                       fmt::format("The operation '{}' of the deployment '{}' could not be found.",
                                   request.parameter("operationId").substr(0, 64), record->name));
}

ArmResult<Response> export_resource_group(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const GroupRecord group, find_group(service, request));
  std::set<std::string> wanted;
  if (!request.body.empty()) {
    BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
    const json::Value* resources =
        body.is_object() ? templates::find_member(body.get_object(), "resources") : nullptr;
    if (resources != nullptr && resources->is_array())
      for (const json::Value& one : resources->get_array())
        if (one.is_string() && one.get_string() != "*") wanted.insert(model::to_lower(one.get_string()));
  }
  BOOTSEAL_ARM_TRY(
      const json::Object exported,
      export_group(service, model::ResourceId::of_group(group.subscription, group.name).to_string(), wanted));
  return Response::json(200, exported);
}

ArmResult<Response> calculate_hash(Service& /*service*/, const Request& request) {
  const Result<json::Value> document = templates::read_tolerant_json(request.body);
  if (!document)
    return model::refuse(400, "InvalidRequestContent",
                         fmt::format("The request content was invalid: '{}'.", document.error().message));
  return Response::json(200, json::Object{{"minifiedTemplate", json::serialize(*document)},
                                          {"templateHash", templates::template_hash(*document)}});
}

}  // namespace

void add_deployment_handlers(HandlerTable& table) {
  for (const std::string place : {"", "AtSubscriptionScope"}) {
    table["Deployments_List" + place] = list_deployments;
    table["Deployments_Get" + place] = get_deployment;
    table["Deployments_CheckExistence" + place] = check_deployment;
    table["Deployments_CreateOrUpdate" + place] = put_deployment;
    table["Deployments_Delete" + place] = delete_deployment;
    table["Deployments_Cancel" + place] = cancel_deployment;
    table["Deployments_Validate" + place] = validate;
    table["Deployments_WhatIf" + place] = what_if;
    table["Deployments_ExportTemplate" + place] = export_template;
    table["Deployments_GetStatus" + place] = get_status;
    table["Deployments_ListOperations" + place] = list_operations;
    table["Deployments_GetOperation" + place] = get_operation;
    table["Deployments_ListOperationsShort" + place] = list_operations;
    table["Deployments_GetOperationShort" + place] = get_operation;
  }
  table["ResourceGroups_ExportTemplate"] = export_resource_group;
  table["Deployments_CalculateTemplateHash"] = calculate_hash;
}

}  // namespace bootseal::api

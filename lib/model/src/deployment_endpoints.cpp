// Microsoft.Resources/deployments, in a group and in the subscription.
#include "deployment_endpoints.h"

#include "endpoint_parts.h"

namespace bootseal::model {
namespace {

SchemaRef deployment() {
  static const SchemaRef schema = object_schema("Deployment", {{"id", text()},
                                                               {"name", text()},
                                                               {"type", text()},
                                                               {"location", text()},
                                                               {"tags", map_schema(string_schema(256))},
                                                               {"properties", any_schema(), true}});
  return schema;
}

SchemaRef deployment_operation() {
  return object_schema("DeploymentOperation",
                       {{"id", text()}, {"operationId", text()}, {"properties", any_schema()}});
}

SchemaRef deployment_status() {
  return object_schema("DeploymentOperationStatus", {{"id", text()},
                                                     {"name", text()},
                                                     {"status", text(), true},
                                                     {"startTime", text()},
                                                     {"endTime", text()},
                                                     {"error", any_schema()}});
}

SchemaRef template_answer() {
  return object_schema("ExportedTemplate",
                       {{"template", any_schema()}, {"output", any_schema()}, {"error", any_schema()}});
}

SchemaRef what_if_answer() {
  return object_schema("WhatIfResult",
                       {{"status", text(), true}, {"properties", any_schema()}, {"error", any_schema()}});
}

// `scope` is a group or a subscription; `place` is what the operation ids and summaries end with.
std::vector<Endpoint> at(const std::string& scope, const std::string& place, const std::string& words) {
  const std::string all = scope + "/providers/Microsoft.Resources/deployments";
  const std::string one = all + "/{deploymentName}";
  const SchemaRef body = any_schema();
  const std::vector<QueryParameter> page{{"$top", integer_schema(), false, "At most so many"},
                                         {"$filter", text(), false, "provisioningState eq 'Failed'"}};
  const auto make = [&](const std::string& name, std::string method, std::string path,
                        const std::string& summary, std::vector<Answer> out, SchemaRef in = nullptr,
                        std::vector<QueryParameter> query = {}, std::string action = {}) {
    return Endpoint{"Deployments_" + name + place,
                    std::move(method),
                    std::move(path),
                    summary + words,
                    {},
                    true,
                    false,
                    std::move(query),
                    std::move(in),
                    std::move(out),
                    std::move(action)};
  };
  // The body is JSON with the liberties of az (lib/template, tolerant_json.h).
  const SchemaRef operations = list_of("DeploymentOperationList", deployment_operation());
  const std::string read_operations = "Microsoft.Resources/deployments/operations/read";
  return {
      make("List", "GET", all, "All deployments", {ok(list_of("DeploymentList", deployment()))}, nullptr,
           page),
      make("Get", "GET", one, "One deployment", {ok(deployment())}),
      make("CheckExistence", "HEAD", one, "Whether a deployment exists", {{204, "It exists", nullptr}}),
      make("CreateOrUpdate", "PUT", one, "Carries out a template",
           {{200, "Accepted in the place of an earlier one", deployment(), "application/json", true},
            {201, "Accepted; poll the operation", deployment(), "application/json", true}},
           body),
      make("Delete", "DELETE", one, "Forgets a deployment; what it made stays", {accepted(), absent()}),
      make("Cancel", "POST", one + "/cancel", "Ends a deployment that is going on",
           {{204, "Cancelled", nullptr}}),
      make("Validate", "POST", one + "/validate", "Checks a template", {ok(deployment())}, body),
      make("WhatIf", "POST", one + "/whatIf", "What a template would change",
           {ok(what_if_answer()), accepted()}, body),
      make("ExportTemplate", "POST", one + "/exportTemplate", "The template of a deployment",
           {ok(template_answer())}),
      make("GetStatus", "GET", one + "/operationStatuses/{operationId}", "How a deployment stands",
           {ok(deployment_status())}),
      make("ListOperations", "GET", one + "/operations", "The steps of a deployment", {ok(operations)},
           nullptr, page, read_operations),
      make("GetOperation", "GET", one + "/operations/{operationId}", "One step of a deployment",
           {ok(deployment_operation())}, nullptr, {}, read_operations),
      // As az asks.
      make("ListOperationsShort", "GET", scope + "/deployments/{deploymentName}/operations",
           "The steps of a deployment", {ok(operations)}, nullptr, page, read_operations),
      make("GetOperationShort", "GET", scope + "/deployments/{deploymentName}/operations/{operationId}",
           "One step of a deployment", {ok(deployment_operation())}, nullptr, {}, read_operations),
  };
}

}  // namespace

std::vector<Endpoint> deployment_endpoints() {
  std::vector<Endpoint> list = at(kGroup, "", " of a group");
  for (Endpoint& endpoint : at(kSubscription, "AtSubscriptionScope", " of the subscription"))
    list.push_back(std::move(endpoint));
  list.push_back({"ResourceGroups_ExportTemplate",
                  "POST",
                  kGroup + "/exportTemplate",
                  "A template that makes what is in a group",
                  {},
                  true,
                  false,
                  {},
                  any_schema(),
                  {ok(template_answer())}});
  list.push_back(
      {"Deployments_CalculateTemplateHash",
       "POST",
       "/providers/Microsoft.Resources/calculateTemplateHash",
       "The hash of a template",
       {},
       true,
       false,
       {},
       any_schema(),
       {ok(object_schema("TemplateHash", {{"minifiedTemplate", text()}, {"templateHash", text()}}))},
       {},
       true});
  return list;
}

}  // namespace bootseal::model

// Role definitions and role assignments, at every scope.
#include "endpoint_parts.h"

namespace bootseal::model {
namespace {

struct Place {
  std::string suffix;
  std::string path;
  std::string where;
};

std::vector<Place> places() {
  const std::string resource = "/providers/{resourceProviderNamespace}/{resourceType}/{resourceName}";
  return {{"AtTenant", "", "of the site"},
          {"AtSubscription", kSubscription, "of a subscription"},
          {"AtGroup", kGroup, "of a group"},
          {"AtSubscriptionResource", kSubscription + resource, "of a resource of the subscription"},
          {"AtResource", kGroup + resource, "of a resource"},
          {"AtNestedResource", kGroup + resource + "/{nestedResourceType}/{nestedResourceName}",
           "of a nested resource"}};
}

Endpoint make(std::string id, std::string method, std::string path, std::string summary,
              std::vector<Answer> out) {
  Endpoint endpoint;
  endpoint.operation_id = std::move(id);
  endpoint.method = std::move(method);
  endpoint.path = std::move(path);
  endpoint.summary = std::move(summary);
  endpoint.out = std::move(out);
  return endpoint;
}

struct Kind {
  std::string operations;  // "RoleAssignments"
  std::string type;        // "roleAssignments"
  std::string singular;    // "role assignment"
  std::string parameter;
  SchemaRef schema;
  SchemaRef in;
};

void add(const Kind& kind, const Place& place, std::vector<Endpoint>& list) {
  const std::string collection = place.path + "/providers/Microsoft.Authorization/" + kind.type;
  const std::string path = collection + "/{" + kind.parameter + "}";
  Endpoint all = make(kind.operations + "_List" + place.suffix, "GET", collection,
                      "Every " + kind.singular + " " + place.where,
                      {ok(list_of(kind.schema->name + "List", kind.schema))});
  all.query = {{"$filter", string_schema(2048), false, "atScope(), assignedTo('ID'), NAME eq 'VALUE'"}};
  list.push_back(std::move(all));
  list.push_back(
      make(kind.operations + "_Get" + place.suffix, "GET", path, "One " + kind.singular, {ok(kind.schema)}));
  Endpoint put = make(kind.operations + "_Create" + place.suffix, "PUT", path, "Makes a " + kind.singular,
                      {{201, "Made", kind.schema}});
  put.in = kind.in;
  list.push_back(std::move(put));
  list.push_back(make(kind.operations + "_Delete" + place.suffix, "DELETE", path,
                      "Deletes a " + kind.singular, {ok(kind.schema, "Deleted; what it was"), absent()}));
}

SchemaRef envelope(const std::string& name, SchemaRef properties) {
  return object_schema(
      name,
      {{"id", text()}, {"name", text()}, {"type", text()}, {"properties", std::move(properties), true}});
}

}  // namespace

std::vector<Endpoint> role_endpoints() {
  const SchemaRef assignment_request = object_schema(
      "RoleAssignmentRequest", {{"id", text(), false, true},
                                {"name", text(), false, true},
                                {"type", text(), false, true},
                                {"properties",
                                 object_schema("RoleAssignmentRequestProperties",
                                               {{"roleDefinitionId", string_schema(1024), true},
                                                {"principalId", string_schema(64), true},
                                                {"principalType", string_schema(64)},
                                                {"description", string_schema(1024)},
                                                {"condition", string_schema(8192)},
                                                {"conditionVersion", string_schema(16)},
                                                {"scope", text(), false, true},
                                                {"delegatedManagedIdentityResourceId", string_schema(1024)},
                                                {"createdOn", text(), false, true},
                                                {"updatedOn", text(), false, true},
                                                {"createdBy", text(), false, true},
                                                {"updatedBy", text(), false, true}}),
                                 true}});
  const Kind kinds[] = {
      {"RoleAssignments", "roleAssignments", "role assignment", "roleAssignmentName",
       envelope("RoleAssignment", any_schema()), assignment_request},
      {"RoleDefinitions", "roleDefinitions", "role definition", "roleDefinitionId",
       envelope("RoleDefinition", any_schema()), envelope("RoleDefinitionRequest", any_schema())},
  };
  std::vector<Endpoint> list;
  for (const Kind& kind : kinds) {
    for (const Place& place : places()) add(kind, place, list);
  }
  for (const Place& place : places()) {
    Endpoint permissions = make("Permissions_List" + place.suffix, "GET",
                                place.path + "/providers/Microsoft.Authorization/permissions",
                                "What the caller may do here", {ok(list_of("PermissionList", any_schema()))});
    permissions.any_caller = true;
    list.push_back(std::move(permissions));
  }
  return list;
}

}  // namespace bootseal::model

#include <algorithm>
#include <array>

#include "bootseal/model/resource_type.h"
#include "deployment_endpoints.h"
#include "endpoint_parts.h"

namespace bootseal::model {
namespace {

SchemaRef subscription() {
  return object_schema("Subscription", {{"id", text()},
                                        {"subscriptionId", text()},
                                        {"displayName", text()},
                                        {"state", text()},
                                        {"tenantId", text()}});
}

SchemaRef group() {
  static const SchemaRef schema = object_schema(
      "ResourceGroup", {{"id", text(), false, true},
                        {"name", text(), false, true},
                        {"type", text(), false, true},
                        {"location", string_schema(64), true},
                        {"tags", map_schema(string_schema())},
                        {"managedBy", string_schema(1024)},
                        {"properties", object_schema("ResourceGroupProperties",
                                                     {{"provisioningState", text(), false, true}})}});
  return schema;
}

SchemaRef operation() {
  const SchemaRef properties = object_schema(
      "OperationProperties", {{"operation", text()}, {"resourceId", text()}, {"output", any_schema()}});
  return object_schema("Operation", {{"id", text(), true},
                                     {"name", text(), true},
                                     {"status", enum_schema({"InProgress", "Succeeded", "Failed"}), true},
                                     {"startTime", text()},
                                     {"endTime", text()},
                                     {"percentComplete", number_schema()},
                                     {"error", any_schema()},
                                     {"properties", properties}});
}

SchemaRef image() {
  return object_schema("Image", {{"id", text()},
                                 {"name", text()},
                                 {"type", text()},
                                 {"location", text()},
                                 {"properties", any_schema()}});
}

SchemaRef site_status() {
  const SchemaRef daemon =
      object_schema("DaemonStatus", {{"name", text()}, {"answers", boolean_schema()}, {"message", text()}});
  return object_schema("SiteStatus", {{"version", text()},
                                      {"tenant", text()},
                                      {"subscription", text()},
                                      {"daemons", array_schema(daemon)},
                                      {"hosts", array_schema(any_schema())},
                                      {"missingProtections", array_schema(text())},
                                      {"images", integer_schema()},
                                      {"virtualMachines", integer_schema()},
                                      {"serverCertificate", any_schema()}});
}

// What every authenticated caller may ask: the answers hold what that caller may see, or what concerns
// nobody. An operation is found by a GUID that only its caller was told.
bool is_for_everybody(std::string_view operation_id) {
  constexpr std::array kThese = std::to_array<std::string_view>(
      {"Subscriptions_List", "Subscriptions_Get", "Locations_List", "ResourceGroups_List",
       "VirtualMachineSizes_List", "Operations_Get", "Operations_GetResult", "Site_OpenApi"});
  return std::ranges::find(kThese, operation_id) != kThese.end();
}

std::vector<Endpoint> subscriptions_and_groups() {
  return {
      {"Subscriptions_List",
       "GET",
       "/subscriptions",
       "The subscriptions of this site",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(list_of("SubscriptionList", subscription()))}},
      {"Subscriptions_Get",
       "GET",
       kSubscription,
       "One subscription",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(subscription())}},
      {"Locations_List",
       "GET",
       kSubscription + "/locations",
       "The locations: one",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(list_of("LocationList", any_schema()))}},
      {"ResourceGroups_List",
       "GET",
       kSubscription + "/resourceGroups",
       "All groups",
       {},
       true,
       false,
       {{"$filter", text(), false, "tagName eq 'N' and tagValue eq 'V'"}, {"$top", integer_schema()}},
       nullptr,
       {ok(list_of("ResourceGroupList", group()))}},
      {"ResourceGroups_Get", "GET", kGroup, "One group", {}, true, false, {}, nullptr, {ok(group())}},
      {"ResourceGroups_CheckExistence",
       "HEAD",
       kGroup,
       "Whether a group exists",
       {},
       true,
       false,
       {},
       nullptr,
       {{204, "It exists", nullptr}}},
      {"ResourceGroups_CreateOrUpdate",
       "PUT",
       kGroup,
       "Makes a group, or replaces its tags",
       {},
       true,
       false,
       {},
       group(),
       {ok(group(), "Updated"), {201, "Made", group()}}},
      {"ResourceGroups_Update",
       "PATCH",
       kGroup,
       "Replaces the tags of a group",
       {},
       true,
       false,
       {},
       object_schema("ResourceGroupPatchable", {{"tags", map_schema(string_schema())},
                                                {"name", text(), false, true},
                                                {"properties", any_schema(), false, true}}),
       {ok(group(), "Updated")}},
      {"ResourceGroups_Delete",
       "DELETE",
       kGroup,
       "Deletes a group and everything in it",
       {},
       true,
       false,
       {},
       nullptr,
       {accepted(), absent()}},
  };
}

std::vector<Endpoint> catalogue_and_operations() {
  return {
      {"VirtualMachineSizes_List",
       "GET",
       kComputeLocation + "/vmSizes",
       "The sizes",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(list_of("VirtualMachineSizeList", vm_size_schema()))}},
      {"Operations_Get",
       "GET",
       kProviderLocation + "/operations/{operationId}",
       "A long-running operation",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(operation())}},
      {"Operations_GetResult",
       "GET",
       kProviderLocation + "/operationResults/{operationId}",
       "The result of an operation",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(any_schema(), "It has ended; its output"),
        accepted(),
        {204, "It has ended, without output", nullptr}}},
      {"Images_List",
       "GET",
       kSubscription + "/providers/Bootseal.Gallery/images",
       "The images of this site",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(list_of("ImageList", image()))}},
      {"Images_Get",
       "GET",
       kSubscription + "/providers/Bootseal.Gallery/images/{imageName}",
       "One image: NAME or NAME:VERSION",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(image())}},
      {"Site_Status",
       "GET",
       "/bootseal/status",
       "The daemons, the hosts, and the protections that are missing",
       {},
       false,
       false,
       {},
       nullptr,
       {ok(site_status())}},
      {"Site_OpenApi",
       "GET",
       "/openapi.json",
       "This document",
       {},
       false,
       false,
       {},
       nullptr,
       {ok(any_schema(), "The document")}},
      {"Site_Bootstrap",
       "POST",
       "/v1/bootstrap",
       "Makes an administrator: a token, and a client certificate when a request for one is given",
       Authentication::local_owner,
       false,
       false,
       {},
       object_schema("BootstrapRequest",
                     {{"name", string_schema(64), true}, {"csrPem", string_schema(16384)}}),
       {ok(object_schema("BootstrapAnswer", {{"name", text()},
                                             {"token", text()},
                                             {"clientCertificatePem", text()},
                                             {"caPem", text()},
                                             {"endpoint", text()},
                                             {"tenant", text()},
                                             {"subscription", text()}}))}},
  };
}

}  // namespace

const std::vector<Endpoint>& endpoints() {
  static const std::vector<Endpoint> all = [] {
    std::vector<Endpoint> list;
    for (std::vector<Endpoint> part :
         {subscriptions_and_groups(), management_endpoints(), virtual_machine_endpoints(),
          deployment_endpoints(), catalogue_and_operations(), catalogue_endpoints(), identity_endpoints(),
          role_endpoints()}) {
      list.insert(list.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
    }
    for (const ResourceType& type : resource_types()) {
      std::vector<Endpoint> part = endpoints_of(type);
      list.insert(list.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
    }
    for (Endpoint& endpoint : list) {
      endpoint.action = action_of(endpoint);
      endpoint.any_caller = endpoint.any_caller || is_for_everybody(endpoint.operation_id);
    }
    return list;
  }();
  return all;
}

}  // namespace bootseal::model

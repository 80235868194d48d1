#include "bootseal/model/endpoint.h"
#include "bootseal/model/virtual_machine.h"

namespace bootseal::model {
namespace {

const std::string kSubscription = "/subscriptions/{subscriptionId}";
const std::string kGroup = kSubscription + "/resourceGroups/{resourceGroupName}";
const std::string kVms = kGroup + "/providers/Microsoft.Compute/virtualMachines";
const std::string kVm = kVms + "/{vmName}";
const std::string kComputeLocation = kSubscription + "/providers/Microsoft.Compute/locations/{location}";

SchemaRef text() {
  return string_schema();
}

SchemaRef list_of(const std::string& name, const SchemaRef& items) {
  return object_schema(name, {{"value", array_schema(items), true}, {"nextLink", text()}});
}

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
                        {"tags", map_schema(string_schema(256))},
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

SchemaRef vm_size_schema() {
  return object_schema("VirtualMachineSize", {{"name", text()},
                                              {"numberOfCores", integer_schema()},
                                              {"memoryInMB", integer_schema()},
                                              {"osDiskSizeInMB", integer_schema()},
                                              {"resourceDiskSizeInMB", integer_schema()},
                                              {"maxDataDiskCount", integer_schema()}});
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

Answer ok(SchemaRef schema, std::string description = "Done") {
  return {200, std::move(description), std::move(schema)};
}
Answer accepted() {
  return {202, "Accepted; poll the operation", nullptr, "application/json", true};
}
Answer absent() {
  return {204, "There is none", nullptr};
}

Endpoint action(std::string id, const std::string& name, std::string summary) {
  return {"VirtualMachines_" + std::move(id),
          "POST",
          kVm + "/" + name,
          std::move(summary),
          {},
          true,
          false,
          {},
          nullptr,
          {accepted()}};
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
       {},
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
      {"ResourceGroups_Delete",
       "DELETE",
       kGroup,
       "Deletes a group and every VM in it",
       {},
       true,
       false,
       {},
       nullptr,
       {accepted(), absent()}},
  };
}

std::vector<Endpoint> virtual_machines() {
  const SchemaRef vm = virtual_machine_schema();
  const QueryParameter expand = {"$expand", enum_schema({"instanceView", "userData"}), false,
                                 "instanceView adds what the host says"};
  std::vector<Endpoint> list = {
      {"VirtualMachines_ListAll",
       "GET",
       kSubscription + "/providers/Microsoft.Compute/virtualMachines",
       "The VMs of all groups",
       {},
       true,
       false,
       {expand},
       nullptr,
       {ok(list_of("VirtualMachineList", vm))}},
      {"VirtualMachines_List",
       "GET",
       kVms,
       "The VMs of a group",
       {},
       true,
       false,
       {expand},
       nullptr,
       {ok(list_of("VirtualMachineList", vm))}},
      {"VirtualMachines_Get", "GET", kVm, "One VM", {}, true, false, {expand}, nullptr, {ok(vm)}},
      {"VirtualMachines_CreateOrUpdate",
       "PUT",
       kVm,
       "Makes and starts a VM, or changes one; If-Match and If-None-Match are honoured",
       {},
       true,
       false,
       {},
       vm,
       {{200, "Updating", vm, "application/json", true}, {201, "Creating", vm, "application/json", true}}},
      {"VirtualMachines_Update",
       "PATCH",
       kVm,
       "Changes tags, or the size from the next start on; If-Match is honoured",
       {},
       true,
       false,
       {},
       virtual_machine_update_schema(),
       {{200, "Updating", vm, "application/json", true}}},
      {"VirtualMachines_Delete",
       "DELETE",
       kVm,
       "Deletes a VM with its disk, its guest state and its key",
       {},
       true,
       false,
       {{"forceDeletion", boolean_schema(), false,
         "Taken, and without effect: a deletion never waits for the guest"}},
       nullptr,
       {accepted(), absent()}},
      {"VirtualMachines_InstanceView",
       "GET",
       kVm + "/instanceView",
       "What the host says about a VM",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(any_schema(), "The instance view")}},
      action("Start", "start", "Starts a VM; success when it is running already"),
      action("PowerOff", "powerOff", "Shuts a VM down as its power button would"),
      action("Deallocate", "deallocate", "As powerOff; the VM then shows as deallocated"),
      action("Restart", "restart", "Shuts a VM down and starts it again"),
      action("Attest", "attest", "Asks the guest for fresh evidence; the operation's output is the verdict"),
      {"VirtualMachines_ResetGuestState",
       "POST",
       kVm + "/resetGuestState",
       "Gives a stopped VM a new TPM and new variables; what was sealed to the old ones is lost",
       {},
       true,
       false,
       {},
       object_schema("ResetGuestStateRequest",
                     {{"confirm", string_schema(64), true, false, "The VM's vmId"}}),
       {accepted()}},
      {"VirtualMachines_RetrieveBootDiagnosticsData",
       "POST",
       kVm + "/retrieveBootDiagnosticsData",
       "Where the serial log can be read",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(object_schema("BootDiagnosticsData",
                         {{"serialConsoleLogBlobUri", text()}, {"consoleScreenshotBlobUri", text()}}))}},
      {"VirtualMachines_SerialLog",
       "GET",
       kVm + "/serialLog",
       "The bounded log of the serial console",
       {},
       false,
       false,
       {},
       nullptr,
       {{200, "The log", nullptr, "text/plain"}}},
      {"VirtualMachines_Console",
       "GET",
       kVm + "/console",
       "A WebSocket to the serial console: first what the log holds, then both ways",
       {},
       false,
       true,
       {},
       nullptr,
       {{101, "The WebSocket", nullptr}}},
      {"VirtualMachines_ListAvailableSizes",
       "GET",
       kVm + "/vmSizes",
       "The sizes a VM can be changed to",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(list_of("VirtualMachineSizeList", vm_size_schema()))}},
  };
  for (Endpoint& endpoint : list) {
    if (endpoint.operation_id == "VirtualMachines_PowerOff") {
      endpoint.query.push_back(
          {"skipShutdown", boolean_schema(), false, "true ends the VM at once, without asking the guest"});
    }
  }
  return list;
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
       kComputeLocation + "/operations/{operationId}",
       "A long-running operation",
       {},
       true,
       false,
       {},
       nullptr,
       {ok(operation())}},
      {"Operations_GetResult",
       "GET",
       kComputeLocation + "/operationResults/{operationId}",
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
         {subscriptions_and_groups(), virtual_machines(), catalogue_and_operations()}) {
      list.insert(list.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
    }
    return list;
  }();
  return all;
}

}  // namespace bootseal::model

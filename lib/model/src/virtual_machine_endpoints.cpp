#include "bootseal/model/virtual_machine.h"
#include "endpoint_parts.h"

namespace bootseal::model {
namespace {

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

}  // namespace

std::vector<Endpoint> virtual_machine_endpoints() {
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
    // Both show what the guest says, the console also what is typed there: more than reading the VM.
    if (endpoint.operation_id == "VirtualMachines_SerialLog") {
      endpoint.action = "Microsoft.Compute/virtualMachines/retrieveBootDiagnosticsData/action";
    } else if (endpoint.operation_id == "VirtualMachines_Console") {
      endpoint.action = "Microsoft.SerialConsole/serialPorts/connect/action";
    } else if (endpoint.operation_id == "VirtualMachines_ListAll" ||
               endpoint.operation_id == "VirtualMachines_List") {
      endpoint.any_caller = true;
    }
  }
  return list;
}

}  // namespace bootseal::model

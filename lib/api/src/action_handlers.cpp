#include <fmt/format.h>

#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::OperationKind;
using net::Request;
using net::Response;

ArmResult<Response> act(Service& service, const Request& request, OperationKind kind) {
  BOOTSEAL_ARM_TRY(VmRecord record, find_vm(service, request));
  BOOTSEAL_ARM_TRY(const std::string operation, begin(service, std::move(record), kind));
  Response response = Response::empty(202);
  add_operation_headers(service, request, operation, response);
  return response;
}

ApiHandler action(OperationKind kind) {
  return [kind](Service& service, const Request& request) { return act(service, request, kind); };
}

ArmResult<Response> power_off(Service& service, const Request& request) {
  const std::string skip = request.query_value("skipShutdown").value_or("false");
  const bool skip_shutdown = model::equal_ignoring_case(skip, "true");
  if (!skip_shutdown && !model::equal_ignoring_case(skip, "false")) {
    return model::invalid_parameter(
        "skipShutdown", fmt::format("The value of parameter 'skipShutdown' is '{}'; wanted true or false.",
                                    skip.substr(0, 64)));
  }
  return act(service, request, skip_shutdown ? OperationKind::kill : OperationKind::power_off);
}

ArmResult<Response> reset_guest_state(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(VmRecord record, find_vm(service, request));
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(json::Reader reader, json::Reader::object(body, "the request"));
  BOOTSEAL_ARM_TRY(const std::string confirm, reader.string("confirm"));
  BOOTSEAL_ARM_TRY_STATUS(reader.no_other_fields());
  if (!model::equal_ignoring_case(confirm, record.vm_id.to_string())) {
    return model::invalid_parameter(
        "confirm",
        fmt::format("'confirm' must be the VM's vmId ('{}'): everything that is sealed to its TPM is lost.",
                    record.vm_id.to_string()));
  }
  const auto status = service.board.get(record.vm_id);
  if (status && status->power != "Stopped") {
    return model::refuse(
        409, "OperationNotAllowed",
        fmt::format("The virtual machine '{}' is not stopped. Stop it first: `bootseal vm stop {}`.",
                    record.id.name, record.id.name));
  }
  BOOTSEAL_ARM_TRY(const std::string operation,
                   begin(service, std::move(record), OperationKind::reset_guest_state));
  Response response = Response::empty(202);
  add_operation_headers(service, request, operation, response);
  return response;
}

ArmResult<Response> boot_diagnostics(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const VmRecord record, find_vm(service, request));
  json::Object answer;
  answer["serialConsoleLogBlobUri"] = signed_serial_link(service, request, record.id);
  return Response::json(200, answer);
}

ArmResult<Response> serial_log(Service& service, const Request& request) {
  BOOTSEAL_ARM_TRY(const VmRecord record, find_vm(service, request));
  BOOTSEAL_ARM_TRY(std::string text, service.peers.console_log(record.vm_id));
  Response response = Response::empty(200);
  response.headers.emplace_back("Content-Type", "text/plain; charset=utf-8");
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");  // a guest wrote it
  response.body = std::move(text);
  return response;
}

}  // namespace

void add_action_handlers(HandlerTable& table) {
  table["VirtualMachines_Start"] = action(OperationKind::start);
  table["VirtualMachines_PowerOff"] = power_off;
  table["VirtualMachines_Deallocate"] = action(OperationKind::deallocate);
  table["VirtualMachines_Restart"] = action(OperationKind::restart);
  table["VirtualMachines_Attest"] = action(OperationKind::attest);
  table["VirtualMachines_ResetGuestState"] = reset_guest_state;
  table["VirtualMachines_RetrieveBootDiagnosticsData"] = boot_diagnostics;
  table["VirtualMachines_SerialLog"] = serial_log;
}

}  // namespace bootseal::api

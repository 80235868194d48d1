// What the request handlers share, and how they are bound to the endpoints.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "bootseal/api/control_plane.h"
#include "bootseal/model/arm_error.h"
#include "bootseal/model/endpoint.h"
#include "bootseal/net/http.h"
#include "reconciler.h"

namespace bootseal::api {

struct Service {
  Database& database;
  Peers& peers;
  StatusBoard& board;
  Reconciler& reconciler;
  const ControlPlaneOptions& options;
  Site site;
  Bytes link_key;  // signs the short-lived links to serial logs; new at every start

  [[nodiscard]] TimePoint now() const { return options.clock->now(); }
};

using ApiHandler = std::function<model::ArmResult<net::Response>(Service&, const net::Request&)>;
using HandlerTable = std::map<std::string, ApiHandler>;  // by operation id

void add_group_handlers(HandlerTable& table);
void add_vm_handlers(HandlerTable& table);
void add_action_handlers(HandlerTable& table);
void add_catalogue_handlers(HandlerTable& table);
void add_site_handlers(HandlerTable& table);
// The WebSocket of one VM's serial console.
void relay_console(Service& service, const net::Request& request, std::unique_ptr<net::WebSocket> client);

// -- what handlers use --
net::Response arm_response(const model::ArmError& error);
// "https://HOST", as the client named this server.
std::string base_url(const net::Request& request);
model::ArmStatus check_subscription(const Service& service, const net::Request& request);
// 400 for a name that cannot be one.
model::ArmStatus check_name(std::string_view what, const std::string& name);
model::ArmResult<GroupRecord> find_group(Service& service, const net::Request& request);
// The id in the path of a VM; names checked, nothing looked up.
model::ArmResult<model::ResourceId> vm_id_of(const Service& service, const net::Request& request);
// 404 ResourceGroupNotFound or ResourceNotFound.
model::ArmResult<VmRecord> find_vm(Service& service, const net::Request& request);
// 412 when If-Match or If-None-Match do not hold; `record` is nullptr for a VM that is not there.
model::ArmStatus check_preconditions(const net::Request& request, const VmRecord* record);
json::Object vm_answer(Service& service, const VmRecord& record, bool with_instance_view);
json::Object vm_instance_view(Service& service, const VmRecord& record);
// Adds Azure-AsyncOperation, Location and Retry-After.
void add_operation_headers(const Service& service, const net::Request& request,
                           const std::string& operation_id, net::Response& response);
// Begins an operation and stores it, or joins the one of the same kind that is going on. 409 when another one
// is.
model::ArmResult<std::string> begin(Service& service, VmRecord record, model::OperationKind kind);
// The operation that is going on, if any.
model::ArmResult<std::optional<model::Operation>> current_operation(Service& service, const VmRecord& record);
// A link to the serial log that works without a token for an hour.
std::string signed_serial_link(const Service& service, const net::Request& request,
                               const model::ResourceId& id);
bool is_signed_serial_link(const Service& service, const net::Request& request);

// -- who may ask (authentication.cpp)
// ----------------------------------------------------------------------------------------------------- The
// name of the caller, or the answer that refuses it.
tl::expected<std::string, net::Response> authenticate(Service& service, const net::Request& request);
struct NewToken {
  std::string text;        // handed out once
  std::string sha256_hex;  // stored
};
NewToken make_token();

}  // namespace bootseal::api

// What the request handlers share, and how they are bound to the endpoints.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "activity_log.h"
#include "bootseal/api/control_plane.h"
#include "bootseal/model/address.h"
#include "bootseal/model/arm_error.h"
#include "bootseal/model/endpoint.h"
#include "bootseal/net/http.h"
#include "gateway.h"
#include "identity.h"
#include "reconciler.h"
#include "resource_provider.h"

namespace bootseal::api {

class Deployments;

struct Service {
  Database& database;
  Peers& peers;
  StatusBoard& board;
  Reconciler& reconciler;
  ResourceStore& resources;
  ActivityLog& activity;
  Authorizer& authorizer;
  Identity& identity;
  const ControlPlaneOptions& options;
  Site site;
  Bytes link_key;                      // signs the short-lived links to serial logs; new at every start
  model::Ipv4Prefix public_pool;       // of public IP addresses
  ProviderTable providers = {};        // filled in before anything is served
  Gateway* gateway = nullptr;          // set before anything is served, and lives as long as this
  Deployments* deployments = nullptr;  // the same

  [[nodiscard]] TimePoint now() const { return options.clock->now(); }
};

void add_group_handlers(HandlerTable& table);
void add_vm_handlers(HandlerTable& table);
void add_action_handlers(HandlerTable& table);
void add_catalogue_handlers(HandlerTable& table);
void add_publisher_handlers(HandlerTable& table);
void add_site_handlers(HandlerTable& table);
void add_provider_handlers(HandlerTable& table);
void add_inventory_handlers(HandlerTable& table);
void add_tag_handlers(HandlerTable& table);
void add_activity_handlers(HandlerTable& table);
void add_deployment_handlers(HandlerTable& table);
// Of every generic resource type.
void add_resource_handlers(HandlerTable& table);
// Of one verb of an embedded type.
ApiHandler embedded_handler(const model::ResourceType& type, std::string_view verb,
                            const model::SchemaRef& schema);
// The WebSocket of one VM's serial console.
void relay_console(Service& service, const net::Request& request, std::unique_ptr<net::WebSocket> client);

// -- what handlers use --
net::Response arm_response(const model::ArmError& error);
// "https://HOST", as the client named this server.
std::string base_url(const net::Request& request);
// Whether the caller may; a site owner always.
bool may(const Service& service, const Caller& caller, std::string_view action, std::string_view scope);
// 403 in Azure's words.
model::ArmError authorization_failed(const Caller& caller, std::string_view action, std::string_view scope);

// Where everything of this site lies; any spelling of it is taken ("Local", "LOCAL").
inline constexpr std::string_view kSiteLocation = "local";
// Who publishes the images of this site, in image names of four parts.
inline constexpr std::string_view kImagePublisher = "Bootseal";
// 400 LocationNotAvailableForResourceType.
model::ArmStatus check_location(std::string_view location, std::string_view full_type);
// Whether the header's list of entity tags names this one; "*" names every one.
bool names_tag(const std::string& header, const std::string& etag);
// 404 when what an extension resource is attached to is not there.
model::ArmStatus check_extended(Service& service, const model::ResourceId& id);

// One element of a list: its key in the order of the list, and what makes it.
struct ListItem {
  std::string key;
  std::function<json::Object()> make;
};
// {"value":[…],"nextLink"?}: at most $top (and 1000) of the items, which are in the order of their keys,
// after the one that $skiptoken names.
net::Response page_of(const net::Request& request, const std::vector<ListItem>& items);

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
                           const std::string& operation_id, net::Response& response,
                           std::string_view provider = "Microsoft.Compute");
// Begins an operation and stores it, or joins the one of the same kind that is going on. 409 when another one
// is.
model::ArmResult<std::string> begin(Service& service, VmRecord record, model::OperationKind kind);
// The operation that is going on, if any.
model::ArmResult<std::optional<model::Operation>> current_operation(Service& service, const VmRecord& record);
// A link to the serial log that works without a token for an hour.
std::string signed_serial_link(const Service& service, const net::Request& request,
                               const model::ResourceId& id);
bool is_signed_serial_link(const Service& service, const net::Request& request);

// -- who may ask (authentication.cpp) --
// The caller, or the answer that refuses it.
tl::expected<Caller, net::Response> authenticate(Service& service, const net::Request& request);
struct NewToken {
  std::string text;        // handed out once
  std::string sha256_hex;  // stored
};
NewToken make_token();

}  // namespace bootseal::api

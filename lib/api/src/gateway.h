// The one way into the control plane: every request, from a client or from a deployment that acts for one, is
// held to the same rules before its handler sees it (docs/resource-manager.md, "The way of a request").
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "bootseal/model/arm_error.h"
#include "bootseal/net/http.h"
#include "endpoint_table.h"

namespace bootseal::api {

struct Service;

// Who asks, as authenticate() found out.
struct Caller {
  std::string principal_id;  // a GUID, or "local:0", "certificate:NAME", "token:NAME" of the site's owners
  std::string name;          // for people: in messages, the activity log and systemData
  bool site_owner = false;   // may do everything: root on the server, a certificate or a token of the site
};

// Whether roles allow what a caller wants. Thread safe.
class Authorizer {
 public:
  virtual ~Authorizer() = default;
  // `action` as "Microsoft.Compute/virtualMachines/start/action"; `scope` is an id as text, "/" for the
  // tenant. Both are compared without regard to case. The gateway does not ask for a site owner.
  [[nodiscard]] virtual bool may(const Caller& caller, std::string_view action, std::string_view scope) = 0;
};

// A handler: with the caller, where it matters who asks.
class ApiHandler {
 public:
  using Function =
      std::function<model::ArmResult<net::Response>(Service&, const Caller&, const net::Request&)>;

  ApiHandler() = default;
  template <typename F>
  requires std::is_invocable_r_v<model::ArmResult<net::Response>, F, Service&, const Caller&,
                                 const net::Request&>
  ApiHandler(F function)  // NOLINT(google-explicit-constructor): functions are put into the table as they are
      : function_(std::move(function)) {}
  template <typename F>
  requires std::is_invocable_r_v<model::ArmResult<net::Response>, F, Service&, const net::Request&>
  ApiHandler(F function)  // NOLINT(google-explicit-constructor)
      : function_(
            [function = std::move(function)](Service& service, const Caller&, const net::Request& request) {
              return function(service, request);
            }) {}

  model::ArmResult<net::Response> operator()(Service& service, const Caller& caller,
                                             const net::Request& request) const {
    return function_(service, caller, request);
  }

 private:
  Function function_;
};
using HandlerTable = std::map<std::string, ApiHandler>;  // by operation id

class Gateway {
 public:
  // Every endpoint of model::endpoints() must have its handler, and every handler its endpoint.
  Gateway(Service& service, HandlerTable handlers);

  // Carries a request out for `caller`: endpoint (404 NotFound, InvalidResourceNamespace,
  // InvalidResourceType; 405), api-version, authorization (403 AuthorizationFailed), locks (409 ScopeLocked),
  // handler, activity log. Blocks as long as the handler does. Thread safe. `request.parameters` need not be
  // filled in.
  net::Response call(const Caller& caller, const net::Request& request);
  // A request as the transport got it: the caller is found out first (401).
  net::Response serve(const net::Request& request);
  // Whether the path is one of a WebSocket, and the answer that refuses this one's caller.
  [[nodiscard]] bool is_websocket(const net::Request& request) const;
  std::optional<net::Response> refuse_websocket(const net::Request& request);

 private:
  // Refused, or nothing.
  model::ArmStatus check(const Caller& caller, const net::Request& request,
                         const model::Endpoint& endpoint) const;
  net::Response run(const Caller& caller, const net::Request& request, const EndpointTable::Match& match);

  Service& service_;
  HandlerTable handlers_;
  EndpointTable table_;
};

// A request from inside, to be given to Gateway::call. `path` is an id or what follows one, not
// percent-encoded; `body` is JSON text or empty.
net::Request internal_request(std::string method, std::string path, std::string api_version,
                              std::string body = {});

}  // namespace bootseal::api

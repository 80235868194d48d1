#include "gateway.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "activity_log.h"
#include "bootseal/base/ids.h"
#include "bootseal/log/log.h"
#include "bootseal/model/resource_type.h"
#include "locks.h"
#include "service.h"

namespace bootseal::api {
namespace {

void add_identifying_headers(const net::Request& request, net::Response& response) {
  // x-ms-request-id is the transport's.
  response.headers.emplace_back(
      "x-ms-correlation-request-id",
      request.header("x-ms-correlation-request-id").value_or(Guid::random().to_string()));
  if (const auto client = request.header("x-ms-client-request-id"); client && client->size() <= 128) {
    response.headers.emplace_back("x-ms-client-request-id", *client);
  }
  response.headers.emplace_back("Cache-Control", "no-store");
}

// Why there is nothing at a path, in Azure's words where the path is one of Azure's.
net::Response nothing_there(const net::Request& request) {
  const auto id = model::ResourceId::parse(request.path);
  if (!id || !id->is_resource()) {
    return net::Response::from_error(
        {ErrorCode::not_found, fmt::format("there is nothing at {}", request.path), nullptr});
  }
  bool namespace_known = false;
  for (const model::ResourceType& type : model::resource_types())
    namespace_known = namespace_known || model::equal_ignoring_case(type.provider, id->provider);
  if (!namespace_known) {
    return arm_response({404,
                         "InvalidResourceNamespace",
                         fmt::format("The resource namespace '{}' is invalid.", id->provider),
                         {},
                         {}});
  }
  return arm_response({404,
                       "InvalidResourceType",
                       fmt::format("The resource type '{}' could not be found in the namespace '{}'.",
                                   id->type, id->provider),
                       {},
                       {}});
}

net::Response wrong_method(const net::Request& request, std::set<std::string> methods) {
  if (methods.contains("GET")) methods.insert("HEAD");
  const std::string allowed = fmt::format("{}", fmt::join(methods, ", "));
  net::Response response = net::Response::from_error(
      {ErrorCode::unsupported,
       fmt::format("{} is not possible on {}; these are: {}", request.method, request.path, allowed),
       nullptr});
  response.status = 405;
  response.headers.emplace_back("Allow", allowed);
  return response;
}

net::Response upgrade_required(const net::Request& request) {
  net::Response response =
      net::Response::from_error({ErrorCode::invalid_argument,
                                 fmt::format("{} is a WebSocket: send an upgrade", request.path), nullptr});
  response.status = 426;
  response.headers.emplace_back("Upgrade", "websocket");
  return response;
}

// What is deleted takes the roles that were given at it along: another one of its name must not have them.
void forget_roles_at(Service& service, const net::Request& request) {
  const std::string scope = identity::normalise_scope(model::scope_of_path(request.path));
  if (scope == "/") return;
  if (const Status forgotten = service.identity.forget_scope(scope); !forgotten)
    log::error("roles.not-forgotten", {{"scope", scope}, {"reason", forgotten.error().describe()}});
}

bool changes_something(const net::Request& request) {
  return request.method != "GET" && request.method != "HEAD";
}

}  // namespace

Gateway::Gateway(Service& service, HandlerTable handlers)
    : service_(service), handlers_(std::move(handlers)), table_(model::endpoints()) {
  std::size_t bound = 0;
  for (const model::Endpoint& endpoint : model::endpoints()) {
    if (endpoint.websocket) continue;
    BOOTSEAL_CHECK(handlers_.contains(endpoint.operation_id));
    ++bound;
  }
  BOOTSEAL_CHECK(bound == handlers_.size());
}

model::ArmStatus Gateway::check(const Caller& caller, const net::Request& request,
                                const model::Endpoint& endpoint) const {
  if (endpoint.versioned)
    BOOTSEAL_ARM_TRY_STATUS(model::check_api_version(request.query_value("api-version").value_or("")));
  if (endpoint.authentication == model::Authentication::anonymous) return {};
  const std::string scope = model::scope_of_path(request.path);
  if (!endpoint.any_caller && !may(service_, caller, endpoint.action, scope))
    return tl::unexpected(authorization_failed(caller, endpoint.action, scope));
  return check_locks(service_, request.method, endpoint.action, scope);
}

net::Response Gateway::run(const Caller& caller, const net::Request& request,
                           const EndpointTable::Match& match) {
  net::Request bound = request;
  bound.parameters = match.parameters;
  const auto handle = [&]() -> model::ArmResult<net::Response> {
    BOOTSEAL_ARM_TRY_STATUS(check(caller, bound, *match.endpoint));
    return handlers_.at(match.endpoint->operation_id)(service_, caller, bound);
  };
  auto result = handle();
  const model::ArmError error = result ? model::ArmError{} : result.error();
  net::Response response = result ? *std::move(result) : arm_response(error);
  if (request.method == "DELETE" && response.status < 300) forget_roles_at(service_, request);
  if (changes_something(request) || response.status >= 400) {
    log::info("request", {{"operation", match.endpoint->operation_id},
                          {"status", response.status},
                          {"path", request.path},
                          {"caller", caller.name},
                          {"peer", request.peer.address}});
  }
  add_identifying_headers(request, response);
  if (changes_something(request) &&
      match.endpoint->authentication == model::Authentication::token_or_certificate)
    service_.activity.add(caller, bound, match.endpoint->action, response, error);
  return response;
}

net::Response Gateway::call(const Caller& caller, const net::Request& request) {
  const EndpointTable::Match match = table_.find(request.method, request.path);
  if (match.endpoint != nullptr && !match.endpoint->websocket) return run(caller, request, match);
  net::Response response = match.endpoint != nullptr ? upgrade_required(request)
                           : match.methods.empty()   ? nothing_there(request)
                                                     : wrong_method(request, match.methods);
  add_identifying_headers(request, response);
  return response;
}

net::Response Gateway::serve(const net::Request& request) {
  const EndpointTable::Match match = table_.find(request.method, request.path);
  if (match.endpoint != nullptr && match.endpoint->authentication == model::Authentication::anonymous)
    return run(Caller{}, request, match);
  const auto caller = authenticate(service_, request);
  if (caller) return call(*caller, request);
  net::Response refusal = caller.error();
  add_identifying_headers(request, refusal);
  return refusal;
}

bool Gateway::is_websocket(const net::Request& request) const {
  const EndpointTable::Match match = table_.find("GET", request.path);
  return match.endpoint != nullptr && match.endpoint->websocket;
}

std::optional<net::Response> Gateway::refuse_websocket(const net::Request& request) {
  const EndpointTable::Match match = table_.find("GET", request.path);
  const auto caller = authenticate(service_, request);
  net::Response response;
  if (!caller) {
    response = caller.error();
  } else if (const model::ArmStatus allowed = check(*caller, request, *match.endpoint); !allowed) {
    response = arm_response(allowed.error());
  } else {
    return std::nullopt;
  }
  add_identifying_headers(request, response);
  return response;
}

net::Request internal_request(std::string method, std::string path, std::string api_version,
                              std::string body) {
  net::Request request;
  request.method = std::move(method);
  request.path = std::move(path);
  request.target = request.path;
  request.query.emplace("api-version", std::move(api_version));
  if (!body.empty()) request.headers.emplace_back("Content-Type", "application/json");
  request.body = std::move(body);
  request.peer.address = "internal";
  request.id = Guid::random().to_string();
  return request;
}

bool may(const Service& service, const Caller& caller, std::string_view action, std::string_view scope) {
  return caller.site_owner || service.authorizer.may(caller, action, scope);
}

model::ArmError authorization_failed(const Caller& caller, std::string_view action, std::string_view scope) {
  return {403,
          "AuthorizationFailed",
          fmt::format(
              "The client '{}' with object id '{}' does not have authorization to perform action '{}' over "
              "scope '{}' or the scope is invalid. If access was recently granted, please refresh your "
              "credentials.",
              caller.name, caller.principal_id, action, scope),
          {},
          {}};
}

}  // namespace bootseal::api

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "route.h"
#include "target.h"

namespace bootseal::net {
namespace {

Response not_found(const Request& request) {
  return Response::from_error(
      {ErrorCode::not_found, fmt::format("there is nothing at {}", request.path), nullptr});
}

}  // namespace

std::vector<Router::Route::Segment> Router::Route::parse_template(std::string_view path_template) {
  BOOTSEAL_CHECK(path_template.starts_with('/'));
  std::vector<Segment> segments;
  for (const std::string_view text : split_path(path_template)) {
    BOOTSEAL_CHECK(segments.empty() || segments.back().kind != Kind::rest);
    const bool parameter = text.front() == '{';
    BOOTSEAL_CHECK(parameter == (text.back() == '}') && (!parameter || text.size() > 2));
    if (!parameter) {
      segments.push_back({Kind::fixed, std::string(text)});
      continue;
    }
    std::string_view name = text.substr(1, text.size() - 2);
    const bool rest = name.ends_with("...");
    if (rest) name.remove_suffix(3);
    segments.push_back({rest ? Kind::rest : Kind::parameter, std::string(name)});
  }
  return segments;
}

bool Router::Route::matches(const std::vector<std::string_view>& path) const {
  const bool open_ended = !segments.empty() && segments.back().kind == Kind::rest;
  if (open_ended ? path.size() < segments.size() : path.size() != segments.size()) return false;
  for (std::size_t index = 0; index < segments.size(); ++index) {
    if (segments[index].kind != Kind::fixed) continue;
    if (!equal_ignoring_case(segments[index].text, path[index])) return false;
  }
  return true;
}

bool Router::Route::more_specific_than(const Route& other) const {
  const std::size_t common = std::min(segments.size(), other.segments.size());
  for (std::size_t index = 0; index < common; ++index) {
    if (segments[index].kind != other.segments[index].kind)
      return segments[index].kind < other.segments[index].kind;
  }
  return segments.size() > other.segments.size();
}

void Router::Route::bind(const std::vector<std::string_view>& path, Request& request) const {
  request.parameters.clear();
  for (std::size_t index = 0; index < segments.size(); ++index) {
    if (segments[index].kind == Kind::fixed) continue;
    std::string value(path[index]);
    if (segments[index].kind == Kind::rest) {
      for (std::size_t more = index + 1; more < path.size(); ++more) value.append("/").append(path[more]);
    }
    request.parameters[segments[index].text] = std::move(value);
  }
}

void Router::on(std::string method, std::string path_template, Handler handler) {
  BOOTSEAL_CHECK(!method.empty() && handler != nullptr);
  auto route = std::make_shared<Route>();
  route->method = std::move(method);
  route->segments = Route::parse_template(path_template);
  route->handler = std::move(handler);
  routes_.push_back(std::move(route));
}

void Router::on_websocket(std::string path_template, std::function<Status(const Request&)> authorise,
                          WebSocketHandler handler) {
  BOOTSEAL_CHECK(handler != nullptr);
  auto route = std::make_shared<Route>();
  route->segments = Route::parse_template(path_template);
  route->authorise = std::move(authorise);
  route->websocket_handler = std::move(handler);
  routes_.push_back(std::move(route));
}

void Router::before(std::function<std::optional<Response>(Request&)> filter) {
  BOOTSEAL_CHECK(filter != nullptr);
  filters_.push_back(std::move(filter));
}

Response Router::handle(Request& request) const {
  for (const auto& filter : filters_) {
    if (auto response = filter(request)) return *std::move(response);
  }
  const auto path = split_path(request.path);
  const Route* best = nullptr;
  const Route* best_get = nullptr;
  bool websocket = false;
  std::set<std::string> methods;
  for (const auto& route : routes_) {
    if (!route->matches(path)) continue;
    if (route->method.empty()) {
      websocket = true;
      continue;
    }
    methods.insert(route->method);
    const auto better = [&](const Route* than) {
      return than == nullptr || route->more_specific_than(*than);
    };
    if (route->method == request.method && better(best)) best = route.get();
    if (route->method == "GET" && better(best_get)) best_get = route.get();
  }
  if (best == nullptr && request.method == "HEAD") best = best_get;
  if (best != nullptr) {
    best->bind(path, request);
    return best->handler(request);
  }
  if (methods.empty() && websocket) {
    Response response =
        Response::from_error({ErrorCode::invalid_argument,
                              fmt::format("{} is a WebSocket: send an upgrade", request.path), nullptr});
    response.status = 426;
    response.headers.emplace_back("Upgrade", "websocket");
    return response;
  }
  if (methods.empty()) return not_found(request);
  if (methods.contains("GET")) methods.insert("HEAD");
  const std::string allowed = fmt::format("{}", fmt::join(methods, ", "));
  Response response = Response::from_error(
      {ErrorCode::unsupported,
       fmt::format("{} is not possible on {}; these are: {}", request.method, request.path, allowed),
       nullptr});
  response.status = 405;
  response.headers.emplace_back("Allow", allowed);
  return response;
}

tl::expected<WebSocketHandler, Response> RouterAccess::prepare_websocket(const Router& router,
                                                                         Request& request) {
  for (const auto& filter : router.filters_) {
    if (auto response = filter(request)) return tl::unexpected(*std::move(response));
  }
  const auto path = split_path(request.path);
  const Router::Route* best = nullptr;
  for (const auto& route : router.routes_) {
    if (!route->method.empty() || !route->matches(path)) continue;
    if (best == nullptr || route->more_specific_than(*best)) best = route.get();
  }
  if (best == nullptr) return tl::unexpected(not_found(request));
  best->bind(path, request);
  if (best->authorise) {
    if (const Status allowed = best->authorise(request); !allowed) {
      return tl::unexpected(Response::from_error(allowed.error()));
    }
  }
  return best->websocket_handler;
}

}  // namespace bootseal::net

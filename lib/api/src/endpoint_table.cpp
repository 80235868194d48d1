#include "endpoint_table.h"

#include "bootseal/model/resource_id.h"

namespace bootseal::api {
namespace {

bool is_parameter(std::string_view segment) {
  return segment.starts_with('{');
}

bool fits(const std::vector<std::string>& segments, const std::vector<std::string_view>& path) {
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (!is_parameter(segments[i]) && !model::equal_ignoring_case(segments[i], path[i])) return false;
  }
  return true;
}

bool more_specific(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (is_parameter(a[i]) != is_parameter(b[i])) return is_parameter(b[i]);
  }
  return false;
}

}  // namespace

EndpointTable::EndpointTable(const std::vector<model::Endpoint>& endpoints) {
  for (const model::Endpoint& endpoint : endpoints) {
    Route route{&endpoint, {}};
    for (const std::string_view segment : model::path_segments(endpoint.path))
      route.segments.emplace_back(segment);
    routes_[route.segments.size()].push_back(std::move(route));
  }
}

EndpointTable::Match EndpointTable::find(std::string_view method, std::string_view path) const {
  Match match;
  const std::vector<std::string_view> segments = model::path_segments(path);
  const auto routes = routes_.find(segments.size());
  if (routes == routes_.end()) return match;
  const Route* best = nullptr;
  const Route* best_get = nullptr;
  for (const Route& route : routes->second) {
    if (!fits(route.segments, segments)) continue;
    match.methods.insert(route.endpoint->method);
    const auto better = [&](const Route* than) {
      return than == nullptr || more_specific(route.segments, than->segments);
    };
    if (route.endpoint->method == method && better(best)) best = &route;
    if (route.endpoint->method == "GET" && better(best_get)) best_get = &route;
  }
  if (best == nullptr && method == "HEAD") best = best_get;
  if (best == nullptr) return match;
  match.endpoint = best->endpoint;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const std::string& segment = best->segments[i];
    if (is_parameter(segment)) match.parameters[segment.substr(1, segment.size() - 2)] = segments[i];
  }
  return match;
}

}  // namespace bootseal::api

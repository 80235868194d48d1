#include "bootseal/model/endpoint.h"
#include "bootseal/model/resource_id.h"

namespace bootseal::model {
namespace {

std::string_view verb_of(const std::string& method) {
  if (method == "GET" || method == "HEAD") return "read";
  if (method == "PUT" || method == "PATCH") return "write";
  if (method == "DELETE") return "delete";
  return "action";
}

}  // namespace

std::string action_of(const Endpoint& endpoint) {
  if (!endpoint.action.empty()) return endpoint.action;
  const std::vector<std::string_view> segments = path_segments(endpoint.path);
  std::string action;
  std::size_t begin = 0;
  for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
    if (segments[i] != "providers" || segments[i + 1].starts_with('{')) continue;
    action = segments[i + 1];
    begin = i + 2;
  }
  if (action.empty()) {
    const bool azure = !segments.empty() && segments[0] == "subscriptions";
    action = azure ? "Microsoft.Resources" : "Bootseal.Site";
  }
  for (std::size_t i = begin; i < segments.size(); ++i) {
    if (!segments[i].starts_with('{')) action.append("/").append(segments[i]);
  }
  return action.append("/").append(verb_of(endpoint.method));
}

}  // namespace bootseal::model

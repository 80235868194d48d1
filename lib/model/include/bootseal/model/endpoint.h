// The registry of endpoints: each declares verb, path, authentication and what goes in and comes out. The
// router is bound to it (lib/api), and docs/openapi.json is written from it.
#pragma once

#include <string>
#include <vector>

#include "bootseal/model/schema.h"

namespace bootseal::model {

enum class Authentication : std::uint8_t {
  token_or_certificate,  // a bearer token, or a client certificate of the site CA
  local_owner,           // the daemon's Unix socket, by root or by the user it runs as
  anonymous,             // nobody is asked who they are (sign-in, metadata)
};

struct QueryParameter {
  std::string name;
  SchemaRef schema;
  bool required = false;
  std::string description;
};

struct Answer {
  int status = 200;
  std::string description;
  SchemaRef schema;  // nullptr = no body, or a body that is not JSON
  std::string content_type = "application/json";
  bool long_running = false;  // with Azure-AsyncOperation, Location and Retry-After
};

struct Endpoint {
  std::string operation_id;  // "VirtualMachines_Start"; unique
  std::string method;
  std::string path;  // "/subscriptions/{subscriptionId}"
  std::string summary;
  Authentication authentication = Authentication::token_or_certificate;
  bool versioned = true;  // wants ?api-version=
  bool websocket = false;
  std::vector<QueryParameter> query;
  SchemaRef in;             // nullptr = no body
  std::vector<Answer> out;  // the good answers; every endpoint may also answer an error body
  // What the caller's roles must allow at the scope of the path (scope_of_path). Empty = derived from method
  // and path, see action_of().
  std::string action;
  // Every authenticated caller may ask: the answer holds what that caller may see.
  bool any_caller = false;
};

// The endpoint's action; where it gives none, its namespace and fixed words and what the method does:
// "Microsoft.Compute/virtualMachines/read", "…/write", "…/delete", "…/virtualMachines/start/action". Paths
// without a namespace are those of Microsoft.Resources; paths that are not Azure's are Bootseal.Site's.
std::string action_of(const Endpoint& endpoint);

// All of them, in the order of the document: the ones written down and those of the resource types.
const std::vector<Endpoint>& endpoints();
// The OpenAPI 3.0 document of the given endpoints.
json::Object openapi_document(const std::vector<Endpoint>& endpoints);

}  // namespace bootseal::model

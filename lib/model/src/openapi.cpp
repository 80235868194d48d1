#include <fmt/format.h>

#include "bootseal/model/endpoint.h"

namespace bootseal::model {
namespace {

json::Object parameter(std::string_view name, std::string_view in, bool required, json::Value schema,
                       std::string_view description) {
  json::Object object;
  object["name"] = name;
  object["in"] = in;
  if (required) object["required"] = true;
  if (!description.empty()) object["description"] = description;
  object["schema"] = std::move(schema);
  return object;
}

json::Array parameters_of(const Endpoint& endpoint, json::Object& components) {
  json::Array parameters;
  for (std::size_t at = endpoint.path.find('{'); at != std::string::npos;
       at = endpoint.path.find('{', at + 1)) {
    const std::size_t end = endpoint.path.find('}', at);
    parameters.emplace_back(parameter(endpoint.path.substr(at + 1, end - at - 1), "path", true,
                                      to_openapi(*string_schema(), components), ""));
  }
  if (endpoint.versioned) {
    parameters.emplace_back(parameter("api-version", "query", true, to_openapi(*string_schema(), components),
                                      "A date; any well-formed one is taken"));
  }
  for (const QueryParameter& query : endpoint.query) {
    parameters.emplace_back(parameter(query.name, "query", query.required,
                                      to_openapi(*query.schema, components), query.description));
  }
  return parameters;
}

json::Object content(const std::string& type, const SchemaRef& schema, json::Object& components) {
  json::Object media;
  media["schema"] =
      schema != nullptr ? to_openapi(*schema, components) : json::Value(json::Object{{"type", "string"}});
  json::Object object;
  object[type] = std::move(media);
  return object;
}

json::Object header(std::string_view description) {
  json::Object object;
  object["description"] = description;
  object["schema"] = json::Object{{"type", "string"}};
  return object;
}

json::Object answer_object(const Answer& answer, json::Object& components) {
  json::Object object;
  object["description"] = answer.description;
  if (answer.long_running) {
    json::Object headers;
    headers["Azure-AsyncOperation"] =
        header("Absolute URL of the operation; poll it until its status is final");
    headers["Location"] = header("Absolute URL that answers 202 until the operation has ended");
    headers["Retry-After"] = header("Seconds between polls");
    object["headers"] = std::move(headers);
  }
  if (answer.schema != nullptr || answer.content_type != "application/json") {
    object["content"] = content(answer.content_type, answer.schema, components);
  }
  return object;
}

SchemaRef error_schema() {
  static const SchemaRef schema = [] {
    const SchemaRef detail = object_schema("ErrorDetail", {{"code", string_schema(), true},
                                                           {"message", string_schema(), true},
                                                           {"target", string_schema()},
                                                           {"details", array_schema(any_schema())}});
    return object_schema("Error", {{"error", detail, true}});
  }();
  return schema;
}

json::Object operation_object(const Endpoint& endpoint, json::Object& components) {
  json::Object operation;
  operation["operationId"] = endpoint.operation_id;
  operation["summary"] = endpoint.summary;
  operation["tags"] =
      json::Array{json::Value(endpoint.operation_id.substr(0, endpoint.operation_id.find('_')))};
  json::Array security;
  if (endpoint.authentication == Authentication::token_or_certificate) {
    security.emplace_back(json::Object{{"token", json::Array()}});
    security.emplace_back(json::Object{{"clientCertificate", json::Array()}});
  } else if (endpoint.authentication == Authentication::local_owner) {
    security.emplace_back(json::Object{{"localOwner", json::Array()}});
  }
  operation["security"] = std::move(security);
  if (json::Array parameters = parameters_of(endpoint, components); !parameters.empty())
    operation["parameters"] = std::move(parameters);
  if (endpoint.in != nullptr) {
    json::Object body;
    body["required"] = true;
    body["content"] = content("application/json", endpoint.in, components);
    operation["requestBody"] = std::move(body);
  }
  json::Object responses;
  for (const Answer& answer : endpoint.out)
    responses[std::to_string(answer.status)] = answer_object(answer, components);
  json::Object error;
  error["description"] = "What was wrong, where, and what to do";
  error["content"] = content("application/json", error_schema(), components);
  responses["default"] = std::move(error);
  operation["responses"] = std::move(responses);
  return operation;
}

json::Object security_schemes() {
  json::Object token;
  token["type"] = "http";
  token["scheme"] = "bearer";
  json::Object certificate;
  certificate["type"] = "mutualTLS";
  certificate["description"] = "A client certificate of the site CA; its common name is the caller";
  json::Object local;
  local["type"] = "apiKey";
  local["in"] = "header";
  local["name"] = "SO_PEERCRED";
  local["description"] =
      "No header: the Unix socket RUN/controld.sock, as root or as the user the daemon runs as";
  json::Object schemes;
  schemes["token"] = std::move(token);
  schemes["clientCertificate"] = std::move(certificate);
  schemes["localOwner"] = std::move(local);
  return schemes;
}

}  // namespace

json::Object openapi_document(const std::vector<Endpoint>& endpoints) {
  json::Object schemas;
  json::Object paths;
  for (const Endpoint& endpoint : endpoints) {
    std::string method;
    for (const char c : endpoint.method)
      method += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    json::Value& path = paths[endpoint.path];
    if (!path.is_object()) path = json::Object();
    path.get_object()[method] = operation_object(endpoint, schemas);
  }
  json::Object components;
  components["securitySchemes"] = security_schemes();
  components["schemas"] = std::move(schemas);
  json::Object info;
  info["title"] = "Bootseal";
  info["version"] = "1";
  info["description"] =
      "Trusted Launch for the servers you own, in the shapes of Azure Resource Manager. Paths and names are "
      "compared without regard to case.";
  json::Object document;
  document["openapi"] = "3.1.0";
  document["info"] = std::move(info);
  document["paths"] = std::move(paths);
  document["components"] = std::move(components);
  return document;
}

}  // namespace bootseal::model

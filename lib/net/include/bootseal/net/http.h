// HTTP messages as handlers and callers see them, and who is at the other end.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bootseal/base/result.h"
#include "bootseal/json/json.h"

namespace bootseal::net {

// Who sent a request, as the transport proved it.
struct Peer {
  enum class Kind { anonymous, unix_process, certificate };
  Kind kind = Kind::anonymous;
  uid_t uid = 0;  // unix_process: SO_PEERCRED
  gid_t gid = 0;
  pid_t pid = 0;
  std::string certificate_name;    // certificate: the CN of a client certificate that chains to the site CA
  std::string certificate_sha256;  // certificate: hex of the DER's hash
  std::string address;             // for the log: "127.0.0.1:4711", "unix:uid=0,pid=12"
};

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  // "GET"
  std::string target;  // as sent, path and query
  std::string path;    // percent-decoded, "//" folded, no trailing "/", never empty
  std::multimap<std::string, std::string> query;  // percent-decoded
  HeaderList headers;
  std::string body;
  Peer peer;
  std::map<std::string, std::string> parameters;  // filled in by the Router: {name} -> text
  std::string
      id;  // made by the server; the `x-ms-request-id` of the answer and the `request` of its log events
  std::stop_token
      stop;  // requested when the server stops: a handler that waits for something ends its wait then

  [[nodiscard]] std::optional<std::string> header(std::string_view name) const;  // case-insensitive
  [[nodiscard]] std::optional<std::string> query_value(
      std::string_view name) const;  // case-insensitive name, first value
  // The parameter of the matched path template; must exist.
  [[nodiscard]] const std::string& parameter(const std::string& name) const;
  // The body as JSON; an empty body is an error.
  [[nodiscard]] Result<json::Value> json_body() const;
};

struct Response {
  int status = 200;
  HeaderList headers;
  std::string body;

  static Response json(int status,
                       const json::Value& value);  // with Content-Type: application/json; charset=utf-8
  static Response empty(int status);
  // {"error":{"code":NAME,"message":TEXT}} with the status of the code's row.
  static Response from_error(const Error& error);
};

// The value of `Content-Type: application/json` bodies that carry an error, back to an Error (unavailable
// when it is none).
Error error_from_response(int status, std::string_view body);

}  // namespace bootseal::net

// Answers as bytes.
#pragma once

#include <string>

#include "bootseal/net/http.h"

namespace bootseal::net {

struct Envelope {
  bool keep_alive = false;
  bool head_only = false;         // the answer to a HEAD request: the length of the body without the body
  std::string request_id;         // x-ms-request-id
  std::string client_request_id;  // sent back as x-ms-client-request-id; empty = none came
};

// internal when a header has a name that is no token or a value with control characters: it would become
// another header.
Result<std::string> serialize_response(const Response& response, const Envelope& envelope);

}  // namespace bootseal::net

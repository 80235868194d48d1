// HTTP client for Unix sockets and TLS (libcurl), and the client end of a WebSocket.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>

#include "bootseal/net/http.h"
#include "bootseal/net/server.h"

namespace bootseal::net {

struct ClientOptions {
  std::filesystem::path unix_socket;  // when set, `base_url` is "http://daemon"
  std::string base_url;               // "https://127.0.0.1:8443"
  std::string ca_pem;                 // the only roots trusted
  std::string client_certificate_pem;
  std::string client_key_pem;
  std::string bearer_token;
  std::chrono::milliseconds connect_limit{5000};
  std::chrono::milliseconds limit{30000};  // for one whole call
};

struct Call {
  std::string method = "GET";
  std::string target;  // path and query, "/v1/vms"
  HeaderList headers;
  std::string body;
  std::optional<std::chrono::milliseconds> limit;  // instead of ClientOptions::limit
  std::stop_token stop;
};

struct Reply {
  int status = 0;
  HeaderList headers;
  std::string body;
  [[nodiscard]] std::optional<std::string> header(std::string_view name) const;
};

// Keeps its connections. Thread safe.
class Client {
 public:
  static Result<std::unique_ptr<Client>> create(ClientOptions options);
  virtual ~Client() = default;
  // Any HTTP status is a Reply. Errors: unavailable (nobody answers; the message names the address), timeout,
  // cancelled, unauthenticated (TLS verification failed).
  virtual Result<Reply> send(const Call& call) = 0;
  virtual Result<std::unique_ptr<WebSocket>> open_websocket(const std::string& target) = 0;

  // send() with a JSON body (null = none); a status of 400 and more becomes the Error in the body. Null for
  // an empty answer.
  Result<json::Value> call_json(std::string method, std::string target, const json::Value& body = nullptr,
                                std::optional<std::chrono::milliseconds> limit = std::nullopt,
                                std::stop_token stop = {});
};

}  // namespace bootseal::net

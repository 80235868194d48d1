// A client of one site: its address and credentials, requests in Azure's shapes, and waiting for operations.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "bootseal/json/json.h"
#include "bootseal/net/client.h"

namespace bootseal::cli {

// HOME/cli: where the site is and who we are (docs/architecture.md, Folders).
struct Profile {
  std::string endpoint;
  std::string tenant;
  std::string subscription;
  std::string ca_pem;
  std::string token;
  std::string client_certificate_pem;  // may be empty
  std::string client_key_pem;
  // Not of the folder: what to say instead of the address when nobody answers there. Empty = the address.
  std::string when_silent;

  // not_found with what to do when the folder holds none; permission_denied; invalid_argument for damaged
  // files.
  static Result<Profile> load(const std::filesystem::path& folder);
  // Files of mode 0600 in a folder of mode 0700, each replaced as a whole.
  [[nodiscard]] Status save(const std::filesystem::path& folder) const;
};

class SiteClient {
 public:
  static Result<std::unique_ptr<SiteClient>> create(Profile profile);

  [[nodiscard]] const Profile& profile() const { return profile_; }
  [[nodiscard]] std::string subscription_path() const { return "/subscriptions/" + profile_.subscription; }
  [[nodiscard]] std::string group_path(const std::string& group) const;
  [[nodiscard]] std::string vm_path(const std::string& group, const std::string& name) const;

  struct Answer {
    int status = 0;
    json::Value body;            // null when empty
    std::string operation_path;  // of the operation that was begun; empty = none
  };
  // A request with api-version. A status of 400 and more is an error whose message ends with Azure's code in
  // brackets.
  Result<Answer> call(const std::string& method, const std::string& path, const json::Value& body = nullptr,
                      const net::HeaderList& headers = {}, const std::string& query = {});
  // Waits for the end of an operation: its output (null when it has none), or its error. cancelled when
  // `stop` is requested: the operation goes on. `on_wait` is called several times a second.
  Result<json::Value> wait(const std::string& operation_path, std::stop_token stop,
                           const std::function<void()>& on_wait);
  // The body of a path that answers text.
  Result<std::string> text(const std::string& path);
  Result<std::unique_ptr<net::WebSocket>> websocket(const std::string& path);

 private:
  SiteClient(Profile profile, std::unique_ptr<net::Client> client)
      : profile_(std::move(profile)), client_(std::move(client)) {}

  Profile profile_;
  std::unique_ptr<net::Client> client_;
};

// The error in an answer of the API: its code decides the kind, its message is kept, the code follows in
// brackets.
Error error_from_answer(int status, const json::Value& body);

}  // namespace bootseal::cli

// The control plane: resources with their rules, operations, placement, and the reconciliation of what should
// be with what is.
//
// Everything a client is told has been accepted is in the store first. What the hosts say lives in memory
// only: they are asked again after a restart. Work goes on where it stopped, whatever was killed when: each
// step is repeated until its effect is seen.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "bootseal/base/clock.h"
#include "bootseal/net/server.h"
#include "bootseal/store/store.h"

namespace bootseal::api {

struct ControlPlaneOptions {
  std::unique_ptr<store::Store> store;
  std::filesystem::path images;  // HOME/images
  std::filesystem::path hostd_socket;
  std::filesystem::path vaultd_socket;
  std::filesystem::path attestd_socket;
  std::string version = "0";              // of the program, for the site status
  std::function<std::string()> endpoint;  // the address clients are given, "https://127.0.0.1:8443"
  std::function<json::Object()> server_certificate;  // for the site status; may be empty
  const Clock* clock = &Clock::system();
  // What public IP addresses are allotted from. The default can be reached from this machine alone.
  std::string public_addresses = "127.64.0.0/16";

  std::chrono::seconds events_wait{3};         // of one long poll
  std::chrono::milliseconds first_retry{200};  // after a failed step; doubles up to the last
  std::chrono::milliseconds last_retry{10000};
  std::chrono::milliseconds operation_limit{
      std::chrono::minutes(15)};  // then an operation fails with its last reason
};

class ControlPlane {
 public:
  // Reads the site's identity from the store, or makes it. Errors of the store.
  static Result<std::unique_ptr<ControlPlane>> create(ControlPlaneOptions options);
  virtual ~ControlPlane() = default;
  // Routes for every endpoint of model::endpoints(). The handlers use this object: it must outlive the
  // server.
  [[nodiscard]] virtual net::Router router() = 0;
  // Starts the reconciler's threads; picks up every operation that was going on. Once.
  virtual void start() = 0;
  // Ends the threads. What was going on goes on at the next start. May be called more than once.
  virtual void stop() = 0;
};

}  // namespace bootseal::api

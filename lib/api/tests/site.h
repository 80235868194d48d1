// A control plane over fake daemons, called through its router: no network in between.
#pragma once

#include <gtest/gtest.h>

#include <optional>

#include "bootseal/api/control_plane.h"
#include "fakes.h"

namespace bootseal::api::testing {

struct Reply {
  int status = 0;
  net::HeaderList headers;
  std::string text;
  json::Value body;  // null when it is no JSON
  [[nodiscard]] std::string header(std::string_view name) const;
  [[nodiscard]] std::string error() const;  // "CODE: message"
};

class SiteTest : public ::testing::Test {
 protected:
  SiteTest();
  ~SiteTest() override;

  // A control plane on the store of this test; a store on disk survives crash().
  void start();
  // Ends the control plane as it stands, whatever is going on.
  void crash();

  Reply call(const std::string& method, const std::string& path, const json::Value& body = nullptr,
             const net::HeaderList& headers = {});
  // As call(), from a peer that has shown nothing; `target` may have a query.
  Reply call_as(const net::Peer& peer, const std::string& method, const std::string& target,
                const net::HeaderList& headers = {}, const std::string& body = {});
  Reply put_vm(const std::string& name, const std::string& image = "mini",
               const json::Value& security = nullptr, const net::HeaderList& headers = {});
  [[nodiscard]] std::string group() const {
    return "/subscriptions/" + subscription_ + "/resourceGroups/rg1";
  }
  [[nodiscard]] std::string vm(const std::string& name) const {
    return group() + "/providers/Microsoft.Compute/virtualMachines/" + name;
  }
  std::string vm_id(const std::string& name);
  // Polls the operation that an answer names until it has ended; its last answer.
  json::Value wait(const Reply& begun);
  // The operation's status, and its error when it has one: "Succeeded", "Failed CODE: message".
  std::string outcome(const Reply& begun);
  std::vector<std::string> states(const std::string& name);
  static bool until(const std::function<bool()>& condition);

  std::filesystem::path folder_;
  FakeHost host_;
  FakeVault vault_;
  FakeAttest attest_;
  std::string subscription_;
  std::chrono::milliseconds operation_limit_{60000};
  const Clock* clock_ = &Clock::system();
  std::unique_ptr<ControlPlane> plane_;
  std::optional<net::Router> router_;
};

}  // namespace bootseal::api::testing

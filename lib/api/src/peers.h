// The daemons that the control plane calls (docs/architecture.md, "How the daemons speak"), each call typed.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "bootseal/base/ids.h"
#include "bootseal/model/vm_status.h"
#include "bootseal/net/client.h"
#include "database.h"

namespace bootseal::api {

struct HostEvents {
  std::uint64_t revision = 0;
  std::vector<model::VmStatus> vms;
  std::vector<VmId> gone;
};

// Every call fails with the error that the daemon answered, or unavailable, timeout and cancelled when it
// does not answer.
class Peers {
 public:
  static Result<std::unique_ptr<Peers>> create(const std::filesystem::path& hostd_socket,
                                               const std::filesystem::path& vaultd_socket,
                                               const std::filesystem::path& attestd_socket);

  Result<json::Value> host(std::chrono::milliseconds limit);
  Result<model::VmStatus> assign(const VmId& id, const json::Object& assignment);
  Result<model::VmStatus> vm(const VmId& id);
  Result<HostEvents> events(std::uint64_t since, std::chrono::seconds wait, std::stop_token stop);
  Result<json::Value> attest(const VmId& id, std::stop_token stop);
  Result<json::Value> reset_guest_state(const VmId& id);
  Status remove_from_host(const VmId& id);
  Result<std::string> console_log(const VmId& id);
  Result<std::unique_ptr<net::WebSocket>> console(const VmId& id);

  Status put_placement(const VmId& id, const Placement& placement, std::stop_token stop);
  Status remove_key(const VmId& id, const Placement& placement);
  Result<std::string> ca_certificate();
  Result<std::string> client_certificate(const std::string& csr_pem, const std::string& common_name);

  Status put_expectation(const VmId& id, const json::Object& expectation, std::stop_token stop);
  Status forget_expectation(const VmId& id);

  // Whether the daemon answers anything at all: nullopt, or why not.
  std::optional<std::string> silence_of(const std::string& daemon);

 private:
  std::unique_ptr<net::Client> hostd_;
  std::unique_ptr<net::Client> vaultd_;
  std::unique_ptr<net::Client> attestd_;
};

}  // namespace bootseal::api

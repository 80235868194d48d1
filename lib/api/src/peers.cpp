#include "peers.h"

#include <fmt/format.h>

namespace bootseal::api {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallLimit{30000};
constexpr milliseconds kTellLimit{10000};
constexpr milliseconds kEventsGrace{4000};  // past the wait that was asked for: then the host is silent
constexpr milliseconds kAttestLimit{120000};
constexpr milliseconds kDeleteLimit{120000};  // a host may have to end QEMU and guestd first
constexpr milliseconds kProbeLimit{3000};

Result<std::unique_ptr<net::Client>> client_of(const std::filesystem::path& socket) {
  net::ClientOptions options;
  options.unix_socket = socket;
  options.base_url = "http://daemon";
  options.limit = kCallLimit;
  return net::Client::create(std::move(options));
}

std::string vm_path(const VmId& id, std::string_view rest = {}) {
  return fmt::format("/v1/vms/{}{}", id.to_string(), rest);
}

Result<std::string> text_member(const json::Value& value, std::string_view what, std::string_view name) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, std::string(what)));
  return reader.string(name);
}

json::Object placement_body(const Placement& placement) {
  return {{"hostId", placement.host_id}, {"epoch", placement.epoch.value}};
}

// A deletion of what is not there is a success.
Status unless_absent(const Result<json::Value>& answer) {
  if (!answer && answer.error().code != ErrorCode::not_found) return tl::unexpected(answer.error());
  return {};
}

}  // namespace

Result<std::unique_ptr<Peers>> Peers::create(const std::filesystem::path& hostd_socket,
                                             const std::filesystem::path& vaultd_socket,
                                             const std::filesystem::path& attestd_socket) {
  auto peers = std::make_unique<Peers>();
  BOOTSEAL_TRY(peers->hostd_, client_of(hostd_socket));
  BOOTSEAL_TRY(peers->vaultd_, client_of(vaultd_socket));
  BOOTSEAL_TRY(peers->attestd_, client_of(attestd_socket));
  return peers;
}

Result<json::Value> Peers::host(milliseconds limit) {
  return hostd_->call_json("GET", "/v1/host", nullptr, limit);
}

Result<model::VmStatus> Peers::assign(const VmId& id, const json::Object& assignment) {
  BOOTSEAL_TRY(const json::Value answer, hostd_->call_json("PUT", vm_path(id), assignment));
  return model::VmStatus::parse(answer);
}

Result<model::VmStatus> Peers::vm(const VmId& id) {
  BOOTSEAL_TRY(const json::Value answer, hostd_->call_json("GET", vm_path(id)));
  return model::VmStatus::parse(answer);
}

Result<HostEvents> Peers::events(std::uint64_t since, std::chrono::seconds wait, std::stop_token stop) {
  const std::string target = fmt::format("/v1/events?since={}&waitSeconds={}", since, wait.count());
  BOOTSEAL_TRY(const json::Value answer,
               hostd_->call_json("GET", target, nullptr, wait + kEventsGrace, std::move(stop)));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "the host's events"));
  HostEvents events;
  BOOTSEAL_TRY(events.revision, reader.unsigned_integer("revision"));
  BOOTSEAL_TRY(const auto vms, reader.objects("vms"));
  for (const json::Reader& vm : vms) {
    BOOTSEAL_TRY(model::VmStatus status, model::VmStatus::parse(vm.raw()));
    events.vms.push_back(std::move(status));
  }
  BOOTSEAL_TRY(const auto gone, reader.strings("gone"));
  for (const std::string& text : gone) {
    BOOTSEAL_TRY(const VmId id, VmId::parse(text));
    events.gone.push_back(id);
  }
  return events;
}

Result<json::Value> Peers::attest(const VmId& id, std::stop_token stop) {
  return hostd_->call_json("POST", vm_path(id, "/attest"), json::Object(), kAttestLimit, std::move(stop));
}

Result<json::Value> Peers::reset_guest_state(const VmId& id) {
  json::Object body;
  body["confirm"] = id.to_string();
  return hostd_->call_json("POST", vm_path(id, "/reset-guest-state"), body, kAttestLimit);
}

Status Peers::remove_from_host(const VmId& id) {
  return unless_absent(hostd_->call_json("DELETE", vm_path(id), nullptr, kDeleteLimit));
}

Result<std::string> Peers::console_log(const VmId& id) {
  net::Call call;
  call.target = vm_path(id, "/console/log");
  BOOTSEAL_TRY(net::Reply reply, hostd_->send(call));
  if (reply.status != 200) return tl::unexpected(net::error_from_response(reply.status, reply.body));
  return std::move(reply.body);
}

Result<std::unique_ptr<net::WebSocket>> Peers::console(const VmId& id) {
  return hostd_->open_websocket(vm_path(id, "/console"));
}

Status Peers::put_placement(const VmId& id, const Placement& placement, std::stop_token stop) {
  BOOTSEAL_TRY_STATUS(vaultd_->call_json("PUT", "/v1/placements/" + id.to_string(), placement_body(placement),
                                         kTellLimit, std::move(stop)));
  return {};
}

Status Peers::remove_key(const VmId& id, const Placement& placement) {
  return unless_absent(vaultd_->call_json("DELETE", "/v1/keys/" + id.to_string(), placement_body(placement)));
}

Result<std::string> Peers::ca_certificate() {
  BOOTSEAL_TRY(const json::Value answer, vaultd_->call_json("GET", "/v1/ca"));
  return text_member(answer, "the vault's answer", "certificatePem");
}

Result<std::string> Peers::client_certificate(const std::string& csr_pem, const std::string& common_name) {
  json::Object body;
  body["csrPem"] = csr_pem;
  body["commonName"] = common_name;
  BOOTSEAL_TRY(const json::Value answer, vaultd_->call_json("POST", "/v1/certificates/client", body));
  return text_member(answer, "the vault's answer", "certificatePem");
}

Status Peers::put_expectation(const VmId& id, const json::Object& expectation, std::stop_token stop) {
  BOOTSEAL_TRY_STATUS(
      attestd_->call_json("PUT", vm_path(id, "/expectation"), expectation, kTellLimit, std::move(stop)));
  return {};
}

Status Peers::forget_expectation(const VmId& id) {
  return unless_absent(attestd_->call_json("DELETE", vm_path(id)));
}

std::optional<std::string> Peers::silence_of(const std::string& daemon) {
  net::Call call;
  call.limit = kProbeLimit;
  Result<net::Reply> reply = [&] {
    if (daemon == "hostd") {
      call.target = "/v1/host";
      return hostd_->send(call);
    }
    if (daemon == "vaultd") {
      call.target = "/v1/ca";
      return vaultd_->send(call);
    }
    call.target = vm_path(VmId{}, "/verdict");
    return attestd_->send(call);
  }();
  if (reply) return std::nullopt;
  return reply.error().describe();
}

}  // namespace bootseal::api

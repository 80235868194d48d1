#include "routes.h"

#include <functional>

#include "bootseal/net/daemon.h"

namespace bootseal::vaultd {
namespace {

using net::Request;
using net::Response;
using vault::Caller;
using vault::KeyMetadata;
using vault::Placement;
using vault::Vault;

enum Role : unsigned { kHost = 1, kControl = 2, kAttest = 4, kAny = net::kAnyCaller };

using Action = std::function<Result<Response>(const Request&, const Caller&)>;

Result<Caller> authorise(const Request& request, const Callers& callers, unsigned roles) {
  const net::DaemonCaller known[] = {{"hostd", callers.hostd, kHost},
                                     {"controld", callers.controld, kControl},
                                     {"attestd", callers.attestd, kAttest}};
  BOOTSEAL_TRY(std::string name, net::authorise_process(request, known, roles, "the vault"));
  return Caller{std::move(name)};
}

Result<Placement> read_placement(json::Reader& reader) {
  Placement placement;
  BOOTSEAL_TRY(placement.host_id, reader.string("hostId"));
  BOOTSEAL_TRY(placement.epoch.value, reader.unsigned_integer("epoch"));
  return placement;
}

// The body {hostId, epoch} and nothing else.
Result<Placement> placement_body(const Request& request) {
  BOOTSEAL_TRY(const json::Value body, request.json_body());
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(body, "the placement"));
  BOOTSEAL_TRY(Placement placement, read_placement(reader));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return placement;
}

json::Value to_json(const KeyMetadata& key) {
  return {{"name", key.vm.to_string()},
          {"algorithm", "AES-256"},
          {"createdTime", key.created_time},
          {"generation", key.generation.value}};
}

Result<std::optional<Bytes>> optional_base64(json::Reader& reader, std::string_view field) {
  if (!reader.has(field)) return std::nullopt;
  BOOTSEAL_TRY(Bytes bytes, reader.base64(field));
  return std::make_optional(std::move(bytes));
}

template <typename Text>
void wipe_text(Text& text) {
  crypto::wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
}

Result<Response> issue_tpm_certificates(Vault& vault, const Request& request, const Caller& caller) {
  BOOTSEAL_TRY(const VmId vm, net::vm_parameter(request));
  BOOTSEAL_TRY(const json::Value body, request.json_body());
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(body, "the request"));
  BOOTSEAL_TRY(const Placement claim, read_placement(reader));
  vault::TpmKeys keys;
  BOOTSEAL_TRY(keys.vm_name, reader.string("vmName"));
  BOOTSEAL_TRY(keys.ek_rsa, optional_base64(reader, "ekRsa"));
  BOOTSEAL_TRY(keys.ek_ecc, optional_base64(reader, "ekEcc"));
  BOOTSEAL_TRY(keys.ak, reader.base64("ak"));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  BOOTSEAL_TRY(const vault::TpmCertificates certificates,
               vault.issue_tpm_certificates(caller, vm, claim, keys));
  json::Object answer;
  if (certificates.ek_rsa) answer["ekRsaCertificate"] = to_base64(*certificates.ek_rsa);
  if (certificates.ek_ecc) answer["ekEccCertificate"] = to_base64(*certificates.ek_ecc);
  answer["akCertificate"] = to_base64(certificates.ak);
  return Response::json(200, answer);
}

void add_key_routes(const std::function<void(std::string, std::string, unsigned, Action)>& on, Vault& vault) {
  on("POST", "/v1/keys/{vmId}", kHost,
     [&vault](const Request& request, const Caller& caller) -> Result<Response> {
       BOOTSEAL_TRY(const VmId vm, net::vm_parameter(request));
       BOOTSEAL_TRY(const Placement claim, placement_body(request));
       BOOTSEAL_TRY(const KeyMetadata key, vault.create_key(caller, vm, claim));
       return Response::json(201, to_json(key));
     });
  on("GET", "/v1/keys", kHost | kControl, [&vault](const Request&, const Caller&) -> Result<Response> {
    BOOTSEAL_TRY(const std::vector<KeyMetadata> keys, vault.keys());
    json::Array value;
    for (const KeyMetadata& key : keys) value.push_back(to_json(key));
    return Response::json(200, {{"value", std::move(value)}});
  });
  on("GET", "/v1/keys/{vmId}", kHost | kControl,
     [&vault](const Request& request, const Caller&) -> Result<Response> {
       BOOTSEAL_TRY(const VmId vm, net::vm_parameter(request));
       BOOTSEAL_TRY(const KeyMetadata key, vault.key(vm));
       return Response::json(200, to_json(key));
     });
  on("POST", "/v1/keys/{vmId}/release", kHost,
     [&vault](const Request& request, const Caller& caller) -> Result<Response> {
       BOOTSEAL_TRY(const VmId vm, net::vm_parameter(request));
       BOOTSEAL_TRY(const Placement claim, placement_body(request));
       BOOTSEAL_TRY(const vault::ReleasedKey released, vault.release(caller, vm, claim));
       std::string text = to_base64(released.key.view());
       json::Object answer = {
           {"key", text}, {"name", vm.to_string()}, {"minimumGeneration", released.minimum_generation.value}};
       Response response = Response::json(200, answer);
       // The transport still holds the body until it is sent; no other copy outlives this handler.
       wipe_text(text);
       wipe_text(answer.at("key").get_string());
       return response;
     });
  on("PUT", "/v1/keys/{vmId}/generation", kHost,
     [&vault](const Request& request, const Caller& caller) -> Result<Response> {
       BOOTSEAL_TRY(const VmId vm, net::vm_parameter(request));
       BOOTSEAL_TRY(const json::Value body, request.json_body());
       BOOTSEAL_TRY(json::Reader reader, json::Reader::object(body, "the generation"));
       BOOTSEAL_TRY(const Placement claim, read_placement(reader));
       Generation generation;
       BOOTSEAL_TRY(generation.value, reader.unsigned_integer("generation"));
       BOOTSEAL_TRY_STATUS(reader.no_other_fields());
       BOOTSEAL_TRY(const Generation recorded, vault.record_generation(caller, vm, claim, generation));
       return Response::json(200, {{"generation", recorded.value}});
     });
  on("DELETE", "/v1/keys/{vmId}", kHost | kControl,
     [&vault](const Request& request, const Caller& caller) -> Result<Response> {
       BOOTSEAL_TRY(const VmId vm, net::vm_parameter(request));
       BOOTSEAL_TRY(const Placement claim, placement_body(request));
       BOOTSEAL_TRY_STATUS(vault.remove(caller, vm, claim));
       return Response::empty(204);
     });
}

void add_certificate_routes(const std::function<void(std::string, std::string, unsigned, Action)>& on,
                            Vault& vault) {
  on("GET", "/v1/ca", kAny, [&vault](const Request&, const Caller&) -> Result<Response> {
    return Response::json(200, {{"certificatePem", vault.ca_certificate().pem()}});
  });
  on("POST", "/v1/certificates/tpm/{vmId}", kHost, [&vault](const Request& request, const Caller& caller) {
    return issue_tpm_certificates(vault, request, caller);
  });
  on("POST", "/v1/certificates/server", kControl,
     [&vault](const Request& request, const Caller& caller) -> Result<Response> {
       BOOTSEAL_TRY(const json::Value body, request.json_body());
       BOOTSEAL_TRY(json::Reader reader, json::Reader::object(body, "the request"));
       BOOTSEAL_TRY(const std::string csr, reader.string("csrPem"));
       BOOTSEAL_TRY(const std::vector<std::string> names, reader.strings("names"));
       BOOTSEAL_TRY_STATUS(reader.no_other_fields());
       BOOTSEAL_TRY(const crypto::Certificate certificate,
                    vault.issue_server_certificate(caller, csr, names));
       const std::string pem = certificate.pem();
       return Response::json(200,
                             {{"certificatePem", pem}, {"chainPem", pem + vault.ca_certificate().pem()}});
     });
  on("POST", "/v1/certificates/client", kControl,
     [&vault](const Request& request, const Caller& caller) -> Result<Response> {
       BOOTSEAL_TRY(const json::Value body, request.json_body());
       BOOTSEAL_TRY(json::Reader reader, json::Reader::object(body, "the request"));
       BOOTSEAL_TRY(const std::string csr, reader.string("csrPem"));
       BOOTSEAL_TRY(const std::string common_name, reader.string("commonName"));
       BOOTSEAL_TRY_STATUS(reader.no_other_fields());
       BOOTSEAL_TRY(const crypto::Certificate certificate,
                    vault.issue_client_certificate(caller, csr, common_name));
       return Response::json(200, {{"certificatePem", certificate.pem()}});
     });
}

}  // namespace

net::Router make_routes(Vault& vault, const Callers& callers) {
  net::Router router;
  const auto on = [&](std::string method, std::string path, unsigned roles, Action action) {
    router.on(std::move(method), std::move(path),
              [callers, roles, action = std::move(action)](const Request& request) {
                const auto answer = [&]() -> Result<Response> {
                  BOOTSEAL_TRY(const Caller caller, authorise(request, callers, roles));
                  return action(request, caller);
                }();
                return answer ? *answer : Response::from_error(answer.error());
              });
  };
  on("PUT", "/v1/placements/{vmId}", kControl,
     [&vault](const Request& request, const Caller& caller) -> Result<Response> {
       BOOTSEAL_TRY(const VmId vm, net::vm_parameter(request));
       BOOTSEAL_TRY(const Placement wanted, placement_body(request));
       BOOTSEAL_TRY(const Placement placement, vault.place(caller, vm, wanted));
       return Response::json(200, {{"hostId", placement.host_id}, {"epoch", placement.epoch.value}});
     });
  add_key_routes(on, vault);
  add_certificate_routes(on, vault);
  return router;
}

}  // namespace bootseal::vaultd

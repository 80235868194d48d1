#include "routes.h"

#include <fmt/format.h>

#include <functional>

namespace bootseal::attestd {
namespace {

using net::Request;
using net::Response;

enum Role : unsigned { kHost = 1, kControl = 2 };

using Action = std::function<Result<Response>(const Request&, const VmId&)>;

Status authorise(const Request& request, const Callers& callers, unsigned roles) {
  const net::Peer& peer = request.peer;
  if (peer.kind != net::Peer::Kind::unix_process) {
    return fail(ErrorCode::unauthenticated,
                "attestd answers processes of this machine on its Unix socket only");
  }
  const bool allowed = peer.uid == 0 || ((roles & kHost) != 0 && peer.uid == callers.hostd) ||
                       ((roles & kControl) != 0 && peer.uid == callers.controld);
  if (allowed) return {};
  return fail(ErrorCode::permission_denied,
              fmt::format("uid {} may not call {} {} of attestd", peer.uid, request.method, request.path));
}

Result<VmId> vm_of(const Request& request) {
  Result<VmId> vm = VmId::parse(request.parameter("vmId"));
  if (!vm)
    return fail(ErrorCode::invalid_argument,
                fmt::format("\"{}\" is no id of a VM", request.parameter("vmId")));
  return vm;
}

json::Value to_json(const attest::Challenge& challenge) {
  json::Array pcrs;
  for (unsigned pcr = 0; pcr < tpm::kPcrCount; ++pcr) {
    if ((attest::kWantedPcrs.mask >> pcr & 1U) != 0) pcrs.push_back(pcr);
  }
  return {{"challengeId", challenge.id},
          {"nonce", to_base64(challenge.nonce)},
          {"pcrs", std::move(pcrs)},
          {"bank", "sha256"},
          {"expiresTime", format_time(challenge.expires)}};
}

}  // namespace

net::Router make_routes(Attestor& attestor, const Callers& callers) {
  net::Router router;
  const auto on = [&](std::string method, std::string path, unsigned roles, Action action) {
    router.on(std::move(method), std::move(path),
              [callers, roles, action = std::move(action)](const Request& request) {
                const auto answer = [&]() -> Result<Response> {
                  BOOTSEAL_TRY_STATUS(authorise(request, callers, roles));
                  BOOTSEAL_TRY(const VmId vm, vm_of(request));
                  return action(request, vm);
                }();
                return answer ? *answer : Response::from_error(answer.error());
              });
  };
  on("PUT", "/v1/vms/{vmId}/expectation", kControl,
     [&attestor](const Request& request, const VmId& vm) -> Result<Response> {
       BOOTSEAL_TRY(const json::Value body, request.json_body());
       BOOTSEAL_TRY(const attest::Expectation expectation, attest::parse_expectation(body));
       BOOTSEAL_TRY_STATUS(attestor.expect(vm, expectation));
       return Response::json(200, attest::to_json(expectation));
     });
  on("DELETE", "/v1/vms/{vmId}", kControl, [&attestor](const Request&, const VmId& vm) -> Result<Response> {
    BOOTSEAL_TRY_STATUS(attestor.forget(vm));
    return Response::empty(204);
  });
  on("POST", "/v1/vms/{vmId}/challenges", kHost,
     [&attestor](const Request&, const VmId& vm) -> Result<Response> {
       BOOTSEAL_TRY(const attest::Challenge challenge, attestor.challenge(vm));
       return Response::json(200, to_json(challenge));
     });
  on("POST", "/v1/vms/{vmId}/evidence", kHost,
     [&attestor](const Request& request, const VmId& vm) -> Result<Response> {
       BOOTSEAL_TRY(const json::Value body, request.json_body());
       BOOTSEAL_TRY(json::Reader reader, json::Reader::object(body, "the request"));
       BOOTSEAL_TRY(const std::string challenge, reader.string("challengeId"));
       BOOTSEAL_TRY(const json::Value* evidence, reader.value("evidence"));
       BOOTSEAL_TRY(const attest::Verdict verdict, attestor.judge(vm, challenge, *evidence));
       return Response::json(200, attest::to_json(verdict));
     });
  on("GET", "/v1/vms/{vmId}/verdict", kHost | kControl,
     [&attestor](const Request&, const VmId& vm) -> Result<Response> {
       BOOTSEAL_TRY(const attest::Verdict verdict, attestor.verdict(vm));
       return Response::json(200, attest::to_json(verdict));
     });
  return router;
}

}  // namespace bootseal::attestd

#include "routes.h"

#include <functional>

#include "bootseal/net/daemon.h"

namespace bootseal::attestd {
namespace {

using net::Request;
using net::Response;

enum Role : unsigned { kHost = 1, kControl = 2 };

using Action = std::function<Result<Response>(const Request&, const VmId&)>;

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
                  const net::DaemonCaller known[] = {{"hostd", callers.hostd, kHost},
                                                     {"controld", callers.controld, kControl}};
                  BOOTSEAL_TRY_STATUS(net::authorise_process(request, known, roles, "attestd"));
                  BOOTSEAL_TRY(const VmId vm, net::vm_parameter(request));
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

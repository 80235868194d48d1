#include <fmt/format.h>

#include "bootseal/gallery/image.h"
#include "bootseal/log/log.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using net::Request;
using net::Response;

constexpr std::chrono::milliseconds kHostLimit{5000};

json::Object daemon_json(const std::string& name, const std::optional<std::string>& silence) {
  json::Object object;
  object["name"] = name;
  object["answers"] = !silence.has_value();
  if (silence) object["message"] = *silence;
  return object;
}

ArmResult<Response> site_status(Service& service, const Request& /*request*/) {
  json::Array daemons;
  daemons.emplace_back(daemon_json("controld", std::nullopt));
  for (const char* name : {"vaultd", "attestd"})
    daemons.emplace_back(daemon_json(name, service.peers.silence_of(name)));
  json::Array hosts;
  json::Array missing;
  const auto host = service.peers.host(kHostLimit);
  daemons.emplace_back(daemon_json("hostd", host ? std::nullopt : std::optional(host.error().describe())));
  if (host) {
    hosts.push_back(*host);
    if (const json::Object* object = host->if_object(); object != nullptr) {
      if (const json::Value* list = object->if_contains("missingProtections");
          list != nullptr && list->is_array())
        missing = list->get_array();
    }
  }
  BOOTSEAL_ARM_TRY(const auto vms, service.database.vms());
  const auto images = gallery::list_images(service.options.images);
  json::Object answer;
  answer["version"] = service.options.version;
  answer["tenant"] = service.site.tenant;
  answer["subscription"] = service.site.subscription;
  answer["daemons"] = std::move(daemons);
  answer["hosts"] = std::move(hosts);
  answer["missingProtections"] = std::move(missing);
  answer["virtualMachines"] = vms.size();
  answer["images"] = images ? images->size() : 0;
  if (service.options.server_certificate) answer["serverCertificate"] = service.options.server_certificate();
  return Response::json(200, answer);
}

ArmResult<Response> openapi(Service& /*service*/, const Request& /*request*/) {
  static const std::string text = json::serialize_pretty(model::openapi_document(model::endpoints()));
  Response response = Response::empty(200);
  response.headers.emplace_back("Content-Type", "application/json; charset=utf-8");
  response.body = text;
  return response;
}

ArmResult<Response> bootstrap(Service& service, const Request& request) {
  if (request.peer.kind != net::Peer::Kind::unix_process) {
    return model::refuse(404, "NotFound", "This is offered on the daemon's Unix socket only.");
  }
  BOOTSEAL_ARM_TRY(const json::Value body, request.json_body());
  BOOTSEAL_ARM_TRY(json::Reader reader, json::Reader::object(body, "the request"));
  BOOTSEAL_ARM_TRY(const std::string name, reader.string("name"));
  BOOTSEAL_ARM_TRY(const auto csr, reader.optional_string("csrPem"));
  BOOTSEAL_ARM_TRY_STATUS(reader.no_other_fields());
  BOOTSEAL_ARM_TRY_STATUS(check_name("administrator", name));
  BOOTSEAL_ARM_TRY(const std::string ca, service.peers.ca_certificate());
  json::Object answer;
  if (csr) {
    BOOTSEAL_ARM_TRY(const std::string certificate, service.peers.client_certificate(*csr, name));
    answer["clientCertificatePem"] = certificate;
  }
  const NewToken token = make_token();
  BOOTSEAL_ARM_TRY_STATUS(service.database.put_token(token.sha256_hex, name, service.now()));
  log::info("administrator.made",
            {{"name", name}, {"by", request.peer.address}, {"certificate", csr.has_value()}});
  answer["name"] = name;
  answer["token"] = token.text;
  answer["caPem"] = ca;
  answer["endpoint"] = service.options.endpoint ? service.options.endpoint() : std::string();
  answer["tenant"] = service.site.tenant;
  answer["subscription"] = service.site.subscription;
  return Response::json(200, answer);
}

}  // namespace

void add_site_handlers(HandlerTable& table) {
  table["Site_Status"] = site_status;
  table["Site_OpenApi"] = openapi;
  table["Site_Bootstrap"] = bootstrap;
}

}  // namespace bootseal::api

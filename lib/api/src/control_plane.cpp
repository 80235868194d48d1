#include "bootseal/api/control_plane.h"

#include <fmt/format.h>

#include <thread>

#include "bootseal/crypto/digest.h"
#include "bootseal/log/log.h"
#include "service.h"

namespace bootseal::api {
namespace {

constexpr std::size_t kLinkKeyBytes = 32;

HandlerTable all_handlers() {
  HandlerTable table;
  add_group_handlers(table);
  add_vm_handlers(table);
  add_action_handlers(table);
  add_catalogue_handlers(table);
  add_site_handlers(table);
  return table;
}

void add_identifying_headers(const net::Request& request, net::Response& response) {
  // x-ms-request-id is the transport's.
  response.headers.emplace_back(
      "x-ms-correlation-request-id",
      request.header("x-ms-correlation-request-id").value_or(Guid::random().to_string()));
  if (const auto client = request.header("x-ms-client-request-id"); client && client->size() <= 128) {
    response.headers.emplace_back("x-ms-client-request-id", *client);
  }
  response.headers.emplace_back("Cache-Control", "no-store");
}

class ControlPlaneImpl final : public ControlPlane {
 public:
  ControlPlaneImpl(ControlPlaneOptions options, std::unique_ptr<Peers> peers)
      : options_(std::move(options)),
        database_(*options_.store),
        peers_(std::move(peers)),
        steps_(database_, *peers_, board_, {options_.images, options_.operation_limit, options_.clock}),
        reconciler_(database_, *peers_, board_, steps_,
                    {options_.events_wait, options_.first_retry, options_.last_retry, options_.clock}) {}

  Status initialise() {
    BOOTSEAL_TRY(Site site, database_.site());
    service_.emplace(Service{database_, *peers_, board_, reconciler_, options_, std::move(site),
                             crypto::random_bytes(kLinkKeyBytes)});
    return {};
  }

  net::Router router() override {
    net::Router router;
    Service& service = *service_;
    router.before([&service](net::Request& request) -> std::optional<net::Response> {
      auto caller = authenticate(service, request);
      if (caller) return std::nullopt;
      net::Response refusal = std::move(caller).error();
      add_identifying_headers(request, refusal);
      return refusal;
    });
    HandlerTable handlers = all_handlers();
    for (const model::Endpoint& endpoint : model::endpoints()) {
      if (endpoint.websocket) {
        router.on_websocket(
            endpoint.path,
            [&service](const net::Request& request) { return may_open_console(service, request); },
            [&service](const net::Request& request, std::unique_ptr<net::WebSocket> socket) {
              relay_console(service, request, std::move(socket));
            });
        continue;
      }
      const auto handler = handlers.find(endpoint.operation_id);
      BOOTSEAL_CHECK(handler != handlers.end());
      router.on(endpoint.method, endpoint.path, wrap(service, endpoint, handler->second));
      handlers.erase(handler);
    }
    BOOTSEAL_CHECK(handlers.empty());
    return router;
  }

  void start() override { reconciler_.start(); }
  void stop() override { reconciler_.stop(); }

 private:
  static net::Handler wrap(Service& service, const model::Endpoint& endpoint, ApiHandler handler) {
    return [&service, versioned = endpoint.versioned, id = endpoint.operation_id,
            handler = std::move(handler)](const net::Request& request) {
      const auto run = [&]() -> model::ArmResult<net::Response> {
        if (versioned)
          BOOTSEAL_ARM_TRY_STATUS(model::check_api_version(request.query_value("api-version").value_or("")));
        return handler(service, request);
      };
      auto result = run();
      net::Response response = result ? *std::move(result) : arm_response(result.error());
      if (request.method != "GET" || response.status >= 400) {
        log::info("request", {{"operation", id},
                              {"status", response.status},
                              {"path", request.path},
                              {"peer", request.peer.address}});
      }
      add_identifying_headers(request, response);
      return response;
    };
  }

  static Status may_open_console(Service& service, const net::Request& request) {
    const auto record = find_vm(service, request);
    if (!record) return tl::unexpected(model::from_arm_error(record.error()));
    return {};
  }

  ControlPlaneOptions options_;
  Database database_;
  std::unique_ptr<Peers> peers_;
  StatusBoard board_;
  VmReconciler steps_;
  Reconciler reconciler_;
  std::optional<Service> service_;
};

}  // namespace

Result<std::unique_ptr<ControlPlane>> ControlPlane::create(ControlPlaneOptions options) {
  BOOTSEAL_CHECK(options.store != nullptr && options.clock != nullptr);
  BOOTSEAL_TRY(auto peers,
               Peers::create(options.hostd_socket, options.vaultd_socket, options.attestd_socket));
  auto plane = std::make_unique<ControlPlaneImpl>(std::move(options), std::move(peers));
  BOOTSEAL_TRY_STATUS(plane->initialise());
  return plane;
}

void relay_console(Service& service, const net::Request& request, std::unique_ptr<net::WebSocket> client) {
  const auto record = find_vm(service, request);
  if (!record) return;
  const auto host = service.peers.console(record->vm_id);
  if (!host) {
    const Status told = client->send(
        fmt::format("\r\n[bootseal] the console cannot be reached: {}\r\n", host.error().describe()));
    log::warning(
        "console.unreachable",
        {{"vm", record->vm_id.to_string()}, {"reason", host.error().describe()}, {"told", told.has_value()}});
    return;
  }
  log::info("console.opened", {{"vm", record->vm_id.to_string()}, {"peer", request.peer.address}});
  const auto pump = [](net::WebSocket& from, net::WebSocket& to) {
    while (true) {
      const auto message = from.receive(std::nullopt);
      if (!message || !to.send(*message)) break;
    }
    from.close();
    to.close();
  };
  std::jthread upstream([&] { pump(*client, **host); });
  pump(**host, *client);
}

}  // namespace bootseal::api

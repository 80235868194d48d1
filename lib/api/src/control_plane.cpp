#include "bootseal/api/control_plane.h"

#include <fmt/format.h>

#include <thread>

#include "bootseal/crypto/digest.h"
#include "bootseal/log/log.h"
#include "deployments.h"
#include "login.h"
#include "resource_changes.h"
#include "role_rules.h"
#include "service.h"
#include "vm_network.h"

namespace bootseal::api {
namespace {

constexpr std::size_t kLinkKeyBytes = 32;

HandlerTable all_handlers() {
  HandlerTable table;
  add_group_handlers(table);
  add_vm_handlers(table);
  add_action_handlers(table);
  add_catalogue_handlers(table);
  add_publisher_handlers(table);
  add_site_handlers(table);
  add_provider_handlers(table);
  add_inventory_handlers(table);
  add_tag_handlers(table);
  add_activity_handlers(table);
  add_deployment_handlers(table);
  add_resource_handlers(table);
  add_login_handlers(table);
  add_login_page_handlers(table);
  add_cloud_handlers(table);
  add_principal_handlers(table);
  add_role_handlers(table);
  return table;
}

ProviderTable all_providers() {
  ProviderTable table;
  add_network_providers(table);
  return table;
}

class ControlPlaneImpl final : public ControlPlane {
 public:
  ControlPlaneImpl(ControlPlaneOptions options, std::unique_ptr<Peers> peers)
      : options_(std::move(options)),
        database_(*options_.store),
        resources_(*options_.store),
        activity_(*options_.store, *options_.clock),
        identity_(*options_.store, *options_.clock),
        peers_(std::move(peers)),
        steps_(database_, *peers_, board_, {options_.images, options_.operation_limit, options_.clock}),
        reconciler_(database_, *peers_, board_, steps_,
                    {options_.events_wait, options_.first_retry, options_.last_retry, options_.clock}) {}

  Status initialise() {
    BOOTSEAL_TRY(Site site, database_.site());
    const auto pool = model::Ipv4Prefix::parse(options_.public_addresses);
    if (!pool) return tl::unexpected(pool.error().wrap("the pool of public addresses"));
    service_.emplace(Service{database_, *peers_, board_, reconciler_, resources_, activity_, identity_,
                             identity_, options_, std::move(site), crypto::random_bytes(kLinkKeyBytes), *pool,
                             all_providers()});
    gateway_.emplace(*service_, all_handlers());
    service_->gateway = &*gateway_;
    steps_.set_group_cleaner([this](const GroupRecord& group) { return remove_rest(group); });
    steps_.set_network_maker([this](const VmRecord& record) { return network_of(*service_, record); });
    reconciler_.set_clean_up([this] { return activity_.forget_old(); });
    deployments_.emplace(*service_);
    service_->deployments = &*deployments_;
    reconciler_.set_resource_steps(
        [this](const std::string& key, const std::string& reason, const std::stop_token& stop) {
          return step_resource(*service_, key, reason, stop);
        });
    return {};
  }

  // The gateway finds endpoints and callers itself; the transport's router keeps WebSockets, which begin as
  // an upgrade.
  net::Router router() override {
    net::Router router;
    Service& service = *service_;
    Gateway& gateway = *gateway_;
    router.before([&gateway](net::Request& request) -> std::optional<net::Response> {
      return gateway.is_websocket(request) ? gateway.refuse_websocket(request) : std::nullopt;
    });
    for (const char* method : {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"}) {
      router.on(method, "/{path...}",
                [&gateway](const net::Request& request) { return gateway.serve(request); });
    }
    for (const model::Endpoint& endpoint : model::endpoints()) {
      if (!endpoint.websocket) continue;
      router.on_websocket(
          endpoint.path,
          [&service](const net::Request& request) { return may_open_console(service, request); },
          [&service](const net::Request& request, std::unique_ptr<net::WebSocket> socket) {
            relay_console(service, request, std::move(socket));
          });
    }
    return router;
  }

  void start() override {
    reconciler_.start();
    deployments_->start();
  }
  void stop() override {
    deployments_->stop();
    reconciler_.stop();
  }

 private:
  // How much of the group is still there.
  model::ArmResult<std::size_t> remove_rest(const GroupRecord& group) {
    BOOTSEAL_ARM_TRY(
        const std::size_t deployments,
        deployments_->forget_scope(model::ResourceId::of_group(group.subscription, group.name).to_string()));
    BOOTSEAL_ARM_TRY(const std::size_t resources, remove_rest_of_group(*service_, group));
    return deployments + resources;
  }
  static Status may_open_console(Service& service, const net::Request& request) {
    const auto record = find_vm(service, request);
    if (!record) return tl::unexpected(model::from_arm_error(record.error()));
    return {};
  }

  ControlPlaneOptions options_;
  Database database_;
  ResourceStore resources_;
  ActivityLog activity_;
  Identity identity_;
  std::unique_ptr<Peers> peers_;
  StatusBoard board_;
  VmReconciler steps_;
  Reconciler reconciler_;
  std::optional<Service> service_;
  std::optional<Gateway> gateway_;
  std::optional<Deployments> deployments_;
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

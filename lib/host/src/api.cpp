#include "bootseal/host/api.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <thread>

namespace bootseal::host {
namespace {

constexpr std::chrono::seconds kWork{100};  // attest, reset
constexpr std::chrono::seconds kRemoval{60};
constexpr std::uint64_t kLongestWait = 60;  // seconds of one long poll
constexpr std::chrono::milliseconds kConsoleTurn{500};

net::Response answer(const Result<json::Value>& result, int status = 200) {
  return result ? net::Response::json(status, *result) : net::Response::from_error(result.error());
}

Result<VmId> vm_of(const net::Request& request) {
  return VmId::parse(request.parameter("vmId"));
}

Result<std::uint64_t> number(const net::Request& request, std::string_view name, std::uint64_t fallback) {
  const std::optional<std::string> text = request.query_value(name);
  if (!text) return fallback;
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (problem != std::errc() || end != text->data() + text->size())
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: '{}' is no whole number", name, text->substr(0, 40)));
  return value;
}

Result<json::Value> put_vm(HostService& service, const net::Request& request) {
  BOOTSEAL_TRY(const VmId id, vm_of(request));
  BOOTSEAL_TRY(const json::Value body, request.json_body());
  BOOTSEAL_TRY(const Assignment assignment, parse_assignment(body));
  if (assignment.vm != id)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the path names {}, the body {}", id.to_string(), assignment.vm.to_string()));
  return service.assign(assignment);
}

Result<json::Value> get_events(const HostService& service, const net::Request& request) {
  BOOTSEAL_TRY(const std::uint64_t since, number(request, "since", 0));
  BOOTSEAL_TRY(const std::uint64_t wait, number(request, "waitSeconds", 0));
  return service.events(since, std::chrono::seconds(std::min(wait, kLongestWait)));
}

Result<json::Value> post_reset(HostService& service, const net::Request& request) {
  BOOTSEAL_TRY(const VmId id, vm_of(request));
  BOOTSEAL_TRY(const json::Value body, request.json_body());
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(body, "the request"));
  BOOTSEAL_TRY(const std::string confirm, reader.string("confirm"));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return service.reset_guest_state(id, confirm, kWork);
}

// Copies the console to the client until one of them ends. The log's readers do not wait for each other.
void write_console(const HostService& service, const std::shared_ptr<Vm>& vm, net::WebSocket& socket,
                   const std::stop_token& stop) {
  std::uint64_t run = 0, position = 0, revision = 0;
  if (!vm->machine() && vm->record().power == PowerState::stopped) {
    // What its last run said; nothing more comes while the VM is off. (One that hostd is about to find again
    // is not off: its machine brings its log.)
    if (const std::string text = vm->console_text(); !text.empty() && !socket.send(text))
      return socket.close();
  }
  while (!stop.stop_requested()) {
    const std::shared_ptr<Machine> machine = vm->machine();
    if (!machine) {
      revision = service.wait_for_change(revision, kConsoleTurn);
      continue;
    }
    const ConsoleLog::Piece piece = machine->console().read(run, position, kConsoleTurn);
    run = piece.run;
    position = piece.next;
    if (!piece.text.empty() && !socket.send(piece.text)) break;
  }
  socket.close();
}

void serve_console(const HostService& service, const net::Request& request, net::WebSocket& socket) {
  const Result<VmId> id = vm_of(request);
  const Result<std::shared_ptr<Vm>> vm =
      id ? service.find(*id) : Result<std::shared_ptr<Vm>>(tl::unexpected(id.error()));
  if (!vm) return socket.close();
  std::jthread writer([&](const std::stop_token& stop) { write_console(service, *vm, socket, stop); });
  for (;;) {
    const Result<std::string> typed = socket.receive(std::nullopt);
    if (!typed) break;
    if (const std::shared_ptr<Machine> machine = (*vm)->machine()) machine->type_on_console(*typed);
  }
}

Result<json::Value> post_command(HostService& service, const net::Request& request) {
  BOOTSEAL_TRY(const VmId id, vm_of(request));
  BOOTSEAL_TRY(const json::Value body, request.json_body());
  BOOTSEAL_TRY(const RunCommand command, parse_run_command(body));
  return service.run_command(id, command);
}

Result<DiskId> disk_of(const net::Request& request) {
  return DiskId::parse(request.parameter("diskId"));
}

Result<json::Value> put_disk(DiskStore& store, const net::Request& request) {
  BOOTSEAL_TRY(const DiskId id, disk_of(request));
  BOOTSEAL_TRY(const json::Value body, request.json_body());
  BOOTSEAL_TRY(const DiskRequest wanted, parse_disk_request(body));
  return store.put(id, wanted);
}

Status put_content(DiskStore& store, const net::Request& request) {
  BOOTSEAL_TRY(const DiskId id, disk_of(request));
  BOOTSEAL_TRY(const std::uint64_t offset, number(request, "offset", 0));
  return store.write_content(id, offset, as_bytes(request.body));
}

Result<net::Response> get_content(DiskStore& store, const net::Request& request) {
  BOOTSEAL_TRY(const DiskId id, disk_of(request));
  BOOTSEAL_TRY(const std::uint64_t offset, number(request, "offset", 0));
  BOOTSEAL_TRY(const std::uint64_t length, number(request, "length", 0));
  BOOTSEAL_TRY(const Bytes content, store.read_content(id, offset, length));
  net::Response response;
  response.headers = {{"Content-Type", "application/octet-stream"}, {"X-Content-Type-Options", "nosniff"}};
  response.body = as_text(content);
  return response;
}

void add_disks(net::Router& router, DiskStore& store) {
  router.on("GET", "/v1/disks",
            [&store](const net::Request&) { return net::Response::json(200, store.list()); });
  router.on("PUT", "/v1/disks/{diskId}",
            [&store](const net::Request& request) { return answer(put_disk(store, request)); });
  router.on("GET", "/v1/disks/{diskId}", [&store](const net::Request& request) {
    const Result<DiskId> id = disk_of(request);
    return id ? answer(store.status(*id)) : net::Response::from_error(id.error());
  });
  router.on("DELETE", "/v1/disks/{diskId}", [&store](const net::Request& request) {
    const Result<DiskId> id = disk_of(request);
    const Status removed = id ? store.remove(*id) : Status(tl::unexpected(id.error()));
    return removed ? net::Response::empty(204) : net::Response::from_error(removed.error());
  });
  router.on("PUT", "/v1/disks/{diskId}/content", [&store](const net::Request& request) {
    const Status written = put_content(store, request);
    return written ? net::Response::empty(204) : net::Response::from_error(written.error());
  });
  router.on("GET", "/v1/disks/{diskId}/content", [&store](const net::Request& request) {
    Result<net::Response> content = get_content(store, request);
    return content ? *std::move(content) : net::Response::from_error(content.error());
  });
  router.on("POST", "/v1/disks/{diskId}/finish-upload", [&store](const net::Request& request) {
    const Result<DiskId> id = disk_of(request);
    return id ? answer(store.finish_upload(*id)) : net::Response::from_error(id.error());
  });
}

}  // namespace

net::Router make_router(HostService& service, std::vector<uid_t> allowed) {
  net::Router router;
  router.before([allowed = std::move(allowed)](net::Request& request) -> std::optional<net::Response> {
    const net::Peer& peer = request.peer;
    const bool known =
        peer.kind == net::Peer::Kind::unix_process &&
        (peer.uid == 0 || peer.uid == ::geteuid() || std::ranges::find(allowed, peer.uid) != allowed.end());
    if (known) return std::nullopt;
    return net::Response::from_error(
        Error{ErrorCode::permission_denied, fmt::format("{} may not call hostd", peer.address), nullptr});
  });
  router.on("GET", "/v1/host",
            [&service](const net::Request&) { return net::Response::json(200, service.host()); });
  router.on("GET", "/v1/vms",
            [&service](const net::Request&) { return net::Response::json(200, service.list()); });
  router.on("GET", "/v1/events",
            [&service](const net::Request& request) { return answer(get_events(service, request)); });
  router.on("PUT", "/v1/vms/{vmId}",
            [&service](const net::Request& request) { return answer(put_vm(service, request)); });
  router.on("GET", "/v1/vms/{vmId}", [&service](const net::Request& request) {
    const Result<VmId> id = vm_of(request);
    return id ? answer(service.status(*id)) : net::Response::from_error(id.error());
  });
  router.on("DELETE", "/v1/vms/{vmId}", [&service](const net::Request& request) {
    const Result<VmId> id = vm_of(request);
    const Status removed = id ? service.remove(*id, kRemoval) : Status(tl::unexpected(id.error()));
    return removed ? net::Response::empty(204) : net::Response::from_error(removed.error());
  });
  router.on("POST", "/v1/vms/{vmId}/attest", [&service](const net::Request& request) {
    const Result<VmId> id = vm_of(request);
    return id ? answer(service.attest(*id, kWork)) : net::Response::from_error(id.error());
  });
  router.on("POST", "/v1/vms/{vmId}/reset-guest-state",
            [&service](const net::Request& request) { return answer(post_reset(service, request)); });
  router.on("GET", "/v1/vms/{vmId}/console/log", [&service](const net::Request& request) {
    const Result<VmId> id = vm_of(request);
    const Result<std::shared_ptr<Vm>> vm =
        id ? service.find(*id) : Result<std::shared_ptr<Vm>>(tl::unexpected(id.error()));
    if (!vm) return net::Response::from_error(vm.error());
    net::Response response;
    // The guest's bytes as they are; nothing may take them for anything but text.
    response.headers = {{"Content-Type", "text/plain; charset=utf-8"}, {"X-Content-Type-Options", "nosniff"}};
    response.body = (*vm)->console_text();
    return response;
  });
  router.on("POST", "/v1/vms/{vmId}/run-command",
            [&service](const net::Request& request) { return answer(post_command(service, request)); });
  add_disks(router, service.disk_store());
  router.on_websocket(
      "/v1/vms/{vmId}/console",
      [&service](const net::Request& request) -> Status {
        BOOTSEAL_TRY(const VmId id, vm_of(request));
        BOOTSEAL_TRY_STATUS(service.find(id));
        return {};
      },
      [&service](const net::Request& request, std::unique_ptr<net::WebSocket> socket) {
        serve_console(service, request, *socket);
      });
  return router;
}

}  // namespace bootseal::host

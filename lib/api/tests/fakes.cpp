#include "fakes.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bootseal/base/fds.h"
#include "bootseal/gallery/image.h"

namespace bootseal::api::testing {
namespace {

using net::Request;
using net::Response;

constexpr std::chrono::milliseconds kPatience{20000};

Response refuse(ErrorCode code, std::string message) {
  return Response::from_error({code, std::move(message), nullptr});
}

json::Object body_of(const Request& request) {
  const auto body = request.json_body();
  EXPECT_TRUE(body) << request.path;
  return body ? body->get_object() : json::Object();
}

json::Value problem(const std::optional<std::pair<std::string, std::string>>& failure) {
  if (!failure) return nullptr;
  return json::Object{{"code", failure->first}, {"message", failure->second}};
}

std::string text(const json::Object& object, std::string_view name) {
  return std::string(object.at(name).get_string());
}

}  // namespace

void FakeDaemon::start() {
  auto listener = listen_unix(socket_);
  ASSERT_TRUE(listener) << listener.error().message;
  net::ServerOptions options;
  options.unix_listener = *std::move(listener);
  auto server = net::Server::start(std::move(options), router());
  ASSERT_TRUE(server) << server.error().message;
  server_ = *std::move(server);
}

void FakeDaemon::stop() {
  if (server_ == nullptr) return;
  server_->stop(std::chrono::milliseconds(50));
  changed_.notify_all();
  server_.reset();
  std::error_code ignored;
  std::filesystem::remove(socket_, ignored);
}

// -- FakeHost --

void FakeHost::fail_creation(std::string code, std::string message) {
  const std::lock_guard lock(mutex_);
  creation_failure_ = {std::move(code), std::move(message)};
}

void FakeHost::fail_power(std::string code, std::string message) {
  const std::lock_guard lock(mutex_);
  power_failure_ = {std::move(code), std::move(message)};
}

void FakeHost::behave() {
  const std::lock_guard lock(mutex_);
  creation_failure_.reset();
  power_failure_.reset();
}

void FakeHost::hold(bool held) {
  const std::lock_guard lock(mutex_);
  held_ = held;
  if (held) return;
  for (auto& [id, vm] : vms_) carry_out(vm);
}

void FakeHost::hold_evidence(bool held) {
  const std::lock_guard lock(mutex_);
  evidence_held_ = held;
  changed_.notify_all();
}

void FakeHost::set_boot(const std::string& vm_id, const std::string& outcome, const std::string& message) {
  const std::lock_guard lock(mutex_);
  Vm& vm = vms_.at(vm_id);
  vm.boot = outcome;
  vm.boot_message = message;
  touch(vm);
}

void FakeHost::power_off_by_guest(const std::string& vm_id) {
  const std::lock_guard lock(mutex_);
  Vm& vm = vms_.at(vm_id);
  vm.power = "Stopped";
  touch(vm);
}

void FakeHost::lose(const std::string& vm_id) {
  const std::lock_guard lock(mutex_);
  vms_.erase(vm_id);
  gone_.emplace_back(++revision_, vm_id);
  changed_.notify_all();
}

void FakeHost::judge(const std::string& vm_id, const std::string& status, const std::string& evidence_time) {
  const std::lock_guard lock(mutex_);
  Vm& vm = vms_.at(vm_id);
  vm.attestation =
      json::Object{{"status", status}, {"reasons", json::Array()}, {"evidenceTime", evidence_time}};
  touch(vm);
}

std::optional<json::Object> FakeHost::assignment(const std::string& vm_id) const {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(vm_id);
  return found == vms_.end() ? std::nullopt : std::optional(found->second.assignment);
}

std::vector<std::string> FakeHost::vms() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& [id, vm] : vms_) ids.push_back(id);
  return ids;
}

std::size_t FakeHost::assignments() const {
  const std::lock_guard lock(mutex_);
  return assignments_;
}

std::vector<std::string> FakeHost::carried_out(const std::string& vm_id) const {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(vm_id);
  return found == vms_.end() ? std::vector<std::string>() : found->second.carried_out;
}

std::size_t FakeHost::evidence_requests() const {
  const std::lock_guard lock(mutex_);
  return evidence_requests_;
}

bool FakeHost::wait_for_assignments(std::size_t count) const {
  std::unique_lock lock(mutex_);
  return const_cast<std::condition_variable&>(changed_).wait_for(lock, kPatience,
                                                                 [&] { return assignments_ >= count; });
}

void FakeHost::touch(Vm& vm) {
  vm.revision = ++revision_;
  changed_.notify_all();
}

void FakeHost::carry_out(Vm& vm) {
  if (vm.provisioning == "Creating") {
    vm.provisioning_error = problem(creation_failure_);
    vm.provisioning = creation_failure_ ? "Failed" : "Succeeded";
  }
  if (vm.provisioning == "Succeeded" && vm.request_state == "Running") {
    const std::string action = text(vm.assignment.at("power").get_object(), "action");
    vm.request_error = problem(power_failure_);
    vm.request_state = power_failure_ ? "Failed" : "Succeeded";
    if (!power_failure_) {
      vm.carried_out.push_back(action);
      vm.power = action == "start" || action == "restart" ? "Running" : "Stopped";
      vm.boot = vm.power == "Running" ? "Booting" : "";
    }
  }
  touch(vm);
}

json::Object FakeHost::status(const std::string& id, const Vm& vm) const {
  json::Object provisioning{{"state", vm.provisioning}};
  if (!vm.provisioning_error.is_null()) provisioning["error"] = vm.provisioning_error;
  json::Object status{{"vmId", id},
                      {"name", vm.assignment.at("name")},
                      {"epoch", vm.assignment.at("epoch")},
                      {"provisioning", std::move(provisioning)},
                      {"power", vm.power}};
  if (!vm.request_id.empty()) {
    json::Object request{{"requestId", vm.request_id}, {"state", vm.request_state}};
    if (!vm.request_error.is_null()) request["error"] = vm.request_error;
    status["powerRequest"] = std::move(request);
  }
  status["boot"] = json::Object{{"outcome", vm.boot},
                                {"component", ""},
                                {"file", ""},
                                {"message", vm.boot_message},
                                {"time", "2026-11-21T20:44:45Z"}};
  status["guestState"] = json::Object{{"sealed", true},
                                      {"algorithm", "AES-256-GCM"},
                                      {"keyName", id},
                                      {"generation", 7},
                                      {"sizeBytes", 4194304}};
  if (!vm.attestation.is_null()) status["attestation"] = vm.attestation;
  status["processes"] = json::Object{{"qemu", 1}, {"guestd", 2}};
  status["revision"] = vm.revision;
  return status;
}

Response FakeHost::put(const Request& request) {
  const std::lock_guard lock(mutex_);
  const std::string id = request.parameter("vmId");
  const json::Object assignment = body_of(request);
  ++assignments_;
  changed_.notify_all();
  Vm& vm = vms_[id];
  vm.assignment = assignment;
  if (vm.provisioning == "Failed") {
    vm.provisioning = "Creating";
    vm.provisioning_error = nullptr;
  }
  const json::Object& power = assignment.at("power").get_object();
  if (text(power, "action") != "none" && text(power, "requestId") != vm.request_id) {
    vm.request_id = text(power, "requestId");
    vm.request_state = "Running";
    vm.request_error = nullptr;
  }
  touch(vm);
  const json::Object taken_up = status(id, vm);
  if (!held_) carry_out(vm);
  return Response::json(200, taken_up);  // as the real one: the work comes after the answer
}

Response FakeHost::events(const Request& request) {
  const std::uint64_t since = std::stoull(request.query_value("since").value());
  const auto wait = std::chrono::seconds(std::stoll(request.query_value("waitSeconds").value()));
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait, [&] { return revision_ > since || request.stop.stop_requested(); });
  json::Array changed, gone;
  for (const auto& [id, vm] : vms_) {
    if (vm.revision > since) changed.emplace_back(status(id, vm));
  }
  for (const auto& [revision, id] : gone_) {
    if (revision > since) gone.emplace_back(id);
  }
  return Response::json(
      200, json::Object{{"revision", revision_}, {"vms", std::move(changed)}, {"gone", std::move(gone)}});
}

net::Router FakeHost::router() {
  net::Router router;
  router.on("GET", "/v1/host", [](const Request&) {
    return Response::json(200, json::Object{{"hostId", "host-1"},
                                            {"accelerator", {{"kind", "tcg"}, {"reason", "a fake"}}},
                                            {"missingProtections", {"none really"}}});
  });
  router.on("PUT", "/v1/vms/{vmId}", [this](const Request& request) { return put(request); });
  router.on("GET", "/v1/vms/{vmId}", [this](const Request& request) {
    const std::lock_guard lock(mutex_);
    const auto found = vms_.find(request.parameter("vmId"));
    return found == vms_.end() ? refuse(ErrorCode::not_found, "no such VM")
                               : Response::json(200, status(found->first, found->second));
  });
  router.on("DELETE", "/v1/vms/{vmId}", [this](const Request& request) {
    const std::lock_guard lock(mutex_);
    if (vms_.erase(request.parameter("vmId")) > 0) gone_.emplace_back(++revision_, request.parameter("vmId"));
    changed_.notify_all();
    return Response::empty(204);
  });
  router.on("POST", "/v1/vms/{vmId}/attest", [this](const Request& request) {
    std::unique_lock lock(mutex_);
    ++evidence_requests_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !evidence_held_ || request.stop.stop_requested(); });
    if (!vms_.contains(request.parameter("vmId"))) return refuse(ErrorCode::not_found, "no such VM");
    return Response::json(200, json::Object{{"status", "Healthy"},
                                            {"reasons", json::Array()},
                                            {"evidenceTime", "2026-11-21T20:44:45Z"}});
  });
  router.on("POST", "/v1/vms/{vmId}/reset-guest-state", [](const Request& request) {
    EXPECT_EQ(text(body_of(request), "confirm"), request.parameter("vmId"));
    return Response::json(200, json::Object());
  });
  router.on("GET", "/v1/vms/{vmId}/console/log", [](const Request&) {
    Response response = Response::empty(200);
    response.body = "login: ";
    return response;
  });
  router.on("GET", "/v1/events", [this](const Request& request) { return events(request); });
  router.on_websocket("/v1/vms/{vmId}/console", nullptr,
                      [](const Request&, std::unique_ptr<net::WebSocket> socket) {
                        if (!socket->send("login: ")) return;
                        while (const auto message = socket->receive(std::nullopt)) {
                          if (!socket->send("echo " + *message)) return;
                        }
                      });
  return router;
}

// -- FakeVault and FakeAttest --

void FakeVault::refuse(bool refuse) {
  const std::lock_guard lock(mutex_);
  refuse_ = refuse;
}

std::map<std::string, json::Object> FakeVault::placements() const {
  const std::lock_guard lock(mutex_);
  return placements_;
}

std::set<std::string> FakeVault::deleted_keys() const {
  const std::lock_guard lock(mutex_);
  return deleted_;
}

net::Router FakeVault::router() {
  net::Router router;
  router.on("GET", "/v1/ca", [](const Request&) {
    return Response::json(200, json::Object{{"certificatePem", "CA"}});
  });
  router.on("PUT", "/v1/placements/{vmId}", [this](const Request& request) {
    const std::lock_guard lock(mutex_);
    if (refuse_) return testing::refuse(ErrorCode::permission_denied, "the vault is sealed by its operator");
    placements_[request.parameter("vmId")] = body_of(request);
    return Response::json(200, placements_[request.parameter("vmId")]);
  });
  router.on("DELETE", "/v1/keys/{vmId}", [this](const Request& request) {
    const std::lock_guard lock(mutex_);
    const auto known = placements_.find(request.parameter("vmId"));
    if (known != placements_.end() && known->second != body_of(request))
      return testing::refuse(ErrorCode::permission_denied, "another host or epoch");
    if (known != placements_.end()) placements_.erase(known);
    deleted_.insert(request.parameter("vmId"));
    return Response::empty(204);
  });
  router.on("POST", "/v1/certificates/client", [](const Request& request) {
    EXPECT_EQ(text(body_of(request), "commonName"), "admin");
    return Response::json(200, json::Object{{"certificatePem", "CLIENT"}});
  });
  return router;
}

std::map<std::string, json::Object> FakeAttest::expectations() const {
  const std::lock_guard lock(mutex_);
  return expectations_;
}

void FakeAttest::silence(bool silent) {
  const std::lock_guard lock(mutex_);
  silent_ = silent;
  changed_.notify_all();
}

std::size_t FakeAttest::unanswered() const {
  const std::lock_guard lock(mutex_);
  return unanswered_;
}

net::Router FakeAttest::router() {
  net::Router router;
  router.on("PUT", "/v1/vms/{vmId}/expectation", [this](const Request& request) {
    std::unique_lock lock(mutex_);
    if (silent_) ++unanswered_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !silent_ || request.stop.stop_requested(); });
    expectations_[request.parameter("vmId")] = body_of(request);
    return Response::empty(204);
  });
  router.on("DELETE", "/v1/vms/{vmId}", [this](const Request& request) {
    const std::lock_guard lock(mutex_);
    expectations_.erase(request.parameter("vmId"));
    return Response::empty(204);
  });
  return router;
}

void make_image(const std::filesystem::path& images, const std::string& name,
                const std::string& security_type, std::uint64_t minimum_memory_mib) {
  const std::filesystem::path folder = images / name / "1.0.0";
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(replace_file(folder / "disk.qcow2", as_bytes("QFI\xfb"), 0644));
  gallery::ImageManifest manifest;
  manifest.name = name;
  manifest.version = "1.0.0";
  manifest.os_name = "Debian GNU/Linux 12";
  manifest.security_type = security_type;
  manifest.disk_virtual_size_bytes = std::uint64_t{64} << 20;
  manifest.created_time = *parse_time("2026-11-21T20:44:45Z");
  manifest.minimum_memory_mib = minimum_memory_mib;
  manifest.agent = true;
  manifest.boot_chain = {{"shim", "/EFI/BOOT/BOOTX64.EFI", {}, {"Microsoft"}, "15.8", "shim,4"}};
  manifest.measured_boot = gallery::MeasuredBoot{
      true, {{"initrd", "/initrd.gz", {}}}, {"linux /vmlinuz ro", "boot"}, "/vmlinuz ro"};
  ASSERT_TRUE(replace_file(folder / "manifest.json", as_bytes(gallery::serialize_manifest(manifest)), 0644));
}

}  // namespace bootseal::api::testing

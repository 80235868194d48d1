#include "agent.h"

#include <fmt/format.h>

#include "bootseal/tpm/device.h"
#include "evidence.h"

namespace bootseal::agent {
namespace {

constexpr std::size_t kMaximumDepth = 8;

json::Value error_answer(const json::Value& id, const Error& error) {
  return json::Object{
      {"id", id},
      {"error", json::Object{{"code", error_info(error.code).name}, {"message", error.describe()}}}};
}

Result<json::Value> attest(const Settings& settings, json::Reader& request) {
  BOOTSEAL_TRY(json::Reader params, request.object("params"));
  BOOTSEAL_TRY(const Challenge challenge, read_challenge(params));
  BOOTSEAL_TRY(tpm::Device device, tpm::Device::open(settings.tpm));
  return collect_evidence(device, challenge, settings.event_log, Machine::describe(), settings.version);
}

}  // namespace

std::string Agent::hello() const {
  const Machine machine = Machine::describe();
  return json::serialize(json::Object{{"event", "hello"},
                                      {"agentVersion", settings_.version},
                                      {"kernelRelease", machine.kernel_release},
                                      {"osName", machine.os_name},
                                      {"bootId", machine.boot_id}});
}

Status Agent::start_script(json::Reader& request, std::uint64_t id) {
  if (!scripts_are_allowed(settings_.configuration)) {
    return fail(
        ErrorCode::permission_denied,
        fmt::format("the guest's owner allows no scripts: {} says run_command = false, or cannot be read",
                    settings_.configuration.native()));
  }
  if (script_) return fail(ErrorCode::conflict, "another script runs; wait until it has ended");
  BOOTSEAL_TRY(json::Reader parameters, request.object("params"));
  BOOTSEAL_TRY(Script script, Script::start(parameters));
  script_.emplace(std::move(script));
  script_id_ = id;
  return {};
}

std::optional<std::string> Agent::script_answer() {
  if (!script_ || !script_->look()) return std::nullopt;
  const Result<json::Value> result = script_->result();
  script_.reset();
  return json::serialize(result ? json::Value(json::Object{{"id", script_id_}, {"result", *result}})
                                : error_answer(script_id_, result.error()));
}

std::string Agent::answer(const LineBuffer::Line& line) {
  json::Value id = nullptr;
  const auto answered = [&]() -> Result<std::string> {
    if (line.too_long) {
      return fail(ErrorCode::exhausted, fmt::format("a request has at most {} bytes", kMaximumRequest));
    }
    BOOTSEAL_TRY(const json::Value document,
                 json::parse(line.text, {.bytes = kMaximumRequest, .depth = kMaximumDepth}));
    BOOTSEAL_TRY(json::Reader request, json::Reader::object(document, "the request"));
    BOOTSEAL_TRY(const std::uint64_t number, request.unsigned_integer("id"));
    id = number;
    BOOTSEAL_TRY(const std::string method, request.string("method"));
    if (method == "hello") return hello();
    if (method == "attest") {
      BOOTSEAL_TRY(json::Value evidence, attest(settings_, request));
      return json::serialize(json::Object{{"id", id}, {"result", std::move(evidence)}});
    }
    if (method == "runCommand") {
      BOOTSEAL_TRY_STATUS(start_script(request, number));
      return std::string();
    }
    return fail(ErrorCode::unsupported,
                fmt::format("this agent ({}) has no method '{}'", settings_.version, method));
  }();
  return answered ? *answered : json::serialize(error_answer(id, answered.error()));
}

}  // namespace bootseal::agent

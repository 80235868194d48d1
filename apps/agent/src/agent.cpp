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

std::string Agent::answer(const LineBuffer::Line& line) const {
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
    return fail(ErrorCode::unsupported,
                fmt::format("this agent ({}) has no method '{}'", settings_.version, method));
  }();
  return answered ? *answered : json::serialize(error_answer(id, answered.error()));
}

}  // namespace bootseal::agent

#include "bootseal/model/vm_status.h"

#include <fmt/format.h>

#include "bootseal/model/resource_id.h"

namespace bootseal::model {
namespace {

Result<VmStatus::Progress> parse_progress(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  if (text == "Creating" || text == "Running") return VmStatus::Progress::running;
  if (text == "Succeeded") return VmStatus::Progress::succeeded;
  if (text == "Failed") return VmStatus::Progress::failed;
  return reader.problem(field, fmt::format("'{}' is not known here", text.substr(0, 64)));
}

Result<Problem> parse_problem(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(auto error, reader.optional_object(field));
  if (!error) return Problem{"Internal", "the host gave no reason"};
  Problem problem;
  BOOTSEAL_TRY(problem.code, error->string("code"));
  BOOTSEAL_TRY(problem.message, error->string("message"));
  return problem;
}

json::Object status_entry(std::string_view code, std::string_view level, std::string_view display,
                          const std::string& message, TimePoint time) {
  json::Object entry;
  entry["code"] = code;
  entry["level"] = level;
  entry["displayStatus"] = display;
  if (!message.empty()) entry["message"] = message;
  entry["time"] = format_time(time);
  return entry;
}

json::Object provisioning_entry(const VmStatus* status, const InstanceFacts& facts) {
  const bool failed = facts.provisioning_state == "Failed";
  std::string display = "Provisioning " + to_lower(facts.provisioning_state);
  if (facts.provisioning_state == "Creating" || facts.provisioning_state == "Updating" ||
      facts.provisioning_state == "Deleting") {
    display = facts.provisioning_state;
  }
  const std::string message =
      failed && status != nullptr ? status->provisioning_error.message : std::string();
  return status_entry("ProvisioningState/" + to_lower(facts.provisioning_state), failed ? "Error" : "Info",
                      display, message, facts.now);
}

// How long a verdict holds (docs/attestation.md).
constexpr std::chrono::hours kVerdictLifetime{24};

std::string member_text(const json::Object& object, std::string_view name) {
  const json::Value* member = object.if_contains(name);
  return member != nullptr && member->is_string() ? std::string(member->get_string()) : std::string();
}

json::Object outdated(json::Object verdict, std::string_view status, std::string_view code,
                      std::string message) {
  verdict["status"] = status;
  verdict["reasons"] =
      json::Array{json::Object{{"code", code}, {"severity", "warning"}, {"message", std::move(message)}}};
  return verdict;
}

// The host's last verdict as far as it holds now.
json::Value shown_verdict(const json::Value& last, const InstanceFacts& facts) {
  const json::Object* verdict = last.if_object();
  if (verdict == nullptr) return last;
  const std::string status = member_text(*verdict, "status");
  const std::string time = member_text(*verdict, "evidenceTime");
  const auto taken = parse_time(time);
  if (!facts.host_answers) {
    const std::string since =
        facts.host_silent_since ? " since " + format_time(*facts.host_silent_since) : std::string();
    return outdated(*verdict, "Unknown", "HostSilent",
                    fmt::format("the host has not answered{}; the last verdict was {}{}{}; see `bootseal "
                                "status`",
                                since, status, time.empty() ? "" : " at ", time));
  }
  // Both times are in whole seconds, and no VM starts and is judged within one.
  const bool older = facts.expectation_changed && taken && *taken <= *facts.expectation_changed;
  if (facts.expectation_due || (older && status != "Pending")) {
    return outdated(
        *verdict, "Pending", "ExpectationChanged",
        fmt::format("what the VM should be has changed since the last verdict, which was {}", status));
  }
  if (status == "Healthy" && (!taken || facts.now - *taken > kVerdictLifetime)) {
    return outdated(
        *verdict, "Unknown", "EvidenceStale",
        "the last evidence is older than 24 hours: the VM was healthy then, and nothing was heard "
        "since; look whether its agent runs");
  }
  return last;
}

json::Object power_entry(const VmStatus& status, const InstanceFacts& facts) {
  if (!facts.host_answers) {
    return status_entry("PowerState/unknown", "Warning", "VM state unknown",
                        facts.host_silent_since
                            ? fmt::format("the host of this VM has not answered since {}; the VM was {} then",
                                          format_time(*facts.host_silent_since), to_lower(status.power))
                            : std::string("the host of this VM does not answer"),
                        facts.now);
  }
  std::string state = to_lower(status.power);
  if (facts.deallocated && state == "stopped") state = "deallocated";
  if (facts.deallocated && state == "stopping") state = "deallocating";
  return status_entry("PowerState/" + state, "Info", "VM " + state, {}, facts.now);
}

// What the guest's agent says of its system; "" before it spoke.
std::string guest_claim(const VmStatus& status, std::string_view field) {
  const json::Value* guest = status.raw.if_contains("guest");
  const json::Object* claims = guest != nullptr ? guest->if_object() : nullptr;
  const json::Value* claim = claims != nullptr ? claims->if_contains(field) : nullptr;
  return claim != nullptr && claim->is_string() ? std::string(claim->get_string()) : std::string();
}

json::Object agent_entry(const VmStatus& status, TimePoint now) {
  const bool ready = status.boot_outcome == "Booted" && status.power == "Running";
  const std::string version = guest_claim(status, "agentVersion");
  json::Object agent;
  agent["vmAgentVersion"] = ready && !version.empty() ? version : "Unknown";
  agent["statuses"] = json::Array{status_entry(
      ready ? "ProvisioningState/succeeded" : "ProvisioningState/Unavailable", ready ? "Info" : "Warning",
      ready ? "Ready" : "Not Ready",
      ready ? "The guest's agent answers." : "The guest's agent has not said anything yet.", now)};
  agent["extensionHandlers"] = json::Array();
  return agent;
}

}  // namespace

Result<VmStatus> VmStatus::parse(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the VM's status"));
  VmStatus status;
  BOOTSEAL_TRY(const std::string id, reader.string("vmId"));
  BOOTSEAL_TRY(status.vm_id, VmId::parse(id));
  BOOTSEAL_TRY(status.epoch.value, reader.unsigned_integer("epoch"));
  BOOTSEAL_TRY(json::Reader provisioning, reader.object("provisioning"));
  BOOTSEAL_TRY(status.provisioning, parse_progress(provisioning, "state"));
  if (status.provisioning == Progress::failed) {
    BOOTSEAL_TRY(status.provisioning_error, parse_problem(provisioning, "error"));
  }
  BOOTSEAL_TRY(status.power, reader.string("power"));
  if (status.power != "Running" && status.power != "Stopped" && status.power != "Starting" &&
      status.power != "Stopping") {
    return reader.problem("power", fmt::format("'{}' is not known here", status.power.substr(0, 64)));
  }
  BOOTSEAL_TRY(auto request, reader.optional_object("powerRequest"));
  if (request) {
    PowerRequest power;
    BOOTSEAL_TRY(power.request_id, request->string_or("requestId", ""));
    if (!power.request_id.empty()) {
      BOOTSEAL_TRY(power.state, parse_progress(*request, "state"));
      if (power.state == Progress::failed) {
        BOOTSEAL_TRY(power.error, parse_problem(*request, "error"));
      }
      status.power_request = std::move(power);
    }
  }
  BOOTSEAL_TRY(auto boot, reader.optional_object("boot"));
  if (boot) {
    BOOTSEAL_TRY(status.boot_outcome, boot->string_or("outcome", ""));
  }
  status.raw = value.get_object();
  return status;
}

json::Object instance_view(const VmStatus* status, const InstanceFacts& facts) {
  json::Object view;
  view["computerName"] = facts.computer_name;
  // What the guest itself says goes before what its image is called.
  const std::string running_system = status != nullptr ? guest_claim(*status, "osName") : std::string();
  if (const std::string& name = running_system.empty() ? facts.os_name : running_system; !name.empty())
    view["osName"] = name;
  view["hyperVGeneration"] = "V2";
  json::Array statuses;
  statuses.emplace_back(provisioning_entry(status, facts));
  if (status != nullptr) {
    statuses.emplace_back(power_entry(*status, facts));
    view["vmAgent"] = agent_entry(*status, facts.now);
    for (const char* shown : {"attestation", "guestState", "vtpm", "boot", "stopReason", "accelerator",
                              "startedTime", "timings", "processes", "powerRequest"}) {
      if (const json::Value* value = status->raw.if_contains(shown); value != nullptr && !value->is_null())
        view[shown] = shown == std::string_view("attestation") ? shown_verdict(*value, facts) : *value;
    }
  }
  view["statuses"] = std::move(statuses);
  view["disks"] = json::Array();
  view["bootDiagnostics"] = json::Object();
  return view;
}

}  // namespace bootseal::model

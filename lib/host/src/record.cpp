#include "bootseal/host/record.h"

#include <fmt/format.h>

#include <array>

#include "bootseal/base/fds.h"

namespace bootseal::host {
namespace {

json::Value process_json(const std::optional<ProcessIdentity>& process) {
  if (!process) return nullptr;
  return json::Object{{"pid", process->pid}, {"startTimeTicks", process->start_time_ticks}};
}

Result<std::optional<ProcessIdentity>> read_process(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(std::optional<json::Reader> object, reader.optional_object(field));
  if (!object) return std::optional<ProcessIdentity>();
  BOOTSEAL_TRY(const std::uint64_t pid, object->unsigned_integer("pid"));
  BOOTSEAL_TRY(const std::uint64_t ticks, object->unsigned_integer("startTimeTicks"));
  if (pid == 0 || pid > 0x7fffffff) return object->problem("pid", "no process id");
  return std::optional(ProcessIdentity{static_cast<pid_t>(pid), ticks});
}

json::Value optional_error_json(const std::optional<Error>& error) {
  return error ? error_json(*error) : json::Value(nullptr);
}

Result<std::optional<Error>> read_error(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(std::optional<json::Reader> object, reader.optional_object(field));
  if (!object) return std::optional<Error>();
  BOOTSEAL_TRY(Error error, error_from_json(*object));
  return std::optional(std::move(error));
}

Result<TimePoint> read_time(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  const Result<TimePoint> time = parse_time(text);
  if (!time) return reader.problem(field, time.error().message);
  return *time;
}

template <typename Enum, typename NameOf>
Result<Enum> read_enum(json::Reader& reader, std::string_view field, int count, NameOf name_of) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  for (int i = 0; i < count; ++i) {
    if (name_of(static_cast<Enum>(i)) == text) return static_cast<Enum>(i);
  }
  return reader.problem(field, fmt::format("'{}' is not known", text));
}

json::Value boot_json(const BootStatus& boot) {
  json::Object object{{"outcome", boot.outcome},
                      {"component", boot.component},
                      {"file", boot.file},
                      {"message", boot.message}};
  if (!boot.outcome.empty()) object["time"] = format_time(boot.time);
  return object;
}

json::Value request_json(const PowerRequest& request) {
  json::Object object{{"requestId", request.id}, {"state", request_state_name(request.state)}};
  if (request.error) object["error"] = error_json(*request.error);
  return object;
}

// As it lies on disk: with the action, by its number.
json::Value request_record(const PowerRequest& request) {
  json::Object object = request_json(request).get_object();
  object["action"] = static_cast<std::uint64_t>(request.action);
  return object;
}

json::Value notice_json(const Notice& notice) {
  return json::Object{{"code", notice.code}, {"message", notice.message}, {"time", format_time(notice.time)}};
}

json::Value tpm_json(const TpmIdentity& tpm) {
  return json::Object{{"ekCertificateIssuer", tpm.ek_issuer},
                      {"ekCertificateSubject", tpm.ek_subject},
                      {"ekPublicSha256", tpm.ek_public_sha256},
                      {"akPublicSha256", tpm.ak_public_sha256}};
}

json::Value guest_json(const GuestSystem& guest) {
  return json::Object{{"agentVersion", guest.agent_version},
                      {"kernelRelease", guest.kernel_release},
                      {"osName", guest.os_name}};
}

json::Value timings_json(const Timings& timings) {
  json::Object object;
  if (timings.create_to_running_ms) object["createToRunningMs"] = *timings.create_to_running_ms;
  if (timings.start_to_verdict_ms) object["startToVerdictMs"] = *timings.start_to_verdict_ms;
  return object;
}

json::Value network_json(const std::vector<InterfaceStatus>& interfaces) {
  json::Array array;
  for (const InterfaceStatus& interface : interfaces) {
    json::Array forwards, problems;
    for (const Forward& forward : interface.forwards)
      forwards.push_back(json::Object{{"protocol", netd::protocol_name(forward.protocol)},
                                      {"address", forward.address.to_string()},
                                      {"port", forward.port},
                                      {"guestPort", forward.guest_port}});
    for (const std::string& problem : interface.problems) problems.emplace_back(problem);
    array.push_back(json::Object{{"nicId", interface.nic_id},
                                 {"mode", interface.mode},
                                 {"forwards", std::move(forwards)},
                                 {"problems", std::move(problems)}});
  }
  return array;
}

json::Value disks_json(const std::vector<AttachedDisk>& disks) {
  json::Array array;
  for (const AttachedDisk& disk : disks) {
    json::Object object{{"diskId", disk.disk.to_string()}, {"lun", disk.lun}, {"attached", disk.attached}};
    if (!disk.problem.empty()) object["problem"] = disk.problem;
    array.push_back(std::move(object));
  }
  return array;
}

Status read_interfaces(json::Reader& reader, Record& record) {
  if (!reader.has("interfaces")) return {};
  BOOTSEAL_TRY(std::vector<json::Reader> elements, reader.objects("interfaces"));
  for (json::Reader& element : elements) {
    BOOTSEAL_TRY(netd::Interface interface, netd::parse_interface(element));
    record.interfaces.push_back(std::move(interface));
  }
  return {};
}

Status read_boot(json::Reader& reader, Record& record) {
  BOOTSEAL_TRY(json::Reader boot, reader.object("boot"));
  BOOTSEAL_TRY(record.boot.outcome, boot.string("outcome"));
  BOOTSEAL_TRY(record.boot.component, boot.string("component"));
  BOOTSEAL_TRY(record.boot.file, boot.string("file"));
  BOOTSEAL_TRY(record.boot.message, boot.string("message"));
  if (boot.has("time")) {
    BOOTSEAL_TRY(record.boot.time, read_time(boot, "time"));
  }
  return {};
}

Result<PowerRequest> read_request(json::Reader& request) {
  PowerRequest power;
  BOOTSEAL_TRY(power.id, request.string("requestId"));
  BOOTSEAL_TRY(const std::uint64_t action, request.unsigned_integer("action"));
  if (action > static_cast<std::uint64_t>(PowerAction::restart))
    return request.problem("action", "no power action");
  power.action = static_cast<PowerAction>(action);
  BOOTSEAL_TRY(power.state, read_enum<RequestState>(request, "state", 3, request_state_name));
  BOOTSEAL_TRY(power.error, read_error(request, "error"));
  return power;
}

Status read_requests(json::Reader& reader, Record& record) {
  BOOTSEAL_TRY(std::optional<json::Reader> newest, reader.optional_object("powerRequest"));
  if (newest) {
    BOOTSEAL_TRY(record.request, read_request(*newest));
  }
  if (!reader.has("earlierRequests")) return {};
  BOOTSEAL_TRY(std::vector<json::Reader> earlier, reader.objects("earlierRequests"));
  for (json::Reader& request : earlier) {
    BOOTSEAL_TRY(PowerRequest power, read_request(request));
    record.earlier_requests.push_back(std::move(power));
  }
  return {};
}

Status read_guest(json::Reader& reader, Record& record) {
  BOOTSEAL_TRY(std::optional<json::Reader> guest, reader.optional_object("guest"));
  if (!guest) return {};
  GuestSystem system;
  BOOTSEAL_TRY(system.agent_version, guest->string("agentVersion"));
  BOOTSEAL_TRY(system.kernel_release, guest->string("kernelRelease"));
  BOOTSEAL_TRY(system.os_name, guest->string("osName"));
  record.guest = std::move(system);
  return {};
}

Status read_details(json::Reader& reader, Record& record) {
  BOOTSEAL_TRY(std::optional<json::Reader> stop, reader.optional_object("stopReason"));
  if (stop) {
    Notice notice;
    BOOTSEAL_TRY(notice.code, stop->string("code"));
    BOOTSEAL_TRY(notice.message, stop->string("message"));
    BOOTSEAL_TRY(notice.time, read_time(*stop, "time"));
    record.stop_reason = std::move(notice);
  }
  BOOTSEAL_TRY(std::optional<json::Reader> tpm, reader.optional_object("vtpm"));
  if (tpm) {
    TpmIdentity identity;
    BOOTSEAL_TRY(identity.ek_issuer, tpm->string("ekCertificateIssuer"));
    BOOTSEAL_TRY(identity.ek_subject, tpm->string("ekCertificateSubject"));
    BOOTSEAL_TRY(identity.ek_public_sha256, tpm->string("ekPublicSha256"));
    BOOTSEAL_TRY(identity.ak_public_sha256, tpm->string("akPublicSha256"));
    record.tpm = std::move(identity);
  }
  BOOTSEAL_TRY(json::Reader timings, reader.object("timings"));
  if (timings.has("createToRunningMs")) {
    BOOTSEAL_TRY(record.timings.create_to_running_ms, timings.integer("createToRunningMs"));
  }
  if (timings.has("startToVerdictMs")) {
    BOOTSEAL_TRY(record.timings.start_to_verdict_ms, timings.integer("startToVerdictMs"));
  }
  if (reader.has("started")) {
    BOOTSEAL_TRY(record.started, read_time(reader, "started"));
  }
  if (reader.has("attestation")) {
    BOOTSEAL_TRY(const json::Value* verdict, reader.value("attestation"));
    record.attestation = *verdict;
  }
  return {};
}

Result<Record> read_record(json::Reader& reader) {
  Record record;
  BOOTSEAL_TRY(const json::Value* assignment, reader.value("assignment"));
  BOOTSEAL_TRY(record.assignment, parse_assignment(*assignment));
  BOOTSEAL_TRY(const std::uint64_t slot, reader.unsigned_integer("slot"));
  record.slot = static_cast<unsigned>(slot);
  BOOTSEAL_TRY(record.machine_type, reader.string("machineType"));
  BOOTSEAL_TRY(record.deleting, reader.boolean("deleting"));
  BOOTSEAL_TRY(record.created, read_time(reader, "created"));
  BOOTSEAL_TRY(record.boot_id, reader.string("bootId"));
  BOOTSEAL_TRY(record.provisioning,
               read_enum<ProvisioningState>(reader, "provisioning", 3, provisioning_state_name));
  BOOTSEAL_TRY(record.provisioning_error, read_error(reader, "provisioningError"));
  BOOTSEAL_TRY(record.power, read_enum<PowerState>(reader, "power", 4, power_state_name));
  BOOTSEAL_TRY(const std::uint64_t generation, reader.unsigned_integer("generation"));
  record.generation = Generation{generation};
  BOOTSEAL_TRY(record.guest_state_bytes, reader.unsigned_integer("guestStateBytes"));
  if (reader.has("sealedSecureBoot")) {
    BOOTSEAL_TRY(record.sealed_secure_boot, reader.boolean("sealedSecureBoot"));
  } else if (record.generation.value != 0) {
    // Written before it could change.
    record.sealed_secure_boot = record.assignment.secure_boot;
  }
  BOOTSEAL_TRY(record.accelerator, reader.string("accelerator"));
  BOOTSEAL_TRY(record.firmware, reader.string_or("firmware", ""));
  BOOTSEAL_TRY_STATUS(read_guest(reader, record));
  BOOTSEAL_TRY(record.qemu, read_process(reader, "qemu"));
  BOOTSEAL_TRY(record.guestd, read_process(reader, "guestd"));
  BOOTSEAL_TRY(record.netd, read_process(reader, "netd"));
  BOOTSEAL_TRY_STATUS(read_interfaces(reader, record));
  BOOTSEAL_TRY_STATUS(read_boot(reader, record));
  BOOTSEAL_TRY_STATUS(read_requests(reader, record));
  BOOTSEAL_TRY_STATUS(read_details(reader, record));
  return record;
}

}  // namespace

json::Value to_json(const Record& record) {
  json::Object object{
      {"formatVersion", 1},
      {"assignment", to_json(record.assignment)},
      {"slot", record.slot},
      {"machineType", record.machine_type},
      {"deleting", record.deleting},
      {"created", format_time(record.created)},
      {"bootId", record.boot_id},
      {"provisioning", provisioning_state_name(record.provisioning)},
      {"provisioningError", optional_error_json(record.provisioning_error)},
      {"power", power_state_name(record.power)},
      {"generation", record.generation.value},
      {"guestStateBytes", record.guest_state_bytes},
      {"accelerator", record.accelerator},
      {"firmware", record.firmware},
      {"qemu", process_json(record.qemu)},
      {"guestd", process_json(record.guestd)},
      {"netd", process_json(record.netd)},
      {"boot", boot_json(record.boot)},
      {"timings", timings_json(record.timings)},
      {"attestation", record.attestation},
  };
  json::Array interfaces;
  for (const netd::Interface& interface : record.interfaces) interfaces.push_back(netd::to_json(interface));
  object["interfaces"] = std::move(interfaces);
  if (record.request) object["powerRequest"] = request_record(*record.request);
  json::Array earlier;
  for (const PowerRequest& request : record.earlier_requests) earlier.push_back(request_record(request));
  object["earlierRequests"] = std::move(earlier);
  if (record.sealed_secure_boot) object["sealedSecureBoot"] = *record.sealed_secure_boot;
  if (record.guest) object["guest"] = guest_json(*record.guest);
  if (record.stop_reason) object["stopReason"] = notice_json(*record.stop_reason);
  if (record.tpm) object["vtpm"] = tpm_json(*record.tpm);
  if (record.started) object["started"] = format_time(*record.started);
  return object;
}

Result<Record> parse_record(std::string_view text) {
  Result<Record> record = [&]() -> Result<Record> {
    BOOTSEAL_TRY(const json::Value value, json::parse(text));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the record"));
    BOOTSEAL_TRY(const std::uint64_t version, reader.unsigned_integer("formatVersion"));
    if (version != 1)
      return reader.problem("formatVersion", fmt::format("version {} is not known to this hostd", version));
    return read_record(reader);
  }();
  if (!record)
    return fail(ErrorCode::corrupt,
                fmt::format("the record of a virtual machine is damaged: {}", record.error().describe()));
  return record;
}

json::Value status_json(const Record& record, std::uint64_t revision) {
  json::Object provisioning{{"state", provisioning_state_name(record.provisioning)}};
  if (record.provisioning_error) provisioning["error"] = error_json(*record.provisioning_error);
  json::Object processes;
  if (record.qemu) processes["qemu"] = record.qemu->pid;
  if (record.guestd) processes["guestd"] = record.guestd->pid;
  if (record.netd) processes["netd"] = record.netd->pid;
  json::Object status{
      {"vmId", record.assignment.vm.to_string()}, {"name", record.assignment.name},
      {"epoch", record.assignment.epoch.value},   {"provisioning", std::move(provisioning)},
      {"power", power_state_name(record.power)},  {"boot", boot_json(record.boot)},
      {"accelerator", record.accelerator},        {"timings", timings_json(record.timings)},
      {"processes", std::move(processes)},        {"network", network_json(record.network)},
      {"disks", disks_json(record.disks)},        {"revision", revision},
  };
  if (record.request) status["powerRequest"] = request_json(*record.request);
  if (!record.earlier_requests.empty()) {
    json::Array earlier;
    for (const PowerRequest& request : record.earlier_requests) earlier.push_back(request_json(request));
    status["earlierRequests"] = std::move(earlier);
  }
  if (record.stop_reason) status["stopReason"] = notice_json(*record.stop_reason);
  if (record.generation.value != 0) {
    status["guestState"] = json::Object{{"sealed", true},
                                        {"algorithm", "AES-256-GCM"},
                                        {"keyName", record.assignment.vm.to_string()},
                                        {"generation", record.generation.value},
                                        {"sizeBytes", record.guest_state_bytes}};
  }
  if (record.tpm && record.assignment.vtpm) status["vtpm"] = tpm_json(*record.tpm);
  if (record.guest) status["guest"] = guest_json(*record.guest);
  if (!record.firmware.empty()) status["firmware"] = record.firmware;
  if (!record.attestation.is_null()) status["attestation"] = record.attestation;
  if (record.started) status["startedTime"] = format_time(*record.started);
  return status;
}

VmPaths vm_paths(const std::filesystem::path& home, const std::filesystem::path& run, const VmId& vm) {
  const std::string id = vm.to_string();
  return VmPaths{home / "hostd" / "vms" / id, home / "vms" / id, run / "vms" / id};
}

}  // namespace bootseal::host

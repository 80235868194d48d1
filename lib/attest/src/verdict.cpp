#include "bootseal/attest/verdict.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace bootseal::attest {
namespace {

constexpr std::array<std::string_view, 4> kStatusNames = {"Healthy", "Unhealthy", "Pending", "Unknown"};
constexpr std::array<std::string_view, 3> kSeverityNames = {"info", "warning", "failure"};
constexpr std::array<std::string_view, 3> kSecureBootNames = {"Unknown", "Enabled", "Disabled"};

template <typename T, std::size_t Count>
Result<T> parse_name(json::Reader& reader, std::string_view field,
                     const std::array<std::string_view, Count>& names) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  for (std::size_t i = 0; i < Count; ++i) {
    if (names[i] == text) return static_cast<T>(i);
  }
  return reader.problem(field, fmt::format("\"{}\" is not known", text));
}

json::Value to_json(const Reason& reason) {
  json::Object object = {
      {"code", reason.code}, {"severity", severity_name(reason.severity)}, {"message", reason.message}};
  if (!reason.component.empty()) object["component"] = reason.component;
  return object;
}

Result<Reason> parse_reason(json::Reader& reader) {
  Reason reason;
  BOOTSEAL_TRY(reason.code, reader.string("code"));
  BOOTSEAL_TRY(reason.severity, parse_name<Severity>(reader, "severity", kSeverityNames));
  BOOTSEAL_TRY(reason.message, reader.string("message"));
  BOOTSEAL_TRY(reason.component, reader.string_or("component", ""));
  return reason;
}

json::Value to_json(const BootStage& stage) {
  return {{"role", stage.role},     {"file", stage.file},       {"sha256", stage.sha256},
          {"signer", stage.signer}, {"version", stage.version}, {"inBaseline", stage.in_baseline}};
}

Result<BootStage> parse_stage(json::Reader& reader) {
  BootStage stage;
  BOOTSEAL_TRY(stage.role, reader.string("role"));
  BOOTSEAL_TRY(stage.file, reader.string("file"));
  BOOTSEAL_TRY(stage.sha256, reader.string("sha256"));
  BOOTSEAL_TRY(stage.signer, reader.string("signer"));
  BOOTSEAL_TRY(stage.version, reader.string("version"));
  BOOTSEAL_TRY(stage.in_baseline, reader.boolean("inBaseline"));
  return stage;
}

Status parse_pcrs(json::Reader& reader, Verdict& verdict) {
  BOOTSEAL_TRY(json::Reader pcrs, reader.object("pcrs"));
  for (const auto& member : pcrs.raw().as_object()) {
    const std::string_view key = member.key();
    unsigned index = 0;
    const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (problem != std::errc{} || end != key.data() + key.size())
      return pcrs.problem(key, "is no index of a PCR");
    BOOTSEAL_TRY(verdict.pcrs[index], pcrs.string(key));
  }
  return {};
}

}  // namespace

std::string_view status_name(VerdictStatus status) {
  return kStatusNames[static_cast<std::size_t>(status)];
}
std::string_view severity_name(Severity severity) {
  return kSeverityNames[static_cast<std::size_t>(severity)];
}
std::string_view secure_boot_name(SecureBootState state) {
  return kSecureBootNames[static_cast<std::size_t>(state)];
}

json::Value to_json(const Verdict& verdict) {
  json::Array reasons, chain;
  for (const Reason& reason : verdict.reasons) reasons.push_back(to_json(reason));
  for (const BootStage& stage : verdict.boot_chain) chain.push_back(to_json(stage));
  json::Object pcrs;
  for (const auto& [index, value] : verdict.pcrs) pcrs[std::to_string(index)] = value;
  return {
      {"status", status_name(verdict.status)},
      {"reasons", std::move(reasons)},
      {"evidenceTime",
       verdict.evidence_time ? json::Value(format_time(*verdict.evidence_time)) : json::Value()},
      {"secureBoot", secure_boot_name(verdict.secure_boot)},
      {"vtpm", {{"present", verdict.vtpm_present}, {"akCertificateIssuer", verdict.ak_certificate_issuer}}},
      {"bootChain", std::move(chain)},
      {"kernelCommandLine", verdict.kernel_command_line},
      {"firmwareVersion", verdict.firmware_version},
      {"pcrs", std::move(pcrs)},
      {"bank", verdict.bank}};
}

Result<Verdict> parse_verdict(const json::Value& document) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "verdict"));
  Verdict verdict;
  BOOTSEAL_TRY(verdict.status, parse_name<VerdictStatus>(reader, "status", kStatusNames));
  BOOTSEAL_TRY(std::vector<json::Reader> reasons, reader.objects("reasons"));
  for (json::Reader& next : reasons) {
    BOOTSEAL_TRY(Reason reason, parse_reason(next));
    verdict.reasons.push_back(std::move(reason));
  }
  BOOTSEAL_TRY(const std::optional<std::string> time, reader.optional_string("evidenceTime"));
  if (time) {
    BOOTSEAL_TRY(verdict.evidence_time, parse_time(*time));
  }
  BOOTSEAL_TRY(verdict.secure_boot, parse_name<SecureBootState>(reader, "secureBoot", kSecureBootNames));
  BOOTSEAL_TRY(json::Reader vtpm, reader.object("vtpm"));
  BOOTSEAL_TRY(verdict.vtpm_present, vtpm.boolean("present"));
  BOOTSEAL_TRY(verdict.ak_certificate_issuer, vtpm.string("akCertificateIssuer"));
  BOOTSEAL_TRY(std::vector<json::Reader> chain, reader.objects("bootChain"));
  for (json::Reader& next : chain) {
    BOOTSEAL_TRY(BootStage stage, parse_stage(next));
    verdict.boot_chain.push_back(std::move(stage));
  }
  BOOTSEAL_TRY(verdict.kernel_command_line, reader.string("kernelCommandLine"));
  BOOTSEAL_TRY(verdict.firmware_version, reader.string("firmwareVersion"));
  BOOTSEAL_TRY_STATUS(parse_pcrs(reader, verdict));
  BOOTSEAL_TRY(verdict.bank, reader.string("bank"));
  return verdict;
}

Verdict pending_verdict() {
  Verdict verdict;
  verdict.status = VerdictStatus::pending;
  verdict.reasons = {{"NoEvidence", Severity::info, "the VM has not sent evidence yet", ""}};
  return verdict;
}

Verdict unknown_verdict(std::string code, std::string message) {
  Verdict verdict;
  verdict.reasons = {{std::move(code), Severity::failure, std::move(message), ""}};
  return verdict;
}

}  // namespace bootseal::attest

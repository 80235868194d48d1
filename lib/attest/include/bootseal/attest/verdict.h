// What is said about a VM, with the reasons in plain words.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/clock.h"
#include "bootseal/json/json.h"

namespace bootseal::attest {

// Healthy: fresh evidence passed every check. Unhealthy: a check failed. Unknown: what was there does not
// suffice to say. Pending: no evidence yet.
enum class VerdictStatus : std::uint8_t { healthy, unhealthy, pending, unknown };
std::string_view status_name(VerdictStatus status);  // "Healthy"

enum class Severity : std::uint8_t { info, warning, failure };
std::string_view severity_name(Severity severity);

struct Reason {
  std::string code;  // "SecureBootDisabled"; lib/attest/src/reasons.h lists all
  Severity severity = Severity::info;
  std::string message;
  std::string component;  // "shim", "/vmlinuz"; empty when none is meant
  bool operator==(const Reason&) const = default;
};

enum class SecureBootState : std::uint8_t { unknown, enabled, disabled };
std::string_view secure_boot_name(SecureBootState state);  // "Enabled"

struct BootStage {
  std::string role;
  std::string file;
  std::string sha256;  // Authenticode hash, hex
  std::string signer;
  std::string version;
  bool in_baseline = false;
  bool operator==(const BootStage&) const = default;
};

struct Verdict {
  VerdictStatus status = VerdictStatus::unknown;
  std::vector<Reason> reasons;
  std::optional<TimePoint> evidence_time;
  SecureBootState secure_boot = SecureBootState::unknown;
  bool vtpm_present = false;
  std::string ak_certificate_issuer;
  std::vector<BootStage> boot_chain;
  std::string kernel_command_line;
  std::string firmware_version;
  std::map<unsigned, std::string> pcrs;  // hex, as quoted; only when the quote proved them
  std::string bank;
};

// docs/architecture.md, "Verdict".
json::Value to_json(const Verdict& verdict);
// The inverse; invalid_argument for anything else.
Result<Verdict> parse_verdict(const json::Value& document);

// For a VM of which nothing has been heard.
Verdict pending_verdict();
// One that could not be reached for the reason given: Unknown.
Verdict unknown_verdict(std::string code, std::string message);

}  // namespace bootseal::attest

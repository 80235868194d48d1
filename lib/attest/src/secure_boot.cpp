#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "bootseal/crypto/x509.h"
#include "bootseal/tpm/event_content.h"
#include "measurements.h"

namespace bootseal::attest {
namespace {

using tpm::DigestCover;
using tpm::Event;
using tpm::EventType;

constexpr unsigned kSecureBootPcr = 7;
constexpr unsigned kShimPcr = 14;
constexpr std::size_t kGuidSize = 16;

// UEFI 2.10: 3.3 and 32.3; shim's lib/guid.c.
constexpr std::string_view kGlobalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
constexpr std::string_view kImageSecurityDatabase = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
constexpr std::string_view kShimLock = "605dab50-e046-4300-abb6-3dd810dd8b23";

struct VariableRule {
  std::string_view name;
  std::string_view vendor;
};

// Measured by the firmware in this order, each once (PC Client Platform Firmware Profile 1.05, 3.3.4.8); the
// last two may be absent.
constexpr std::array<VariableRule, 7> kConfiguration = {{{"SecureBoot", kGlobalVariable},
                                                         {"PK", kGlobalVariable},
                                                         {"KEK", kGlobalVariable},
                                                         {"db", kImageSecurityDatabase},
                                                         {"dbx", kImageSecurityDatabase},
                                                         {"dbt", kImageSecurityDatabase},
                                                         {"dbr", kImageSecurityDatabase}}};
constexpr std::size_t kRequiredConfiguration = 5;

// Why a program may run: db by the firmware, the others by shim (they name where the certificate was found).
constexpr std::array<VariableRule, 8> kAuthorities = {{{"db", kImageSecurityDatabase},
                                                       {"SbatLevel", kShimLock},
                                                       {"Shim", kShimLock},
                                                       {"vendor_db", kShimLock},
                                                       {"MokList", kShimLock},
                                                       {"MokListRT", kShimLock},
                                                       {"MokListTrusted", kShimLock},
                                                       {"MokListTrustedRT", kShimLock}}};

std::string where(const Event& event) {
  return fmt::format("the event at offset {} of the log ({})", event.offset, event_type_name(event.type));
}

std::optional<tpm::VariableContent> variable_of(const Event& event) {
  const auto content = tpm::read_content(event);
  if (!content) return std::nullopt;
  const auto* variable = std::get_if<tpm::VariableContent>(&*content);
  return variable == nullptr ? std::nullopt : std::optional(*variable);
}

// EFI_SIGNATURE_DATA {owner, certificate}, or the certificate alone.
std::string certificate_name(ByteSpan data) {
  if (data.size() > kGuidSize) {
    if (const auto certificate = crypto::Certificate::from_der(data.subspan(kGuidSize)))
      return certificate->subject_common_name();
  }
  const auto certificate = crypto::Certificate::from_der(data);
  return certificate ? certificate->subject_common_name() : "";
}

class SecureBootJudge {
 public:
  SecureBootJudge(const Measurements& measurements, Findings& findings)
      : measurements_(measurements), findings_(findings) {}

  // Each event goes to the one place where its type is allowed; there is no place for the rest.
  void take(const Event& event) {
    if (!event.extends()) return;
    const DigestCover cover = tpm::check_digest(event, measurements_.bank);
    switch (event.type) {
      case EventType::efi_variable_driver_config:
        return take_configuration(event, cover);
      case EventType::separator:
        separated_ = true;  // how many and of what kind: judge_separators()
        if (!tpm::covers_data(cover)) reject(event, "its digest is not the one of a separator");
        return;
      case EventType::efi_variable_authority:
        return take_authority(event, cover);
      default:
        reject(event, "events of this type do not belong into PCR 7");
    }
  }

  Authorities finish(Verdict& verdict) {
    if (next_ < kRequiredConfiguration) {
      findings_.fail(reason::kSecureBootEventInvalid,
                     fmt::format("PCR 7 does not tell the variable {}", kConfiguration[next_].name));
    }
    if (rejected_ || !enabled_) return {};
    verdict.secure_boot = *enabled_ ? SecureBootState::enabled : SecureBootState::disabled;
    if (*enabled_) check_enabled();
    if (!*enabled_ && measurements_.expectation.secure_boot) {
      findings_.fail(reason::kSecureBootDisabled,
                     "Secure Boot is off in this VM, and it was asked for; turn it on in the VM's security "
                     "profile and restart the VM");
    }
    return authorities_;
  }

 private:
  void reject(const Event& event, std::string_view why) {
    rejected_ = true;
    findings_.fail(reason::kSecureBootEventInvalid,
                   fmt::format("{} in PCR 7 is not acceptable: {}", where(event), why));
  }

  void take_configuration(const Event& event, DigestCover cover) {
    // Over VariableData alone, the name would not be authenticated.
    if (cover != DigestCover::data) return reject(event, "its digest is not over its data");
    const auto variable = variable_of(event);
    if (!variable) return reject(event, "it holds no variable");
    if (separated_)
      return reject(event, fmt::format("the variable {} comes after the separator", variable->name));
    if (next_ == kConfiguration.size())
      return reject(event, fmt::format("the variable {} comes too late", variable->name));
    std::size_t place = next_;
    while (place < kConfiguration.size() && kConfiguration[place].name != variable->name) ++place;
    const bool skips_required = place != next_ && next_ < kRequiredConfiguration;
    if (place == kConfiguration.size() || skips_required ||
        variable->vendor.to_string() != kConfiguration[place].vendor) {
      return reject(event,
                    fmt::format("the variable {} is unknown, repeated or out of its order", variable->name));
    }
    next_ = place + 1;
    findings_.pass();
    if (variable->name == "SecureBoot") {
      if (variable->data.size() > 1) return reject(event, "the variable SecureBoot has more than one byte");
      enabled_ = variable->data.size() == 1 && variable->data[0] == std::byte{1};
    }
    if (variable->data.empty()) empty_.insert(variable->name);
  }

  void take_authority(const Event& event, DigestCover cover) {
    if (!tpm::covers_data(cover)) return reject(event, "its digest is not over its data");
    const auto variable = variable_of(event);
    if (!variable) return reject(event, "it holds no variable");
    const auto* rule = std::ranges::find_if(kAuthorities, [&](const VariableRule& known) {
      return known.name == variable->name && known.vendor == variable->vendor.to_string();
    });
    if (rule == kAuthorities.end())
      return reject(event, fmt::format("the authority {} is not known", variable->name));
    // Before the separator the firmware verifies drivers of devices, and shim does not run yet.
    if (!separated_ && rule->vendor != kImageSecurityDatabase) {
      return reject(event, fmt::format("the authority {} comes before the separator", variable->name));
    }
    findings_.pass();
    if (!separated_ || variable->name == "SbatLevel") return;
    const bool by_firmware = rule->vendor == kImageSecurityDatabase;
    if (by_firmware) verified_ = true;
    std::string& name = by_firmware ? authorities_.firmware : authorities_.shim;
    if (name.empty()) name = certificate_name(variable->data);
  }

  void check_enabled() {
    for (const std::string_view name : {"PK", "KEK", "db"}) {
      if (empty_.contains(name)) {
        findings_.fail(reason::kSecureBootKeysMissing,
                       fmt::format("Secure Boot says it is on, and the variable {} is empty", name));
      }
    }
    if (empty_.contains("dbx"))
      findings_.warn(reason::kSecureBootKeysMissing, "the list of revoked programs (dbx) is empty");
    if (verified_) {
      findings_.pass();
    } else {
      findings_.fail(reason::kAuthorityMissing,
                     "no certificate of db verified a boot program, although Secure Boot is on");
    }
  }

  const Measurements& measurements_;
  Findings& findings_;
  std::size_t next_ = 0;  // the place in kConfiguration that comes next
  std::set<std::string, std::less<>> empty_;
  std::optional<bool> enabled_;
  Authorities authorities_;
  bool separated_ = false;
  bool verified_ = false;
  bool rejected_ = false;
};

}  // namespace

Authorities judge_secure_boot(const Measurements& measurements, Findings& findings, Verdict& verdict) {
  SecureBootJudge judge(measurements, findings);
  for (const Event& event : measurements.log.events()) {
    if (event.pcr == kSecureBootPcr) judge.take(event);
  }
  return judge.finish(verdict);
}

// shim measures what it mirrors for the system. Names are not authenticated, so a variable that turns its
// checks off could be told under the name of another one: hence each of the three once at most and nothing
// else. What ran is judged by PCR 4.
void judge_shim_state(const Measurements& measurements, Findings& findings) {
  constexpr std::array<std::string_view, 3> kNames = {"MokList", "MokListX", "MokListTrusted"};
  std::size_t next = 0;
  for (const Event& event : measurements.log.events()) {
    if (event.pcr != kShimPcr || !event.extends()) continue;
    const auto content = tpm::read_content(event);
    const auto* ipl =
        content && event.type == EventType::ipl ? std::get_if<tpm::IplContent>(&*content) : nullptr;
    const std::string name = ipl == nullptr ? "" : ipl->text;
    const auto* place = std::find(kNames.begin() + static_cast<std::ptrdiff_t>(next), kNames.end(), name);
    if (ipl == nullptr || place == kNames.end()) {
      findings.fail(reason::kShimStateInvalid,
                    fmt::format("{} tells that shim took over \"{}\" (PCR 14); only MokList, MokListX and "
                                "MokListTrusted are expected, each once",
                                where(event), name),
                    "shim");
      return;
    }
    next = static_cast<std::size_t>(place - kNames.begin()) + 1;
    findings.pass();
  }
}

}  // namespace bootseal::attest

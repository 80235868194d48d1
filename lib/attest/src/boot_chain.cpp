#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "bootseal/tpm/event_content.h"
#include "measurements.h"

namespace bootseal::attest {
namespace {

using tpm::DigestCover;
using tpm::Event;
using tpm::EventType;

constexpr unsigned kBootPcr = 4;
constexpr unsigned kHandOverPcr = 5;
constexpr std::string_view kHandOver = "Exit Boot Services Returned with Success";
constexpr unsigned kCommandLinePcr = 8;
constexpr unsigned kFirmwareSeparators = 8;  // PCR 0 to 7
constexpr std::array<Role, 3> kOrder = {Role::shim, Role::grub, Role::kernel};
constexpr std::array<std::string_view, 2> kActions = {"Calling EFI Application from Boot Option",
                                                      "Returning from EFI Application from Boot Option"};
constexpr std::size_t kMaximumPrograms = 64;

bool is_program(EventType type) {
  return type == EventType::efi_boot_services_application || type == EventType::efi_boot_services_driver ||
         type == EventType::efi_runtime_services_driver;
}

// The file at the end of a device path; a claim.
std::string file_of(const Event& event) {
  const auto content = tpm::read_content(event);
  const auto* image = content ? std::get_if<tpm::ImageContent>(&*content) : nullptr;
  if (image == nullptr) return "";
  const std::size_t file = image->device_path.find("/\\");
  return file == std::string::npos ? image->device_path : image->device_path.substr(file + 1);
}

std::size_t rank(Role role) {
  return static_cast<std::size_t>(std::ranges::find(kOrder, role) - kOrder.begin());
}

class BootChainJudge {
 public:
  BootChainJudge(const Measurements& measurements, const Authorities& authorities, Findings& findings,
                 Verdict& verdict)
      : measurements_(measurements), authorities_(authorities), findings_(findings), verdict_(verdict) {}

  void take(const Event& event) {
    if (!event.extends()) return;
    if (event.type == EventType::efi_action) return take_action(event);
    if (event.type == EventType::separator) {
      separated_ = true;
      if (!tpm::covers_data(tpm::check_digest(event, measurements_.bank)))
        reject(event, "its digest is not the one of a separator");
      return;
    }
    if (is_program(event.type)) return take_program(event);
    reject(event, "events of this type do not belong into PCR 4");
  }

  void finish() {
    if (programs_ == 0) {
      findings_.fail(reason::kNoBootApplication,
                     "the firmware started no boot program: the kernel came in another way (QEMU's -kernel), "
                     "past Secure Boot and measurement");
      return;
    }
    const Baseline& baseline = measurements_.expectation.baseline;
    if (baseline.components.empty()) {
      findings_.undecided(reason::kBaselineMissing,
                          "nothing is known about the programs of this VM's image; import the image again, "
                          "or set the VM's expectation");
      return;
    }
    for (const Role role : kOrder) {
      const bool wanted = std::ranges::any_of(
          baseline.components, [&](const Component& component) { return component.role == role; });
      if (!wanted || seen_.contains(role)) continue;
      findings_.fail(reason::kBootComponentMissing,
                     fmt::format("the {} of image {} is not among the programs that were measured",
                                 role_name(role), baseline.image),
                     std::string(role_name(role)));
    }
  }

 private:
  void reject(const Event& event, std::string_view why) {
    findings_.fail(reason::kBootEventInvalid,
                   fmt::format("the event at offset {} of the log ({}) in PCR 4 is not acceptable: {}",
                               event.offset, event_type_name(event.type), why));
  }

  void take_action(const Event& event) {
    if (tpm::check_digest(event, measurements_.bank) != DigestCover::data)
      return reject(event, "its digest is not over its data");
    const std::string_view text = as_text(event.data);
    if (std::ranges::find(kActions, text) == kActions.end()) return reject(event, "this action is not known");
    findings_.pass();
  }

  void take_program(const Event& event) {
    if (!separated_) return reject(event, "a program ran before the separator");
    if (++programs_ > kMaximumPrograms) return reject(event, "more than 64 programs ran");
    const std::string hash = to_hex(event.digest(measurements_.bank));
    const auto& components = measurements_.expectation.baseline.components;
    const auto known = std::ranges::find_if(components, [&](const Component& component) {
      return component.authenticode_sha256.to_hex() == hash;
    });
    if (known != components.end()) return take_known(*known, hash);
    take_unknown(event, hash);
  }

  void take_known(const Component& component, const std::string& hash) {
    const std::size_t place = rank(component.role);
    if (place < kOrder.size() && place < next_) {
      findings_.fail(reason::kBootOrderWrong,
                     fmt::format("{} ran after a program that it starts", component.file), component.file);
    } else {
      findings_.pass();
    }
    if (place < kOrder.size()) next_ = place;
    seen_.insert(component.role);
    add_stage({std::string(role_name(component.role)), component.file, hash,
               signer(component.role, component.signers), component.version, true});
  }

  void take_unknown(const Event& event, const std::string& hash) {
    // The kernel is measured twice, by shim and by the firmware.
    if (!unknown_.insert(hash).second) return;
    const Role role = guess_role();
    seen_.insert(role);
    if (rank(role) < kOrder.size()) next_ = rank(role);
    const std::string file = file_of(event);
    add_stage({std::string(role_name(role)), file, hash, signer(role, {}), "", false});
    if (measurements_.expectation.baseline.components.empty()) return;
    findings_.fail(reason::kBootComponentUnknown,
                   fmt::format("program {} of the boot chain (by its place the {}{}) has the hash {}, which "
                               "is not in the baseline of image {}; approve it there if "
                               "this change was planned",
                               programs_, role_name(role), file.empty() ? "" : ", called " + file, hash,
                               measurements_.expectation.baseline.image),
                   std::string(role_name(role)));
  }

  // The first role of the chain that the baseline has and that has not been seen.
  Role guess_role() const {
    for (const Role role : kOrder) {
      const bool wanted =
          std::ranges::any_of(measurements_.expectation.baseline.components,
                              [&](const Component& component) { return component.role == role; });
      if (wanted && !seen_.contains(role) && rank(role) >= next_) return role;
    }
    return Role::boot_application;
  }

  std::string signer(Role role, const std::vector<std::string>& signers) const {
    const bool by_shim = seen_.contains(Role::shim) && role != Role::shim;
    const std::string& measured = by_shim ? authorities_.shim : authorities_.firmware;
    return measured.empty() ? fmt::format("{}", fmt::join(signers, ", ")) : measured;
  }

  void add_stage(BootStage stage) {
    if (!verdict_.boot_chain.empty() && verdict_.boot_chain.back().sha256 == stage.sha256) return;
    verdict_.boot_chain.push_back(std::move(stage));
  }

  const Measurements& measurements_;
  const Authorities& authorities_;
  Findings& findings_;
  Verdict& verdict_;
  std::set<Role> seen_;
  std::set<std::string> unknown_;
  std::size_t next_ = 0;  // rank of the last program
  std::size_t programs_ = 0;
  bool separated_ = false;
};

}  // namespace

void judge_separators(const Measurements& measurements, Findings& findings) {
  std::array<unsigned, kFirmwareSeparators> good{}, bad{};
  for (const Event& event : measurements.log.events()) {
    if (event.type != EventType::separator || event.pcr >= kFirmwareSeparators) continue;
    const auto content = tpm::read_content(event);
    const auto* separator = content ? std::get_if<tpm::SeparatorContent>(&*content) : nullptr;
    const bool is_good = separator != nullptr && !separator->error &&
                         tpm::check_digest(event, measurements.bank) == DigestCover::data;
    ++(is_good ? good : bad)[event.pcr];
  }
  for (unsigned pcr = 0; pcr < kFirmwareSeparators; ++pcr) {
    if (good[pcr] == 1 && bad[pcr] == 0) {
      findings.pass();
    } else {
      findings.fail(reason::kSeparatorWrong, fmt::format("PCR {} has {} good and {} bad separators; a start "
                                                         "of the firmware that went well leaves exactly one",
                                                         pcr, good[pcr], bad[pcr]));
    }
  }
}

void judge_boot_chain(const Measurements& measurements, const Authorities& authorities, Findings& findings,
                      Verdict& verdict) {
  BootChainJudge judge(measurements, authorities, findings, verdict);
  for (const Event& event : measurements.log.events()) {
    if (event.pcr == kBootPcr) judge.take(event);
  }
  judge.finish();
}

void judge_hand_over(const Measurements& measurements, Findings& findings) {
  const auto& components = measurements.expectation.baseline.components;
  if (std::ranges::find(components, Role::kernel, &Component::role) == components.end()) return;
  for (const Event& event : measurements.log.events()) {
    if (event.pcr != kHandOverPcr || event.type != EventType::efi_action || as_text(event.data) != kHandOver)
      continue;
    if (tpm::check_digest(event, measurements.bank) == DigestCover::data) return findings.pass();
  }
  findings.fail(reason::kBootUnfinished,
                "the event log ends before the firmware handed over to a kernel: what was measured last need "
                "not be what runs",
                "kernel");
}

// The prefix that tells a kernel command line from a grub command is not authenticated, the text is.
void judge_command_line(const Measurements& measurements, Findings& findings, Verdict& verdict) {
  for (const Event& event : measurements.log.events()) {
    if (event.pcr != kCommandLinePcr || !event.extends()) continue;
    const auto content = tpm::read_content(event);
    const auto* ipl =
        content && event.type == EventType::ipl ? std::get_if<tpm::IplContent>(&*content) : nullptr;
    if (ipl == nullptr || !tpm::covers_data(tpm::check_digest(event, measurements.bank))) {
      findings.fail(
          reason::kCommandLineInvalid,
          fmt::format(
              "the event at offset {} of the log ({}) in PCR 8 is no command whose digest is over its text",
              event.offset, event_type_name(event.type)));
      continue;
    }
    findings.pass();
    if (ipl->kind == tpm::IplContent::Kind::kernel_command_line) verdict.kernel_command_line = ipl->text;
  }
}

void read_firmware(const Measurements& measurements, Findings& findings, Verdict& verdict) {
  for (const Event& event : measurements.log.events()) {
    if (event.pcr == 2 && is_program(event.type)) {
      findings.warn(reason::kOptionRom, fmt::format("the firmware ran code of a device (option ROM, hash {})",
                                                    to_hex(event.digest(measurements.bank))));
    }
    if (event.pcr != 0 || event.type != EventType::scrtm_version ||
        tpm::check_digest(event, measurements.bank) != DigestCover::data)
      continue;
    const auto content = tpm::read_content(event);
    if (const auto* version = content ? std::get_if<tpm::TextContent>(&*content) : nullptr)
      verdict.firmware_version = version->text;
  }
}

}  // namespace bootseal::attest

#include "bootseal/cli/vm_page.h"

#include <fmt/format.h>

namespace bootseal::cli {
namespace {

constexpr std::size_t kLabelWidth = 20;
constexpr std::size_t kShownHash = 16;

class Page {
 public:
  explicit Page(const std::string& title) : text_(printable(title) + '\n') {}

  // A line with a label; nothing when there is nothing to say.
  void line(std::string_view label, std::string_view value) {
    if (value.empty()) return;
    text_ += fmt::format("  {:<{}}{}\n", label, kLabelWidth, printable(value));
  }
  // A further line under the last one.
  void more(std::string_view value) { line("", value); }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string_view capitalised(std::string& text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

const json::Value& view_of(const json::Value& vm) {
  static const json::Value kNone = json::Object();
  const json::Value* view = find(vm, {"properties", "instanceView"});
  return view != nullptr ? *view : kNone;
}

std::string verdict_text(const json::Value& vm, const json::Value& view, TimePoint now) {
  if (!has_vtpm(vm)) return "never attested: it has no TPM";
  const std::string status = text_at(view, {"attestation", "status"});
  if (status.empty()) return "not attested yet";
  const std::string time = text_at(view, {"attestation", "evidenceTime"});
  return time.empty() ? status : fmt::format("{} (evidence of {})", status, age(time, now));
}

// What the firmware measured where it did, else what was asked for.
std::string secure_boot_text(const json::Value& vm) {
  const std::string measured = text_at(view_of(vm), {"attestation", "secureBoot"});
  if (measured == "Enabled" || measured == "Disabled") return measured + ", as the firmware measured it";
  const std::string asked =
      text_at(vm, {"properties", "securityProfile", "uefiSettings", "secureBootEnabled"});
  if (asked.empty() || text_at(vm, {"properties", "securityProfile", "securityType"}) == "Standard")
    return "off (security type Standard)";
  const std::string power = power_state(vm);
  const bool will_be_measured = has_vtpm(vm) && power != "stopped" && power != "deallocated";
  return fmt::format("{}{}", asked == "true" ? "on" : "off", will_be_measured ? ", not measured yet" : "");
}

std::string tpm_text(const json::Value& vm) {
  if (!has_vtpm(vm)) return "none";
  const std::string issuer = text_at(view_of(vm), {"vtpm", "ekCertificateIssuer"});
  return issuer.empty() ? "2.0, not made yet" : fmt::format("2.0, EK certificate issued by {}", issuer);
}

std::string guest_state_text(const json::Value& view) {
  const json::Value* state = find(view, {"guestState"});
  if (state == nullptr) return {};
  if (text_at(*state, {"sealed"}) == "false") return "not sealed";
  return fmt::format("sealed with {} under key {}, generation {}", text_at(*state, {"algorithm"}),
                     text_at(*state, {"keyName"}), text_at(*state, {"generation"}));
}

std::string boot_text(const json::Value& view) {
  const std::string outcome = text_at(view, {"boot", "outcome"});
  if (outcome.empty()) return {};
  const std::string message = text_at(view, {"boot", "message"});
  return message.empty() ? outcome : fmt::format("{}: {}", outcome, message);
}

std::string component_text(const json::Value& component) {
  std::string text = fmt::format("{} {}", text_at(component, {"role"}), text_at(component, {"version"}));
  while (text.ends_with(' ')) text.pop_back();
  const std::string signer = text_at(component, {"signer"});
  if (!signer.empty()) text += ", signed by " + signer;
  if (const std::string file = text_at(component, {"file"}); !file.empty()) text += " (" + file + ")";
  text += ", sha256 " + text_at(component, {"sha256"}).substr(0, kShownHash);
  const std::string role = text_at(component, {"role"});
  const bool measured_by_grub =
      role == "grubConfig" || role == "initrd" || role == "file" || role == "kernelCommandLine";
  if (text_at(component, {"inBaseline"}) == "true") text += ", as in the image";
  if (text_at(component, {"inBaseline"}) == "false")
    text += measured_by_grub ? ", changed since the image was made" : ", NOT in the baseline";
  return text;
}

void add_list(Page& page, std::string_view label, const std::vector<std::string>& lines) {
  for (std::size_t i = 0; i < lines.size(); ++i) page.line(i == 0 ? label : "", lines[i]);
}

std::vector<std::string> reasons_of(const json::Value& view) {
  std::vector<std::string> lines;
  const json::Value* reasons = find(view, {"attestation", "reasons"});
  if (reasons == nullptr || !reasons->is_array()) return lines;
  for (const json::Value& reason : reasons->get_array()) {
    const std::string severity = text_at(reason, {"severity"});
    const std::string component = text_at(reason, {"component"});
    std::string line = severity == "info" ? "" : severity + ": ";
    if (!component.empty()) line += component + ": ";
    lines.push_back(line + text_at(reason, {"message"}));
  }
  return lines;
}

}  // namespace

bool has_vtpm(const json::Value& vm) {
  return text_at(vm, {"properties", "securityProfile", "uefiSettings", "vTpmEnabled"}) == "true";
}

std::string power_state(const json::Value& vm) {
  const json::Value* statuses = find(vm, {"properties", "instanceView", "statuses"});
  if (statuses == nullptr || !statuses->is_array()) return {};
  constexpr std::string_view kPrefix = "PowerState/";
  for (const json::Value& status : statuses->get_array()) {
    const std::string code = text_at(status, {"code"});
    if (code.starts_with(kPrefix)) return code.substr(kPrefix.size());
  }
  return {};
}

std::string age(std::string_view time, TimePoint now) {
  const auto parsed = parse_time(time);
  if (!parsed) return std::string(time);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - *parsed).count();
  const auto ago = [](std::int64_t count, std::string_view unit) {
    return fmt::format("{} {}{} ago", count, unit, count == 1 ? "" : "s");
  };
  if (seconds < 0) return std::string(time);
  if (seconds < 120) return ago(seconds, "second");
  if (seconds < 7200) return ago(seconds / 60, "minute");
  if (seconds < 172800) return ago(seconds / 3600, "hour");
  return ago(seconds / 86400, "day");
}

std::string vm_page(const json::Value& vm, TimePoint now) {
  const json::Value& view = view_of(vm);
  Page page(text_at(vm, {"name"}));
  std::string power = power_state(vm);
  const std::string provisioning = text_at(vm, {"properties", "provisioningState"});
  std::string status = power.empty() ? provisioning : std::string(capitalised(power));
  if (!power.empty() && provisioning != "Succeeded") status += fmt::format(" ({})", provisioning);
  page.line("status", fmt::format("{}, {}", status, verdict_text(vm, view, now)));
  add_list(page, "", reasons_of(view));
  page.line("security type", text_at(vm, {"properties", "securityProfile", "securityType"}));
  page.line("Secure Boot", secure_boot_text(vm));
  page.line("TPM", tpm_text(vm));
  if (const std::string ek = text_at(view, {"vtpm", "ekPublicSha256"}); !ek.empty())
    page.more("EK public key sha256 " + ek.substr(0, kShownHash));
  page.line("guest state", guest_state_text(view));
  std::vector<std::string> chain;
  if (const json::Value* components = find(view, {"attestation", "bootChain"});
      components != nullptr && components->is_array()) {
    for (const json::Value& component : components->get_array()) chain.push_back(component_text(component));
  }
  add_list(page, "boot chain", chain);
  page.line("command line", text_at(view, {"attestation", "kernelCommandLine"}));
  page.line("firmware", text_at(view, {"attestation", "firmwareVersion"}));
  page.line("boot", boot_text(view));
  if (power_state(vm) == "stopped" || power_state(vm) == "deallocated")
    page.line("stopped because", text_at(view, {"stopReason", "message"}));
  const std::string offer = text_at(vm, {"properties", "storageProfile", "imageReference", "offer"});
  const std::string image =
      offer.empty() ? text_at(vm, {"properties", "storageProfile", "imageReference", "id"}) : offer;
  page.line("image",
            fmt::format("{} {}", image,
                        text_at(vm, {"properties", "storageProfile", "imageReference", "exactVersion"})));
  page.line("size", text_at(vm, {"properties", "hardwareProfile", "vmSize"}));
  if (const std::string kind = text_at(view, {"accelerator", "kind"}); !kind.empty()) {
    const std::string reason = text_at(view, {"accelerator", "reason"});
    page.line("accelerator", kind == "kvm" || reason.empty() ? kind : fmt::format("{} ({})", kind, reason));
  } else {
    page.line("accelerator", text_at(view, {"accelerator"}));
  }
  page.line("created", text_at(vm, {"properties", "timeCreated"}));
  page.line("VM id", text_at(vm, {"properties", "vmId"}));
  page.line("resource id", text_at(vm, {"id"}));
  return page.take();
}

Table vm_table(const json::Array& vms) {
  Table table{{"Name", "Group", "State", "Verdict", "Security", "Size", "Image"}, {}};
  for (const json::Value& vm : vms) {
    const std::string id = text_at(vm, {"id"});
    constexpr std::string_view kGroups = "/resourceGroups/";
    const std::size_t at = id.find(kGroups);
    const std::string rest = at == std::string::npos ? "" : id.substr(at + kGroups.size());
    const std::string power = power_state(vm);
    const std::string verdict = text_at(vm, {"properties", "instanceView", "attestation", "status"});
    const std::string offer = text_at(vm, {"properties", "storageProfile", "imageReference", "offer"});
    const std::string version =
        text_at(vm, {"properties", "storageProfile", "imageReference", "exactVersion"});
    table.rows.push_back(
        {text_at(vm, {"name"}), rest.substr(0, rest.find('/')),
         power.empty() ? text_at(vm, {"properties", "provisioningState"}) : power,
         verdict.empty() ? "-" : verdict, text_at(vm, {"properties", "securityProfile", "securityType"}),
         text_at(vm, {"properties", "hardwareProfile", "vmSize"}),
         offer.empty()     ? text_at(vm, {"properties", "storageProfile", "imageReference", "id"})
         : version.empty() ? offer
                           : offer + ":" + version});
  }
  return table;
}

}  // namespace bootseal::cli

// What grub measured, against the image as it was made.
//
// Names in the events of PCR 9 are claims: a file is recognised by its digest, and a name only helps to say
// which one another digest stands for. In PCR 8 the text is proven and its prefix is not: a command and the
// kernel's command line are compared as two whole sequences, so that a text told under the wrong prefix is
// missing in one of them or too much in the other.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bootseal/tpm/event_content.h"
#include "measurements.h"

namespace bootseal::attest {
namespace {

using tpm::Event;
using tpm::EventType;
using tpm::IplContent;

constexpr unsigned kCommandPcr = 8;
constexpr unsigned kFilePcr = 9;
constexpr std::size_t kShownText = 200;
// The configuration that is built into the signed grub ends with reading grub.cfg.
constexpr std::string_view kSource = "source ";
constexpr std::string_view kCommandLineRole = "kernelCommandLine";

std::optional<IplContent> ipl_of(const Event& event) {
  if (event.type != EventType::ipl) return std::nullopt;
  const auto content = tpm::read_content(event);
  const auto* ipl = content ? std::get_if<IplContent>(&*content) : nullptr;
  return ipl == nullptr ? std::nullopt : std::optional(*ipl);
}

std::string shown(std::string_view text) {
  return text.size() <= kShownText ? std::string(text) : fmt::format("{}…", text.substr(0, kShownText));
}

class FileJudge {
 public:
  FileJudge(const Measurements& measurements, const MeasuredBoot& wanted, Findings& findings,
            Verdict& verdict)
      : measurements_(measurements), wanted_(wanted), findings_(findings), verdict_(verdict) {}

  void take(const Event& event) {
    const std::string hash = to_hex(event.digest(measurements_.bank));
    if (!taken_.insert(hash).second) return;
    const auto known = std::ranges::find_if(
        wanted_.files, [&](const MeasuredFile& file) { return file.sha256.to_hex() == hash; });
    if (known != wanted_.files.end()) {
      findings_.pass();
      seen_.insert(&*known);
      // The kernel is in the chain already, by its Authenticode hash.
      if (known->role != FileRole::kernel) add_stage(file_role_name(known->role), known->file, hash, true);
      return;
    }
    unknown_.push_back(&event);
  }

  void finish() {
    for (const Event* event : unknown_) take_unknown(*event);
    for (const MeasuredFile& file : wanted_.files) {
      if (seen_.contains(&file)) continue;
      tell(reason::kBootFileMissing,
           fmt::format("the image's {} was not measured: the VM booted without it", file.file), file.role);
    }
  }

 private:
  void take_unknown(const Event& event) {
    const std::optional<IplContent> ipl = ipl_of(event);
    const std::string name = ipl ? ipl->text : "";
    const std::string hash = to_hex(event.digest(measurements_.bank));
    const MeasuredFile* meant = meant_by(name);
    if (meant == nullptr) {
      add_stage("file", name, hash, false);
      return tell(
          reason::kBootFileChanged,
          fmt::format("grub read {} (SHA-256 {}), which the image {} does not have",
                      name.empty() ? "a file" : shown(name), hash, measurements_.expectation.baseline.image),
          std::nullopt);
    }
    seen_.insert(meant);
    if (meant->role != FileRole::kernel) add_stage(file_role_name(meant->role), meant->file, hash, false);
    tell(reason::kBootFileChanged,
         fmt::format("{} was changed since the image was made: its SHA-256 is {}, that of image {} is {}",
                     meant->file, hash, measurements_.expectation.baseline.image, meant->sha256.to_hex()),
         meant->role);
  }

  // The file of the image that was not measured as it is, and that the name may stand for: "(hd0,gpt1)/x" for
  // "/x" or, where grub reads it by another way, the next initrd for "/initrd.img".
  const MeasuredFile* meant_by(std::string_view name) const {
    const std::string_view base = name.substr(name.rfind('/') + 1);
    for (const MeasuredFile& file : wanted_.files) {
      const bool same =
          !name.empty() && (name.ends_with(file.file) ||
                            (!base.empty() && file.file.find("/" + std::string(base)) != std::string::npos));
      if (same && !seen_.contains(&file)) return &file;
    }
    return nullptr;
  }

  void tell(std::string_view code, std::string message, std::optional<FileRole> role) {
    std::string component(role ? file_role_name(*role) : std::string_view());
    if (wanted_.immutable) return findings_.fail(code, std::move(message), std::move(component));
    findings_.tell(code, std::move(message), std::move(component));
  }

  void add_stage(std::string_view role, std::string file, std::string hash, bool in_baseline) {
    verdict_.boot_chain.push_back({std::string(role), std::move(file), std::move(hash), "", "", in_baseline});
  }

  const Measurements& measurements_;
  const MeasuredBoot& wanted_;
  Findings& findings_;
  Verdict& verdict_;
  std::set<std::string> taken_;
  std::set<const MeasuredFile*> seen_;
  std::vector<const Event*> unknown_;
};

// Told in PCR 8, each text proven (judge_command_line).
struct Told {
  std::vector<std::string> command_lines;
  std::vector<std::string> commands;  // after grub.cfg was read, and what has no business before
  std::string command_line_sha256;    // of the last
};

// Whether this is what a signed grub does to find its grub.cfg: it tests, searches and sets. Anything else
// there was typed, or is a kernel's command line under the prefix of a command: what the running system
// extends later must not make that look like a beginning.
bool looks_for_config(std::string_view text) {
  const std::string_view word = text.substr(0, text.find(' '));
  return word == "[" || word == "search" || word == "set";
}

Told read_told(const Measurements& measurements) {
  Told told;
  bool in_config = false;
  for (const Event& event : measurements.log.events()) {
    if (event.pcr != kCommandPcr || !event.extends()) continue;
    const std::optional<IplContent> ipl = ipl_of(event);
    if (!ipl) continue;
    if (ipl->kind == IplContent::Kind::kernel_command_line) {
      told.command_lines.push_back(ipl->text);
      told.command_line_sha256 = to_hex(event.digest(measurements.bank));
    } else if (in_config) {
      told.commands.push_back(ipl->text);
    } else if (ipl->text.starts_with(kSource)) {
      in_config = true;
    } else if (!looks_for_config(ipl->text)) {
      told.commands.push_back(ipl->text);
    }
  }
  return told;
}

}  // namespace

void judge_boot_files(const Measurements& measurements, Findings& findings, Verdict& verdict) {
  const auto& wanted = measurements.expectation.baseline.measured_boot;
  if (!wanted) return;
  FileJudge judge(measurements, *wanted, findings, verdict);
  for (const Event& event : measurements.log.events()) {
    if (event.pcr == kFilePcr && event.extends()) judge.take(event);
  }
  judge.finish();
}

void judge_boot_commands(const Measurements& measurements, Findings& findings, Verdict& verdict) {
  const auto& wanted = measurements.expectation.baseline.measured_boot;
  if (!wanted) return;
  const Told told = read_told(measurements);
  const auto compare = [&](bool same, std::string_view code, std::string message,
                           std::string_view component) {
    if (same) return findings.pass();
    if (wanted->immutable) return findings.fail(code, std::move(message), std::string(component));
    findings.tell(code, std::move(message), std::string(component));
  };
  const bool same_line = told.command_lines == std::vector{wanted->kernel_command_line};
  const std::string line = told.command_lines.empty() ? "" : told.command_lines.back();
  if (!told.command_lines.empty()) {
    verdict.boot_chain.push_back(
        {std::string(kCommandLineRole), line, told.command_line_sha256, "", "", same_line});
  }
  compare(same_line, reason::kCommandLineChanged,
          fmt::format("the kernel was started with '{}', the image {} starts it with '{}'", shown(line),
                      measurements.expectation.baseline.image, shown(wanted->kernel_command_line)),
          kCommandLineRole);

  const auto [there, image] = std::ranges::mismatch(told.commands, wanted->commands);
  const auto command_at = [](auto place, auto end) {
    return place == end ? std::string("nothing more") : fmt::format("'{}'", shown(*place));
  };
  compare(told.commands == wanted->commands, reason::kBootCommandsChanged,
          fmt::format("grub ran {} where the image {} runs {}", command_at(there, told.commands.end()),
                      measurements.expectation.baseline.image, command_at(image, wanted->commands.end())),
          file_role_name(FileRole::grub_config));
}

}  // namespace bootseal::attest

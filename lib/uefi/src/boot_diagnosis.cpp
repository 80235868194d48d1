#include "bootseal/uefi/boot_diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "event_walk.h"
#include "serial_signs.h"

namespace bootseal::uefi {
namespace {

std::string_view why_refused(ImageAction action) {
  switch (action) {
    case ImageAction::signature_failed:
      return "its signature is not valid or its signer is revoked (dbx). Install a newer boot loader in the "
             "image";
    case ImageAction::signature_found:
      return "its hash is revoked (dbx). Install a newer boot loader in the image";
    case ImageAction::policy_failed:
      return "the firmware's policy forbids it. Use an image with a signed boot loader";
    default:
      return "it is not signed, or its signer is not trusted by this VM. Use an image whose boot loader is "
             "signed under the VM's "
             "signature template, or choose the template that fits the image";
  }
}

BootDiagnosis refused_by_firmware(const std::vector<ImageExecution>& executions) {
  BootDiagnosis diagnosis{
      .outcome = BootOutcome::refused, .component = "bootApplication", .refused_by = "firmware"};
  const auto refused = std::ranges::find_if(
      executions, [](const ImageExecution& each) { return each.action != ImageAction::signature_passed; });
  if (refused == executions.end()) {
    diagnosis.message =
        fmt::format("Secure Boot refused the boot loader: {}.", why_refused(ImageAction::untested));
    return diagnosis;
  }
  diagnosis.file = refused->file;
  diagnosis.sha256 = refused->sha256;
  diagnosis.message =
      fmt::format("Secure Boot refused {}: {}.", refused->file.empty() ? refused->name : refused->file,
                  why_refused(refused->action));
  return diagnosis;
}

// The kernel that grub was told to load last: an event "grub_cmd: linux /vmlinuz …" of PCR 8.
std::string kernel_from_log(ByteSpan event_log) {
  constexpr std::array<std::string_view, 3> kCommands = {"grub_cmd: linux ", "grub_cmd: linuxefi ",
                                                         "grub_cmd: chainloader "};
  std::string kernel;
  for (const WalkedEvent& event : walk_event_log(event_log).events) {
    if (event.pcr != 8 || event.type != kEventIpl) continue;
    const std::string_view text = as_text(event.data.first(std::min<std::size_t>(event.data.size(), 512)));
    for (const std::string_view command : kCommands) {
      if (!text.starts_with(command)) continue;
      const std::string_view argument = text.substr(command.size());
      kernel = std::string(argument.substr(0, argument.find_first_of(std::string_view(" \0", 2))));
      std::ranges::replace_if(
          kernel, [](char c) { return c < '!' || c > '~'; }, '?');
    }
  }
  return kernel;
}

BootDiagnosis refused_by_loader(Refuser refuser, const MemoryFindings& findings) {
  BootDiagnosis diagnosis{.outcome = BootOutcome::refused};
  switch (refuser) {
    case Refuser::shim:
      diagnosis.component = "grub";
      diagnosis.file = "grubx64.efi";
      diagnosis.refused_by = "shim";
      diagnosis.message =
          "shim refused to start grub (grubx64.efi): it is not signed by the distribution, was changed after "
          "signing, or is revoked. "
          "Install the distribution's signed grub in the image.";
      break;
    case Refuser::shim_itself:
      diagnosis.component = "shim";
      diagnosis.refused_by = "shim";
      diagnosis.message =
          "shim refused to run: its own generation is revoked (SBAT). Install a newer signed shim in the "
          "image.";
      break;
    case Refuser::firmware_direct_kernel:
      diagnosis.component = "kernel";
      diagnosis.refused_by = "firmware";
      diagnosis.message =
          "The firmware refused a kernel given directly by the host. Boot the VM from its disk.";
      break;
    case Refuser::firmware:
    case Refuser::grub:
      diagnosis.component = "kernel";
      diagnosis.file = kernel_from_log(findings.event_log);
      diagnosis.refused_by = "grub";
      diagnosis.message = fmt::format(
          "grub refused to start the kernel{}{}: it is not signed by the distribution or was changed after "
          "signing. Install "
          "the distribution's signed kernel in the image.",
          diagnosis.file.empty() ? "" : " ", diagnosis.file);
      break;
  }
  return diagnosis;
}

BootDiagnosis nothing_to_boot() {
  return {.outcome = BootOutcome::nothing_to_boot,
          .message =
              "The firmware found nothing to start: the disk is empty or its EFI system partition has no "
              "\\EFI\\BOOT\\BOOTX64.EFI. Use an image that "
              "boots with UEFI (generation V2)."};
}

BootDiagnosis did_not_boot(const SerialSigns& signs) {
  BootDiagnosis diagnosis{.outcome = BootOutcome::did_not_boot};
  if (!signs.panic.empty()) {
    diagnosis.component = "kernel";
    diagnosis.message =
        fmt::format("The kernel started and stopped: {}. Read the serial log.", signs.panic.substr(0, 200));
  } else if (signs.grub_spoke) {
    diagnosis.component = "grub";
    diagnosis.message =
        "grub started and no operating system came up in time. Read the serial log; give the VM more memory "
        "if it has less than the image "
        "needs.";
  } else if (signs.firmware_started_something) {
    diagnosis.component = "bootApplication";
    diagnosis.message =
        "The boot loader started and no operating system came up in time. Read the serial log.";
  } else {
    diagnosis.message =
        "The firmware did not start a boot loader in time. Read the serial log; the host may be overloaded.";
  }
  return diagnosis;
}

}  // namespace

std::string_view boot_outcome_name(BootOutcome outcome) {
  constexpr std::array<std::string_view, 4> kNames = {"Booted", "Refused", "NothingToBoot", "DidNotBoot"};
  return kNames[static_cast<std::size_t>(outcome)];
}

BootDiagnosis diagnose_boot(const BootEvidence& evidence) {
  return diagnose_boot(evidence.serial, scan_memory(evidence.memory), evidence.agent_spoke);
}

BootDiagnosis diagnose_boot(std::string_view serial, const MemoryFindings& findings, bool agent_spoke) {
  const SerialSigns signs = read_signs(plain_text(serial));
  if (agent_spoke || signs.booted) {
    return {.outcome = BootOutcome::booted, .message = "The operating system is running."};
  }
  const bool in_table = std::ranges::any_of(findings.executions, [](const ImageExecution& each) {
    return each.action != ImageAction::signature_passed;
  });
  if (signs.refuser && *signs.refuser != Refuser::firmware)
    return refused_by_loader(*signs.refuser, findings);
  // A refusal of one device's loader is the answer unless another device's loader was started after all.
  if (signs.refuser || (in_table && !signs.firmware_started_something))
    return refused_by_firmware(findings.executions);
  if (signs.nothing_to_boot) return nothing_to_boot();
  return did_not_boot(signs);
}

bool serial_shows_end_of_boot(std::string_view serial) {
  const SerialSigns signs = read_signs(plain_text(serial));
  if (signs.booted) return false;
  return signs.nothing_to_boot || !signs.panic.empty() ||
         (signs.refuser && *signs.refuser != Refuser::firmware);
}

}  // namespace bootseal::uefi

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "accelerator_cache.h"
#include "bootseal/log/log.h"
#include "bootseal/sandbox/sandbox.h"
#include "display_text.h"
#include "vm_confinement.h"

namespace bootseal::host {
namespace {

constexpr std::chrono::seconds kProbeLimit{20};
constexpr std::uint64_t kCacheFormat = 2;  // of accelerator.json; 2: reasons in words
// The slot of the probe: the last one, which VMs get last.
constexpr unsigned kProbeSlot = 64535;

std::vector<std::string> probe_arguments(const QemuOptions& options, const std::string& machine_type,
                                         const std::filesystem::path& variables) {
  const auto flash = [](std::string_view name, const std::filesystem::path& file, bool read_only) {
    return json::serialize(
        json::Object{{"driver", "raw"},
                     {"node-name", name},
                     {"read-only", read_only},
                     {"file", json::Object{{"driver", "file"}, {"filename", file.native()}}}});
  };
  return {options.program,
          "-nodefaults",
          "-no-user-config",
          "-display",
          "none",
          "-nic",
          "none",
          "-m",
          "size=256M",
          "-accel",
          "kvm",
          "-cpu",
          "host",
          "-sandbox",
          "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
          "-machine",
          fmt::format("{},smm=on,pflash0=code,pflash1=variables", machine_type),
          "-global",
          "driver=cfi.pflash01,property=secure,value=on",
          "-blockdev",
          flash("code", options.firmware.secure_code, true),
          "-blockdev",
          flash("variables", variables, false),
          "-chardev",
          "stdio,id=serial,signal=off",
          "-device",
          "isa-serial,chardev=serial"};
}

// Reads what the machine says until the firmware has come as far as looking for something to boot.
struct Spoken {
  bool firmware_ran = false;
  bool ended = false;
};
Spoken listen_to_firmware(int serial, std::chrono::steady_clock::time_point deadline) {
  std::string text;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const Result<bool> readable = wait_readable(serial, std::max(left, std::chrono::milliseconds(0)));
    if (!readable || !*readable) return {};
    std::array<char, 4096> buffer;
    const ssize_t got = ::read(serial, buffer.data(), buffer.size());
    if (got <= 0) return {.ended = true};
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.find("BdsDxe") != std::string::npos) return {.firmware_ran = true};
  }
}

std::string last_line(const std::filesystem::path& log) {
  const Result<Bytes> content = read_file(log, 65536);
  if (!content) return {};
  std::string_view text = as_text(*content);
  while (text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1).substr(0, 300));
}

Result<Accelerator> try_kvm(const QemuOptions& options, const std::string& machine_type,
                            const std::filesystem::path& folder) {
  const uid_t uid = sandbox::vm_uid(kProbeSlot);
  const std::filesystem::path variables = folder / "variables.fd",
                              log = options.paths.home / "hostd" / "accelerator-probe.log";
  BOOTSEAL_TRY(const Bytes flash, read_file(options.firmware.plain_variables, 1 << 20));
  BOOTSEAL_TRY_STATUS(replace_file(variables, flash));
  for (const std::filesystem::path& path : {folder, variables}) {
    if (::lchown(path.c_str(), uid, ::geteuid() == 0 ? uid : ::getegid()) != 0)
      return fail_errno(errno, fmt::format("giving {} to the probe", path.native()));
  }
  BOOTSEAL_TRY(const UniqueFd errors, open_file(log, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  BOOTSEAL_TRY(Pipe serial, make_pipe());
  Command command;
  command.arguments = probe_arguments(options, machine_type, variables);
  command.fds = {{1, serial.write_end.get()}, {2, errors.get()}};
  command.working_folder = "/";
  command.new_session = true;
  BOOTSEAL_TRY(command.before_exec,
               confine_in_home(options.paths, uid, sandbox::kvm_group(), {{folder, false}}, 0));
  BOOTSEAL_TRY(const ProcessIdentity process, spawn(command));
  serial.write_end.reset();
  const Spoken spoken =
      listen_to_firmware(serial.read_end.get(), std::chrono::steady_clock::now() + kProbeLimit);
  BOOTSEAL_TRY_STATUS(signal_process(process, SIGKILL));
  static_cast<void>(wait_for_end(process, std::chrono::seconds(5)));
  if (spoken.firmware_ran)
    return Accelerator{AcceleratorKind::kvm, "the firmware was started under KVM with SMM"};
  const std::string words = last_line(log);
  log::warning("accelerator.kvm_unusable",
               {{"qemuEnded", spoken.ended}, {"words", display_text(words, 300)}, {"log", log.native()}});
  if (spoken.ended) return Accelerator{AcceleratorKind::tcg, explain_kvm_refusal(words)};
  return Accelerator{
      AcceleratorKind::tcg,
      fmt::format(
          "KVM here cannot run Secure Boot guests: with System Management Mode (SMM), which keeps the "
          "UEFI variables safe, the firmware did not come up within {} s",
          kProbeLimit.count())};
}

}  // namespace

std::string explain_kvm_refusal(std::string_view words) {
  // "Could not access KVM kernel module: REASON" and then "failed to initialize kvm: REASON".
  if (words.find("initialize kvm") != std::string_view::npos ||
      words.find("KVM kernel module") != std::string_view::npos) {
    const std::size_t colon = words.rfind(": ");
    return fmt::format("KVM cannot be used: opening /dev/kvm failed{}",
                       colon == std::string_view::npos
                           ? std::string()
                           : fmt::format(" ({})", display_text(words.substr(colon + 2), 100)));
  }
  return "KVM here cannot run Secure Boot guests: no System Management Mode (QEMU ended when the firmware "
         "used "
         "it; KVM inside of a virtual machine often lacks it)";
}

std::string current_boot_id() {
  const Result<Bytes> text = read_file("/proc/sys/kernel/random/boot_id", 100);
  if (!text) return {};
  std::string id(as_text(*text));
  while (id.ends_with('\n')) id.pop_back();
  return id;
}

Accelerator probe_accelerator(const QemuOptions& options, const std::string& machine_type) {
  if (::access("/dev/kvm", F_OK) != 0)
    return {AcceleratorKind::tcg,
            "there is no /dev/kvm: the processor's virtualisation is off or not offered to this machine"};
  const std::filesystem::path folder = options.paths.run / "vms" / "accelerator-probe";
  Result<Accelerator> result = [&]() -> Result<Accelerator> {
    BOOTSEAL_TRY_STATUS(make_folder(options.paths.run / "vms", 0711));
    BOOTSEAL_TRY_STATUS(make_folder(folder, 0700));
    return try_kvm(options, machine_type, folder);
  }();
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  if (!result)
    return {AcceleratorKind::tcg, fmt::format("KVM could not be tried: {}", result.error().describe())};
  return *result;
}

Accelerator known_accelerator(const QemuOptions& options, const HostFacts& facts) {
  if (options.accelerator == AcceleratorChoice::kvm)
    return {AcceleratorKind::kvm, "asked for when hostd was started"};
  if (options.accelerator == AcceleratorChoice::tcg)
    return {AcceleratorKind::tcg, "asked for when hostd was started"};
  const std::filesystem::path file = options.paths.home / "hostd" / "accelerator.json";
  const std::string boot_id = current_boot_id();
  const auto cached = [&]() -> Result<Accelerator> {
    BOOTSEAL_TRY(const Bytes text, read_file(file, 65536));
    BOOTSEAL_TRY(const json::Value value, json::parse(as_text(text)));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the accelerator"));
    BOOTSEAL_TRY(const std::uint64_t format, reader.unsigned_integer_or("formatVersion", 1));
    if (format != kCacheFormat) return fail(ErrorCode::not_found, "of another hostd");
    BOOTSEAL_TRY(const std::string boot, reader.string("bootId"));
    BOOTSEAL_TRY(const std::string version, reader.string("hypervisorVersion"));
    BOOTSEAL_TRY(const std::string kind, reader.string("kind"));
    BOOTSEAL_TRY(std::string reason, reader.string("reason"));
    if (boot.empty() || boot != boot_id || version != facts.hypervisor_version)
      return fail(ErrorCode::not_found, "of another boot");
    return Accelerator{kind == "kvm" ? AcceleratorKind::kvm : AcceleratorKind::tcg, std::move(reason)};
  }();
  if (cached) return *cached;
  Accelerator accelerator = probe_accelerator(options, facts.machine_type);
  log::info("accelerator.probed",
            {{"kind", std::string(accelerator_name(accelerator.kind))}, {"reason", accelerator.reason}});
  const json::Value value = json::Object{{"formatVersion", kCacheFormat},
                                         {"bootId", boot_id},
                                         {"hypervisorVersion", facts.hypervisor_version},
                                         {"kind", accelerator_name(accelerator.kind)},
                                         {"reason", accelerator.reason}};
  if (const Status kept = replace_file(file, as_bytes(json::serialize(value))); !kept) {
    log::warning("accelerator.not_kept", {{"reason", kept.error().describe()}});
  }
  return accelerator;
}

}  // namespace bootseal::host

#include "bootseal/host/qemu_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace bootseal::host {
namespace {

using Arguments = std::vector<std::string>;

void add(Arguments& arguments, std::string option, std::string value) {
  arguments.push_back(std::move(option));
  arguments.push_back(std::move(value));
}

// A value inside a "key=value,key=value" option: QEMU reads a doubled comma as one.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char letter : text) {
    result += letter;
    if (letter == ',') result += ',';
  }
  return result;
}

std::string blockdev(const json::Object& node) {
  return json::serialize(node);
}

void add_machine(Arguments& arguments, const MachineConfig& config, AcceleratorKind accelerator) {
  add(arguments, "-name", fmt::format("guest={},debug-threads=on", escaped(config.name)));
  add(arguments, "-uuid", config.vm.to_string());
  // Guest memory stays out of core dumps and is not shared with other VMs by KSM.
  add(arguments, "-machine",
      fmt::format("{},smm={},vmport=off,dump-guest-core=off,mem-merge=off,pflash0=firmware-code,pflash1={}",
                  config.machine_type, config.trusted ? "on" : "off", "variables"));
  add(arguments, "-accel", accelerator == AcceleratorKind::kvm ? "kvm" : "tcg,thread=multi");
  add(arguments, "-cpu", config.cpu_model.empty() ? default_cpu_model(accelerator) : config.cpu_model);
  add(arguments, "-smp", fmt::format("cpus={0},sockets=1,cores={0},threads=1", config.cpus));
  add(arguments, "-m", fmt::format("size={}M", config.memory_mib));
  add(arguments, "-rtc", "base=utc,driftfix=slew");
}

void add_firmware(Arguments& arguments, const MachineConfig& config, const Firmware& firmware) {
  const std::filesystem::path& code = config.trusted ? firmware.secure_code : firmware.plain_code;
  add(arguments, "-blockdev",
      blockdev({{"driver", "raw"},
                {"node-name", "firmware-code"},
                {"read-only", true},
                {"file", json::Object{{"driver", "file"}, {"filename", code.native()}}}}));
  if (config.trusted) {
    // Only code in SMM may write the flash: the operating system cannot go around the firmware's checks of
    // authenticated variables.
    add(arguments, "-global", "driver=cfi.pflash01,property=secure,value=on");
    const json::Object server{{"type", "unix"}, {"path", (config.run_folder / "nbd.sock").native()}};
    const json::Object nbd{{"driver", "nbd"}, {"server", server}, {"export", "variables"}};
    add(arguments, "-blockdev",
        blockdev({{"driver", "raw"}, {"node-name", "variables"}, {"read-only", false}, {"file", nbd}}));
  } else {
    add(arguments, "-blockdev",
        blockdev({{"driver", "raw"},
                  {"node-name", "variables"},
                  {"file", json::Object{{"driver", "file"}, {"filename", config.variables.native()}}}}));
  }
  // S3 would let the guest leave SMM's locks behind at resume; no server sleeps.
  add(arguments, "-global", "driver=ICH9-LPC,property=disable_s3,value=1");
}

std::string set_name(int number) {
  return fmt::format("/dev/fdset/{}", number);
}

// "a=b,c=d" of a device.
std::string device_text(const json::Object& device) {
  std::string text(device.at("driver").as_string());
  for (const auto& [key, value] : device) {
    if (key == "driver") continue;
    text += fmt::format(",{}={}", std::string_view(key),
                        value.is_string() ? escaped(value.get_string()) : json::serialize(value));
  }
  return text;
}

// One node for each disk of the store; "disk" is the operating system's.
void add_store_disks(Arguments& arguments, const MachineConfig& config, const QemuDescriptors& descriptors) {
  int number = descriptors.first_disk;
  for (const MachineDisk& disk : store_disks(config)) {
    add(arguments, "-add-fd", fmt::format("fd={0},set={0}", number));
    if (!disk.file.image.empty()) add(arguments, "-add-fd", fmt::format("fd={0},set={0}", number + 1));
    const bool is_os_disk = config.os_disk_id == disk.id;
    const std::string node = is_os_disk ? "disk" : fmt::format("lun{}", disk.lun);
    add(arguments, "-blockdev", blockdev(disk_node(disk, node, set_name(number), set_name(number + 1))));
    number += 2;
  }
  // Also without a disk: then one can be attached while the machine runs.
  add(arguments, "-device", "virtio-scsi-pci,id=scsi1,bus=pcie.0,addr=0x6");
  for (const MachineDisk& disk : config.disks)
    add(arguments, "-device", device_text(disk_device(disk, fmt::format("lun{}", disk.lun))));
}

void add_overlay(Arguments& arguments, const MachineConfig& config) {
  const json::Object image_file{{"driver", "file"}, {"filename", config.image.native()}, {"locking", "on"}};
  // The chain is named here and ends here: a guest that rewrites its overlay's header cannot make QEMU open
  // another file.
  const json::Object image{{"driver", "qcow2"},
                           {"node-name", "image"},
                           {"read-only", true},
                           {"file", image_file},
                           {"backing", nullptr}};
  const json::Object disk_file{{"driver", "file"}, {"filename", config.disk.native()}, {"locking", "on"}};
  add(arguments, "-blockdev",
      blockdev({{"driver", "qcow2"},
                {"node-name", "disk"},
                {"file", disk_file},
                {"backing", image},
                {"discard", "unmap"}}));
}

void add_disks(Arguments& arguments, const MachineConfig& config, const QemuDescriptors& descriptors) {
  if (!config.os_disk_id) add_overlay(arguments, config);
  add_store_disks(arguments, config, descriptors);
  add(arguments, "-device",
      "virtio-blk-pci,id=disk0,drive=disk,bus=pcie.0,addr=0x3,bootindex=0,serial=bootseal-os");
  if (!config.seed.empty()) {
    const json::Object seed_file{
        {"driver", "file"}, {"filename", config.seed.native()}, {"locking", "on"}, {"read-only", true}};
    add(arguments, "-blockdev",
        blockdev({{"driver", "raw"}, {"node-name", "seed"}, {"read-only", true}, {"file", seed_file}}));
    add(arguments, "-device", "virtio-blk-pci,id=disk1,drive=seed,bus=pcie.0,addr=0x4,serial=bootseal-seed");
  }
}

void add_interfaces(Arguments& arguments, const MachineConfig& config, const QemuDescriptors& descriptors) {
  for (std::size_t i = 0; i < config.interfaces.size(); ++i) {
    const int number = static_cast<int>(i);
    // Server: when the process at the other end is replaced, QEMU 7.2 accepts the next one, where a client
    // would have lost its network for good.
    add(arguments, "-netdev",
        fmt::format("stream,id=net{},server=on,addr.type=fd,addr.str={}", number,
                    descriptors.first_interface + number));
    add(arguments, "-device",
        fmt::format("virtio-net-pci,id=nic{0},netdev=net{0},mac={1},romfile=,bus=pcie.0,addr={2:#x}", number,
                    config.interfaces[i].to_string(), 0x8 + number));
  }
}

void add_channels(Arguments& arguments, const MachineConfig& config, const QemuDescriptors& descriptors) {
  // The listening sockets are hostd's: they answer from the first moment on, and their peer credentials stay
  // hostd's.
  add(arguments, "-chardev", fmt::format("socket,id=qmp,fd={},server=on,wait=off", descriptors.qmp));
  add(arguments, "-mon", "chardev=qmp,mode=control");
  add(arguments, "-add-fd", fmt::format("fd={},set=1,opaque=serial-log", descriptors.serial_log));
  add(arguments, "-chardev",
      fmt::format("socket,id=serial,fd={},server=on,wait=off,logfile=/dev/fdset/1,logappend=on",
                  descriptors.serial));
  add(arguments, "-device", "isa-serial,id=serial0,chardev=serial,iobase=0x3f8,irq=4");
  add(arguments, "-device", "virtio-serial-pci,id=channels,bus=pcie.0,addr=0x2,max_ports=2");
  add(arguments, "-chardev", fmt::format("socket,id=agent,fd={},server=on,wait=off", descriptors.agent));
  add(arguments, "-device",
      "virtserialport,id=agent0,bus=channels.0,nr=1,chardev=agent,name=org.bootseal.agent.0");
  if (config.trusted && config.vtpm) {
    add(arguments, "-chardev",
        fmt::format("socket,id=tpm,path={}", escaped((config.run_folder / "tpm.sock").native())));
    add(arguments, "-tpmdev", "emulator,id=tpm-backend,chardev=tpm");
    add(arguments, "-device", "tpm-crb,id=tpm0,tpmdev=tpm-backend");
  }
}

struct MachineVersion {
  unsigned major = 0, minor = 0;
  auto operator<=>(const MachineVersion&) const = default;
};

// "pc-q35-7.2"; not "pc-q35-4.0.1", whose third number exists once only.
std::optional<MachineVersion> version_of(std::string_view name) {
  constexpr std::string_view kPrefix = "pc-q35-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  MachineVersion version;
  const auto [dot, major_problem] = std::from_chars(name.data(), name.data() + name.size(), version.major);
  if (major_problem != std::errc() || dot == name.data() + name.size() || *dot != '.') return std::nullopt;
  const auto [end, minor_problem] = std::from_chars(dot + 1, name.data() + name.size(), version.minor);
  if (minor_problem != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return version;
}

}  // namespace

std::string_view accelerator_name(AcceleratorKind kind) {
  return kind == AcceleratorKind::kvm ? "kvm" : "tcg";
}

std::string default_cpu_model(AcceleratorKind accelerator) {
  return accelerator == AcceleratorKind::kvm ? "host" : "Nehalem";
}

std::vector<std::string> qemu_arguments(const MachineConfig& config, AcceleratorKind accelerator,
                                        const Firmware& firmware, const QemuDescriptors& descriptors,
                                        const std::string& program) {
  Arguments arguments{program, "-nodefaults", "-no-user-config", "-S"};
  add(arguments, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  add_machine(arguments, config, accelerator);
  add_firmware(arguments, config, firmware);
  add_channels(arguments, config, descriptors);
  add_disks(arguments, config, descriptors);
  add_interfaces(arguments, config, descriptors);
  add(arguments, "-object", "rng-random,id=entropy,filename=/dev/urandom");
  add(arguments, "-device", "virtio-rng-pci,id=rng0,rng=entropy,bus=pcie.0,addr=0x5");
  add(arguments, "-display", "none");
  // No option ROM: the firmware has its own driver for it.
  add(arguments, "-device", "bochs-display,id=video0,bus=pcie.0,addr=0x1");
  add(arguments, "-vnc", fmt::format("unix:{}", escaped((config.run_folder / "own/vnc.sock").native())));
  add(arguments, "-nic", "none");
  return arguments;
}

std::vector<MachineDisk> store_disks(const MachineConfig& config) {
  std::vector<MachineDisk> disks;
  if (config.os_disk_id) disks.push_back({*config.os_disk_id, 0, false, config.os_disk});
  disks.insert(disks.end(), config.disks.begin(), config.disks.end());
  return disks;
}

json::Object disk_node(const MachineDisk& disk, std::string_view node_name, std::string_view file_name,
                       std::string_view image_name) {
  const json::Object file{
      {"driver", "file"}, {"filename", file_name}, {"locking", "on"}, {"read-only", disk.read_only}};
  json::Object node{{"driver", disk.file.raw ? "raw" : "qcow2"},
                    {"node-name", node_name},
                    {"read-only", disk.read_only},
                    {"discard", "unmap"},
                    {"file", file}};
  if (disk.file.raw) return node;
  // The chain is named here and ends here, as that of the overlay.
  node["backing"] = nullptr;
  if (!disk.file.image.empty()) {
    const json::Object image{
        {"driver", "file"}, {"filename", image_name}, {"locking", "on"}, {"read-only", true}};
    node["backing"] =
        json::Object{{"driver", "qcow2"}, {"read-only", true}, {"file", image}, {"backing", nullptr}};
  }
  return node;
}

std::string disk_device_id(const DiskId& disk) {
  return "data-" + disk.to_string();
}

json::Object disk_device(const MachineDisk& disk, std::string_view node_name) {
  // The guest finds a disk by these: the agent's udev rule names it after its LUN.
  return {{"driver", "scsi-hd"},  {"id", disk_device_id(disk.id)},
          {"bus", "scsi1.0"},     {"channel", 0},
          {"scsi-id", 0},         {"lun", disk.lun},
          {"drive", node_name},   {"serial", fmt::format("bootseal-lun{}", disk.lun)},
          {"vendor", "BOOTSEAL"}, {"product", "DATA DISK"}};
}

Result<std::string> choose_machine_type(std::string_view machine_help, std::string_view newest_known) {
  const std::optional<MachineVersion> newest = version_of(newest_known);
  BOOTSEAL_CHECK(newest.has_value());
  std::optional<MachineVersion> best;
  while (!machine_help.empty()) {
    const std::string_view line = machine_help.substr(0, machine_help.find('\n'));
    machine_help.remove_prefix(std::min(machine_help.size(), line.size() + 1));
    const std::optional<MachineVersion> version = version_of(line.substr(0, line.find(' ')));
    if (version && *version <= *newest && (!best || *best < *version)) best = version;
  }
  if (!best)
    return fail(ErrorCode::unsupported,
                fmt::format("this QEMU offers no machine type pc-q35-* up to {}; install qemu-system-x86",
                            newest_known));
  return fmt::format("pc-q35-{}.{}", best->major, best->minor);
}

std::uint64_t low_memory_bytes(std::uint64_t memory_mib) {
  // hw/i386/pc_q35.c: with 0xb0000000 bytes or more, 2 GiB lie below the hole; otherwise everything does.
  const std::uint64_t bytes = memory_mib << 20;
  return bytes >= 0xb0000000ULL ? 0x80000000ULL : bytes;
}

}  // namespace bootseal::host

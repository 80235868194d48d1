#include "bootseal/host/assignment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

namespace bootseal::host {
namespace {

constexpr std::array<std::string_view, 3> kTemplates = {"MicrosoftUefiCertificateAuthority",
                                                        "MicrosoftWindows", "None"};
constexpr std::array<std::string_view, 5> kActions = {"none", "start", "stop", "kill", "restart"};
constexpr std::uint64_t kMaximumCpus = 256;
constexpr std::uint64_t kMinimumMemoryMib = 128;
constexpr std::uint64_t kMaximumMemoryMib = std::uint64_t{4} << 20;
constexpr std::size_t kMaximumCustomData = 64 * 1024;
constexpr std::size_t kMaximumInterfaces = 8;
constexpr unsigned kMaximumLun = 63;
constexpr std::array<std::string_view, 3> kCachings = {"None", "ReadOnly", "ReadWrite"};

bool is_simple_name(std::string_view text, std::size_t maximum) {
  return !text.empty() && text.size() <= maximum && std::ranges::all_of(text, [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || letter == '.' || letter == '_' || letter == '-';
  });
}

bool is_sha256_hex(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Texts that end up in a cloud-init document: one line each.
bool is_one_line(std::string_view text) {
  return std::ranges::none_of(
      text, [](char letter) { return static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f; });
}

// Empty, or one of the methods of crypt(3) that are still safe: yescrypt, SHA-512, SHA-256, bcrypt.
bool is_password_hash(std::string_view text) {
  if (text.empty()) return true;
  constexpr std::array<std::string_view, 4> kMethods = {"$y$", "$6$", "$5$", "$2b$"};
  return text.size() <= 512 && is_one_line(text) && text.find(':') == std::string_view::npos &&
         std::ranges::any_of(kMethods, [&](std::string_view method) { return text.starts_with(method); });
}

template <std::size_t N>
Result<std::size_t> one_of(json::Reader& reader, std::string_view field,
                           const std::array<std::string_view, N>& names) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  const auto found = std::ranges::find(names, text);
  if (found == names.end())
    return reader.problem(field, fmt::format("'{}' is not one of {}", text, fmt::join(names, ", ")));
  return static_cast<std::size_t>(found - names.begin());
}

Status parse_hardware(json::Reader& reader, Assignment& assignment) {
  BOOTSEAL_TRY(json::Reader hardware, reader.object("hardware"));
  BOOTSEAL_TRY(assignment.cpus, hardware.unsigned_integer("cpus"));
  if (assignment.cpus == 0 || assignment.cpus > kMaximumCpus)
    return hardware.problem("cpus", fmt::format("{} is not between 1 and {}", assignment.cpus, kMaximumCpus));
  BOOTSEAL_TRY(assignment.memory_mib, hardware.unsigned_integer("memoryMiB"));
  if (assignment.memory_mib < kMinimumMemoryMib || assignment.memory_mib > kMaximumMemoryMib) {
    return hardware.problem("memoryMiB", fmt::format("{} is not between {} and {}", assignment.memory_mib,
                                                     kMinimumMemoryMib, kMaximumMemoryMib));
  }
  BOOTSEAL_TRY(assignment.cpu_model, hardware.string_or("cpuModel", ""));
  // It becomes a part of QEMU's command line: a model name, no properties.
  if (!assignment.cpu_model.empty() && !is_simple_name(assignment.cpu_model, 64))
    return hardware.problem("cpuModel", "a model name of [A-Za-z0-9._-] was expected");
  return hardware.no_other_fields();
}

Status parse_security(json::Reader& reader, Assignment& assignment) {
  BOOTSEAL_TRY(json::Reader security, reader.object("security"));
  constexpr std::array<std::string_view, 2> kTypes = {"TrustedLaunch", "Standard"};
  BOOTSEAL_TRY(const std::size_t type, one_of(security, "type", kTypes));
  assignment.security = type == 0 ? SecurityType::trusted_launch : SecurityType::standard;
  BOOTSEAL_TRY(assignment.secure_boot, security.boolean_or("secureBoot", assignment.trusted()));
  BOOTSEAL_TRY(assignment.vtpm, security.boolean_or("vtpm", assignment.trusted()));
  assignment.signature_template = kTemplates[0];
  if (security.has("template")) {
    BOOTSEAL_TRY(const std::size_t index, one_of(security, "template", kTemplates));
    assignment.signature_template = kTemplates[index];
  }
  if (!assignment.trusted() && (assignment.secure_boot || assignment.vtpm)) {
    return security.problem(
        "type", "a Standard virtual machine has neither Secure Boot nor a vTPM; use TrustedLaunch");
  }
  if (assignment.signature_template == kTemplates[2] && assignment.secure_boot) {
    return security.problem("template", "Secure Boot needs a template with keys, None has none");
  }
  return security.no_other_fields();
}

Status parse_os(json::Reader& reader, Assignment& assignment) {
  BOOTSEAL_TRY(std::optional<json::Reader> os, reader.optional_object("os"));
  if (!os) return {};
  BOOTSEAL_TRY(assignment.os.computer_name, os->string_or("computerName", ""));
  BOOTSEAL_TRY(assignment.os.admin_username, os->string_or("adminUsername", ""));
  if (!assignment.os.computer_name.empty() && !is_simple_name(assignment.os.computer_name, 64))
    return os->problem("computerName", "a host name was expected");
  if (!assignment.os.admin_username.empty() && !is_simple_name(assignment.os.admin_username, 64))
    return os->problem("adminUsername", "a user name was expected");
  if (os->has("sshKeys")) {
    BOOTSEAL_TRY(assignment.os.ssh_keys, os->strings("sshKeys"));
  }
  for (const std::string& key : assignment.os.ssh_keys) {
    if (key.size() > 16384 || !is_one_line(key))
      return os->problem("sshKeys", "each key is one line of at most 16384 characters");
  }
  BOOTSEAL_TRY(assignment.os.custom_data, os->string_or("customData", ""));
  if (assignment.os.custom_data.size() > kMaximumCustomData)
    return os->problem("customData", fmt::format("more than {} bytes", kMaximumCustomData));
  BOOTSEAL_TRY(assignment.os.admin_password_hash, os->string_or("adminPasswordHash", ""));
  if (!is_password_hash(assignment.os.admin_password_hash))
    return os->problem("adminPasswordHash", "a hash of crypt(3) was expected, such as $y$…, not a password");
  BOOTSEAL_TRY(assignment.os.password_authentication, os->boolean_or("passwordAuthentication", false));
  return os->no_other_fields();
}

Result<DiskId> read_disk_id(json::Reader& reader) {
  BOOTSEAL_TRY(const std::string text, reader.string("diskId"));
  const Result<DiskId> id = DiskId::parse(text);
  if (!id) return reader.problem("diskId", id.error().message);
  return *id;
}

Status parse_network(json::Reader& reader, Assignment& assignment) {
  if (!reader.has("network")) return {};
  BOOTSEAL_TRY(std::vector<json::Reader> elements, reader.objects("network"));
  if (elements.size() > kMaximumInterfaces)
    return reader.problem("network", fmt::format("more than {} interfaces", kMaximumInterfaces));
  assignment.network.emplace();
  for (json::Reader& element : elements) {
    BOOTSEAL_TRY(netd::Interface interface, netd::parse_interface(element));
    for (const netd::Interface& other : *assignment.network) {
      if (other.nic_id == interface.nic_id || other.mac == interface.mac)
        return reader.problem("network", fmt::format("two interfaces have the id {} or the MAC address {}",
                                                     interface.nic_id, interface.mac.to_string()));
    }
    assignment.network->push_back(std::move(interface));
  }
  return {};
}

Result<DataDisk> parse_data_disk(json::Reader& reader) {
  DataDisk disk;
  BOOTSEAL_TRY(disk.disk, read_disk_id(reader));
  BOOTSEAL_TRY(const std::uint64_t lun, reader.unsigned_integer("lun"));
  if (lun > kMaximumLun)
    return reader.problem("lun", fmt::format("{} is not between 0 and {}", lun, kMaximumLun));
  disk.lun = static_cast<unsigned>(lun);
  BOOTSEAL_TRY(disk.read_only, reader.boolean_or("readOnly", false));
  if (reader.has("caching")) {
    BOOTSEAL_TRY(const std::size_t caching, one_of(reader, "caching", kCachings));
    disk.caching = static_cast<Caching>(caching);
  }
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return disk;
}

Status parse_disks(json::Reader& reader, Assignment& assignment) {
  BOOTSEAL_TRY(std::optional<json::Reader> os_disk, reader.optional_object("osDisk"));
  if (os_disk) {
    BOOTSEAL_TRY(assignment.os_disk, read_disk_id(*os_disk));
    BOOTSEAL_TRY_STATUS(os_disk->no_other_fields());
  }
  if (!reader.has("disks")) return {};
  BOOTSEAL_TRY(std::vector<json::Reader> elements, reader.objects("disks"));
  assignment.disks.emplace();
  for (json::Reader& element : elements) {
    BOOTSEAL_TRY(const DataDisk disk, parse_data_disk(element));
    const bool is_os_disk = assignment.os_disk == disk.disk;
    const bool repeated = std::ranges::any_of(*assignment.disks, [&](const DataDisk& other) {
      return other.disk == disk.disk || other.lun == disk.lun;
    });
    if (is_os_disk || repeated)
      return reader.problem("disks",
                            fmt::format("disk {} or LUN {} is there twice", disk.disk.to_string(), disk.lun));
    assignment.disks->push_back(disk);
  }
  return {};
}

Status parse_image(json::Reader& reader, Assignment& assignment) {
  BOOTSEAL_TRY(std::optional<json::Reader> image, reader.optional_object("image"));
  if (!image) {
    if (assignment.os_disk) return {};
    return reader.problem("image", "a virtual machine is made from an image or has an osDisk");
  }
  BOOTSEAL_TRY(assignment.image_name, image->string_or("name", ""));
  BOOTSEAL_TRY(assignment.image_disk, image->string_or("disk", ""));
  if (assignment.os_disk && assignment.image_disk.empty()) return image->no_other_fields();
  const std::filesystem::path disk(assignment.image_disk);
  if (!disk.is_absolute() || disk.lexically_normal() != disk || !is_one_line(assignment.image_disk))
    return image->problem("disk", "an absolute path was expected");
  return image->no_other_fields();
}

json::Value disks_json(const std::vector<DataDisk>& disks) {
  json::Array array;
  for (const DataDisk& disk : disks) {
    array.push_back(json::Object{{"diskId", disk.disk.to_string()},
                                 {"lun", disk.lun},
                                 {"readOnly", disk.read_only},
                                 {"caching", kCachings[static_cast<std::size_t>(disk.caching)]}});
  }
  return array;
}

Status parse_power(json::Reader& reader, Assignment& assignment) {
  BOOTSEAL_TRY(std::optional<json::Reader> power, reader.optional_object("power"));
  if (!power) return {};
  BOOTSEAL_TRY(assignment.request_id, power->string_or("requestId", ""));
  if (assignment.request_id.size() > 128) return power->problem("requestId", "more than 128 characters");
  BOOTSEAL_TRY(const std::size_t action, one_of(*power, "action", kActions));
  assignment.action = static_cast<PowerAction>(action);
  if (assignment.action != PowerAction::none && assignment.request_id.empty())
    return power->problem("requestId", "a power request needs an id");
  return power->no_other_fields();
}

}  // namespace

std::string_view power_action_name(PowerAction action) {
  return kActions[static_cast<std::size_t>(action)];
}

std::string_view power_state_name(PowerState state) {
  constexpr std::array<std::string_view, 4> kNames = {"Stopped", "Starting", "Running", "Stopping"};
  return kNames[static_cast<std::size_t>(state)];
}

std::string_view provisioning_state_name(ProvisioningState state) {
  constexpr std::array<std::string_view, 3> kNames = {"Creating", "Succeeded", "Failed"};
  return kNames[static_cast<std::size_t>(state)];
}

std::string_view request_state_name(RequestState state) {
  constexpr std::array<std::string_view, 3> kNames = {"Running", "Succeeded", "Failed"};
  return kNames[static_cast<std::size_t>(state)];
}

Result<DiskId> DiskId::parse(std::string_view text) {
  BOOTSEAL_TRY(const Guid guid, Guid::parse(text));
  return DiskId{guid};
}

Result<Assignment> parse_assignment(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the assignment"));
  Assignment assignment;
  BOOTSEAL_TRY(const std::string id, reader.string("vmId"));
  const Result<VmId> vm = VmId::parse(id);
  if (!vm) return reader.problem("vmId", vm.error().message);
  assignment.vm = *vm;
  BOOTSEAL_TRY(assignment.name, reader.string("name"));
  if (!is_valid_resource_name(assignment.name))
    return reader.problem("name", fmt::format("'{}' is not a valid name", assignment.name.substr(0, 80)));
  BOOTSEAL_TRY(const std::uint64_t epoch, reader.unsigned_integer("epoch"));
  if (epoch == 0)
    return reader.problem("epoch", "0 means never placed; an assignment has an epoch of 1 or more");
  assignment.epoch = Epoch{epoch};
  BOOTSEAL_TRY_STATUS(parse_disks(reader, assignment));
  BOOTSEAL_TRY_STATUS(parse_image(reader, assignment));
  BOOTSEAL_TRY_STATUS(parse_network(reader, assignment));
  BOOTSEAL_TRY_STATUS(parse_hardware(reader, assignment));
  BOOTSEAL_TRY_STATUS(parse_security(reader, assignment));
  BOOTSEAL_TRY_STATUS(parse_os(reader, assignment));
  BOOTSEAL_TRY(assignment.expectation_digest, reader.string_or("expectationDigest", ""));
  if (!assignment.expectation_digest.empty() && !is_sha256_hex(assignment.expectation_digest))
    return reader.problem("expectationDigest", "64 lower-case hexadecimal digits were expected");
  BOOTSEAL_TRY_STATUS(parse_power(reader, assignment));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return assignment;
}

json::Value to_json(const Assignment& assignment) {
  json::Array keys;
  for (const std::string& key : assignment.os.ssh_keys) keys.emplace_back(key);
  json::Object hardware{{"cpus", assignment.cpus}, {"memoryMiB", assignment.memory_mib}};
  if (!assignment.cpu_model.empty()) hardware["cpuModel"] = assignment.cpu_model;
  json::Object os{{"computerName", assignment.os.computer_name},
                  {"adminUsername", assignment.os.admin_username},
                  {"sshKeys", std::move(keys)}};
  if (!assignment.os.custom_data.empty()) os["customData"] = assignment.os.custom_data;
  if (!assignment.os.admin_password_hash.empty()) os["adminPasswordHash"] = assignment.os.admin_password_hash;
  if (assignment.os.password_authentication) os["passwordAuthentication"] = true;
  json::Object object{
      {"vmId", assignment.vm.to_string()},
      {"name", assignment.name},
      {"epoch", assignment.epoch.value},
      {"image", json::Object{{"disk", assignment.image_disk}, {"name", assignment.image_name}}},
      {"hardware", std::move(hardware)},
      {"security", json::Object{{"type", assignment.trusted() ? "TrustedLaunch" : "Standard"},
                                {"secureBoot", assignment.secure_boot},
                                {"vtpm", assignment.vtpm},
                                {"template", assignment.signature_template}}},
      {"os", std::move(os)},
      {"power", json::Object{{"requestId", assignment.request_id},
                             {"action", kActions[static_cast<std::size_t>(assignment.action)]}}},
  };
  if (assignment.network) {
    json::Array interfaces;
    for (const netd::Interface& interface : *assignment.network)
      interfaces.push_back(netd::to_json(interface));
    object["network"] = std::move(interfaces);
  }
  if (assignment.disks) object["disks"] = disks_json(*assignment.disks);
  if (assignment.os_disk) object["osDisk"] = json::Object{{"diskId", assignment.os_disk->to_string()}};
  if (!assignment.expectation_digest.empty()) object["expectationDigest"] = assignment.expectation_digest;
  return object;
}

json::Value error_json(const Error& error) {
  return json::Object{{"code", error_info(error.code).name}, {"message", error.describe()}};
}

Result<Error> error_from_json(json::Reader& reader) {
  BOOTSEAL_TRY(const std::string code, reader.string("code"));
  BOOTSEAL_TRY(std::string message, reader.string("message"));
  return Error{error_code_from_name(code), std::move(message), nullptr};
}

}  // namespace bootseal::host

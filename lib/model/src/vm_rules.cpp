#include "vm_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bootseal/model/resource_type.h"
#include "bootseal/model/virtual_machine.h"
#include "bootseal/model/vm_size.h"

namespace bootseal::model {
namespace {

constexpr std::size_t kMaximumCustomData = 87380;  // characters of base64: 64 KiB

bool same_location(std::string_view a) {
  std::string plain;
  std::copy_if(a.begin(), a.end(), std::back_inserter(plain), [](char c) { return c != ' '; });
  return equal_ignoring_case(plain, kLocation);
}

ArmStatus check_computer_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), allowed) ||
      name.front() == '-' || name.front() == '.' || name.back() == '-' || name.back() == '.') {
    return invalid_parameter("computerName",
                             "Linux host name must have 1 to 64 letters, digits, hyphens and periods, and "
                             "begin and end with a letter or a digit.");
  }
  return {};
}

ArmStatus check_admin_username(const std::string& name) {
  static constexpr std::array kReserved = {"root", "admin",  "administrator", "daemon", "bin",
                                           "sys",  "nobody", "guest",         "console"};
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  const bool begins_well =
      !name.empty() && ((name.front() >= 'a' && name.front() <= 'z') ||
                        (name.front() >= 'A' && name.front() <= 'Z') || name.front() == '_');
  if (!begins_well || name.size() > 64 || !std::all_of(name.begin(), name.end(), allowed)) {
    return invalid_parameter("adminUsername",
                             "The Admin Username must have 1 to 64 letters, digits, '-', '_' and '.', and "
                             "begin with a letter or '_'.");
  }
  if (std::any_of(kReserved.begin(), kReserved.end(),
                  [&](const char* reserved) { return equal_ignoring_case(name, reserved); })) {
    return invalid_parameter(
        "adminUsername", fmt::format("The Admin Username specified is not allowed: '{}' is reserved.", name));
  }
  return {};
}

ArmStatus check_admin_password(const json::Object& os, const std::string& password) {
  // Azure's list of what everybody tries first.
  static constexpr std::array kKnown = {"abc@123",    "P@$$w0rd",  "P@ssw0rd",  "P@ssword123", "Pa$$word",
                                        "pass@word1", "Password!", "Password1", "Password22",  "iloveyou!"};
  const auto has = [&](auto is) { return std::any_of(password.begin(), password.end(), is); };
  const bool control = has([](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  const auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto special = [&](char c) { return !upper(c) && !lower(c) && !digit(c); };
  const int kinds = int{has(upper)} + int{has(lower)} + int{has(digit)} + int{has(special)};
  if (password.size() < 6 || password.size() > 72 || control || kinds < 3) {
    return invalid_parameter(
        "adminPassword",
        "The supplied password must be between 6-72 characters long and must satisfy at least 3 of password "
        "complexity requirements from the following:\r\n1) Contains an uppercase character\r\n2) Contains a "
        "lowercase character\r\n3) Contains a numeric digit\r\n4) Contains a special character\r\n5) Control "
        "characters are not allowed");
  }
  if (std::find(kKnown.begin(), kKnown.end(), password) != kKnown.end())
    return invalid_parameter("adminPassword", "The value provided for adminPassword is not allowed.");
  if (member_text(&os, "adminUsername").empty())
    return invalid_parameter("adminUsername", "Required parameter 'adminUsername' is missing (null).");
  return {};
}

ArmStatus check_ssh_keys(const json::Object& os) {
  const json::Object* linux_part = member_object(os, "linuxConfiguration");
  const json::Object* ssh = linux_part == nullptr ? nullptr : member_object(*linux_part, "ssh");
  const json::Value* keys = ssh == nullptr ? nullptr : ssh->if_contains("publicKeys");
  if (keys == nullptr) return {};
  for (const json::Value& entry : keys->get_array()) {
    std::string text = member_text(&entry.get_object(), "keyData");
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    const bool known = text.starts_with("ssh-") || text.starts_with("ecdsa-sha2-") || text.starts_with("sk-");
    const bool one_line = std::all_of(
        text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
    if (!known || !one_line || text.find(' ') == std::string::npos) {
      return invalid_parameter("linuxConfiguration.ssh.publicKeys.keyData",
                               "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid: "
                               "wanted one OpenSSH public key on one "
                               "line ('ssh-ed25519 AAAA…').");
    }
  }
  return {};
}

ArmStatus check_custom_data(const std::string& data) {
  if (data.empty()) return {};
  const auto decoded = data.size() <= kMaximumCustomData ? from_base64(data) : Result<Bytes>(Bytes());
  if (data.size() > kMaximumCustomData || !decoded) {
    return invalid_parameter(
        "customData",
        "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.");
  }
  if (!json::parse(json::serialize(json::Value(std::string(as_text(*decoded)))))) {
    return invalid_parameter("customData",
                             "Custom data must be text in UTF-8 (cloud-init user data), not compressed.");
  }
  return {};
}

}  // namespace

const json::Object* member_object(const json::Object& object, std::string_view name) {
  const json::Value* found = object.if_contains(name);
  return found == nullptr ? nullptr : found->if_object();
}

std::string member_text(const json::Object* object, std::string_view name) {
  if (object == nullptr) return {};
  const json::Value* found = object->if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

json::Object& make_object(json::Object& object, std::string_view name) {
  json::Value& member = object[name];
  if (!member.is_object()) member = json::Object();
  return member.get_object();
}

ArmStatus check_envelope(const json::Object& body) {
  const json::Object* tags = member_object(body, "tags");
  return tags == nullptr ? ArmStatus() : check_tags(*tags);
}

ArmStatus check_location(const json::Object& body) {
  const std::string location = member_text(&body, "location");
  if (location.empty())
    return refuse(400, "LocationRequired", "The location property is required for this definition.",
                  "location");
  if (!same_location(location)) {
    return refuse(400, "LocationNotAvailableForResourceType",
                  fmt::format("The provided location '{}' is not available for resource type '{}'. List of "
                              "available regions for the "
                              "resource type is '{}'.",
                              location, kVirtualMachineType, kLocation),
                  "location");
  }
  return {};
}

ArmResult<std::string> check_size(const std::string& name) {
  if (name.empty()) return invalid_parameter("vmSize", "Required parameter 'vmSize' is missing (null).");
  const VmSize* size = find_vm_size(name);
  if (size != nullptr) return std::string(size->name);
  std::string offered;
  for (const VmSize& one : vm_sizes()) offered += fmt::format("{}{}", offered.empty() ? "" : ",", one.name);
  return invalid_parameter("vmSize", fmt::format("The value {} provided for the VM size is not valid. The "
                                                 "valid sizes in the current region are: {}.",
                                                 name, offered));
}

ArmStatus check_storage(const json::Object& properties, bool is_new) {
  const json::Object* storage = member_object(properties, "storageProfile");
  if (storage == nullptr) {
    if (is_new)
      return invalid_parameter("storageProfile", "Required parameter 'storageProfile' is missing (null).");
    return {};
  }
  if (const json::Value* disks = storage->if_contains("dataDisks");
      disks != nullptr && !disks->get_array().empty()) {
    return refuse(400, "OperationNotAllowed",
                  "Data disks are not supported here; leave dataDisks empty, or put the data on the OS disk.",
                  "storageProfile.dataDisks");
  }
  if (const json::Object* disk = member_object(*storage, "osDisk")) {
    const std::string option = member_text(disk, "createOption");
    if (!option.empty() && option != "FromImage") {
      return refuse(400, "OperationNotAllowed",
                    fmt::format("The OS disk's createOption '{}' is not supported here; use 'FromImage' with "
                                "an imageReference.",
                                option),
                    "storageProfile.osDisk.createOption");
    }
    if (member_text(disk, "osType") == "Windows") {
      return refuse(400, "OperationNotAllowed",
                    "Windows VMs are not supported here; use an image of osType 'Linux'.",
                    "storageProfile.osDisk.osType");
    }
    if (disk->contains("diffDiskSettings") || disk->contains("encryptionSettings") || disk->contains("vhd") ||
        disk->contains("image")) {
      return refuse(400, "OperationNotAllowed",
                    "Ephemeral, unmanaged and guest-encrypted OS disks are not supported here; leave "
                    "diffDiskSettings, encryptionSettings, vhd "
                    "and image out.",
                    "storageProfile.osDisk");
    }
    if (disk->contains("diskSizeGB") && is_new) {
      return refuse(400, "OperationNotAllowed",
                    "The OS disk has the size of its image here; leave diskSizeGB out.",
                    "storageProfile.osDisk.diskSizeGB");
    }
  }
  const json::Object* image = member_object(*storage, "imageReference");
  if (is_new &&
      (image == nullptr || (member_text(image, "id").empty() && member_text(image, "offer").empty()))) {
    return invalid_parameter("imageReference",
                             "Required parameter 'imageReference' is missing (null): give an id, or an offer "
                             "that names an image.");
  }
  return {};
}

ArmStatus check_network(json::Object& properties) {
  json::Value* profile = properties.if_contains("networkProfile");
  if (profile == nullptr) return {};
  json::Object& network = profile->get_object();
  if (network.contains("networkInterfaceConfigurations")) {
    return refuse(400, "OperationNotAllowed",
                  "Network interfaces that are made with the VM are not supported here; make the network "
                  "interface first and give its id in networkInterfaces.",
                  "networkProfile.networkInterfaceConfigurations");
  }
  json::Value* list = network.if_contains("networkInterfaces");
  if (list == nullptr) return {};
  std::vector<std::string> ids;
  std::size_t primaries = 0;
  json::Array& interfaces = list->get_array();
  for (json::Value& value : interfaces) {
    json::Object& more = make_object(value.get_object(), "properties");
    if (!more.contains("primary")) more["primary"] = interfaces.size() == 1;
    if (more["primary"].get_bool()) ++primaries;
    std::string id = to_lower(member_text(&value.get_object(), "id"));
    if (std::find(ids.begin(), ids.end(), id) != ids.end()) {
      return invalid_parameter("networkProfile.networkInterfaces",
                               fmt::format("The network interface '{}' is given twice.", id));
    }
    ids.push_back(std::move(id));
  }
  if (interfaces.empty() || primaries == 1) return {};
  return refuse(400, "VirtualMachineMustHaveOneNetworkInterfaceAsPrimary",
                fmt::format("The virtual machine has {} network interfaces set as the primary; set 'primary' "
                            "of exactly one of them.",
                            primaries),
                "networkProfile.networkInterfaces");
}

ArmStatus check_os_profile(json::Object& properties, const ResourceId& id) {
  json::Object& os = make_object(properties, "osProfile");
  if (os.contains("adminPassword"))
    BOOTSEAL_ARM_TRY_STATUS(check_admin_password(os, member_text(&os, "adminPassword")));
  if (os.contains("windowsConfiguration")) {
    return refuse(400, "OperationNotAllowed",
                  "Windows VMs are not supported here; leave windowsConfiguration out.",
                  "osProfile.windowsConfiguration");
  }
  if (!os.contains("computerName")) os["computerName"] = id.name;
  BOOTSEAL_ARM_TRY_STATUS(check_computer_name(member_text(&os, "computerName")));
  if (os.contains("adminUsername"))
    BOOTSEAL_ARM_TRY_STATUS(check_admin_username(member_text(&os, "adminUsername")));
  BOOTSEAL_ARM_TRY_STATUS(check_ssh_keys(os));
  return check_custom_data(member_text(&os, "customData"));
}

}  // namespace bootseal::model

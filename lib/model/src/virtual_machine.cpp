#include "bootseal/model/virtual_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bootseal/model/vm_size.h"

namespace bootseal::model {
namespace {

constexpr std::size_t kMaximumTags = 50;
constexpr std::size_t kMaximumCustomData = 87380;  // characters of base64: 64 KiB

const json::Object* member_object(const json::Object& object, std::string_view name) {
  const json::Value* found = object.if_contains(name);
  return found == nullptr ? nullptr : found->if_object();
}

std::string member_text(const json::Object* object, std::string_view name) {
  if (object == nullptr) return {};
  const json::Value* found = object->if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

// The member object, made when it is not there.
json::Object& make_object(json::Object& object, std::string_view name) {
  json::Value& member = object[name];
  if (!member.is_object()) member = json::Object();
  return member.get_object();
}

tl::unexpected<ArmError> change_refused(std::string property, std::string_view way_out) {
  return refuse(409, "PropertyChangeNotAllowed",
                fmt::format("Changing property '{}' is not allowed. {}", property, way_out), property);
}

bool same_location(std::string_view a) {
  std::string plain;
  std::copy_if(a.begin(), a.end(), std::back_inserter(plain), [](char c) { return c != ' '; });
  return equal_ignoring_case(plain, kLocation);
}

ArmStatus check_envelope(const json::Object& body) {
  if (const json::Object* tags = member_object(body, "tags")) {
    if (tags->size() > kMaximumTags) {
      return invalid_parameter("tags", fmt::format("The resource has {} tags, at most {} are allowed.",
                                                   tags->size(), kMaximumTags));
    }
    for (const auto& [name, value] : *tags) {
      if (name.empty() || name.size() > 512)
        return invalid_parameter("tags", "The name of a tag must have 1 to 512 characters.");
    }
  }
  return {};
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

ArmStatus check_os_profile(json::Object& properties, const ResourceId& id) {
  json::Object& os = make_object(properties, "osProfile");
  if (os.contains("adminPassword")) {
    return refuse(
        400, "OperationNotAllowed",
        "Passwords are not supported here; give SSH public keys (linuxConfiguration.ssh.publicKeys).",
        "osProfile.adminPassword");
  }
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

// The profile that results from what was asked and, on an update, from what is there.
ArmResult<SecurityProfile> resolve_security(const json::Object* asked,
                                            const std::optional<SecurityProfile>& existing) {
  if (asked == nullptr) return existing.value_or(SecurityProfile{});
  for (const char* unsupported : {"encryptionIdentity", "proxyAgentSettings"}) {
    if (asked->contains(unsupported)) {
      return refuse(400, "OperationNotAllowed",
                    fmt::format("'{}' is not supported here; leave it out.", unsupported),
                    fmt::format("securityProfile.{}", unsupported));
    }
  }
  if (const json::Value* encryption = asked->if_contains("encryptionAtHost");
      encryption != nullptr && encryption->get_bool()) {
    return refuse(
        400, "OperationNotAllowed",
        "Encryption at host is not supported here; leave 'encryptionAtHost' out or set it to false.",
        "securityProfile.encryptionAtHost");
  }
  const std::string type = member_text(asked, "securityType");
  const json::Object* uefi = member_object(*asked, "uefiSettings");
  if (type == "ConfidentialVM") {
    return invalid_parameter("securityProfile.securityType",
                             "The security type 'ConfidentialVM' is not supported by the hosts of this site. "
                             "Use 'TrustedLaunch' or 'Standard'.");
  }
  if (type.empty() && uefi != nullptr && !existing) {
    return invalid_parameter("securityProfile.uefiSettings",
                             "The property 'securityProfile.uefiSettings' is only valid together with "
                             "'securityProfile.securityType'. Set "
                             "securityType to 'TrustedLaunch'.");
  }
  SecurityProfile result = existing.value_or(SecurityProfile{});
  if (!type.empty()) {
    result.type =
        type == to_string(SecurityType::standard) ? SecurityType::standard : SecurityType::trusted_launch;
    if (existing && existing->type != result.type) {
      return change_refused("securityProfile.securityType",
                            "The vTPM and the guest state belong to the security type; make a new VM.");
    }
  }
  if (result.type == SecurityType::standard) {
    if (uefi != nullptr && !uefi->empty()) {
      return invalid_parameter("securityProfile.uefiSettings",
                               "The property 'securityProfile.uefiSettings' is not valid with securityType "
                               "'Standard'. Remove it, or set securityType to "
                               "'TrustedLaunch'.");
    }
    return SecurityProfile{SecurityType::standard, false, false};
  }
  if (uefi != nullptr) {
    if (const json::Value* value = uefi->if_contains("secureBootEnabled"))
      result.secure_boot = value->get_bool();
    if (const json::Value* value = uefi->if_contains("vTpmEnabled")) result.vtpm = value->get_bool();
  }
  if (existing && existing->vtpm != result.vtpm) {
    return change_refused("securityProfile.uefiSettings.vTpmEnabled",
                          "The vTPM is made with the VM and goes with it; make a new VM.");
  }
  if (existing && existing->secure_boot != result.secure_boot) {
    return change_refused("securityProfile.uefiSettings.secureBootEnabled",
                          "The signature databases and the Secure Boot switch are sealed into the guest "
                          "state when the VM is made; make a new VM.");
  }
  return result;
}

void store_security(json::Object& properties, const SecurityProfile& profile) {
  json::Object object;
  object["securityType"] = to_string(profile.type);
  if (profile.type == SecurityType::trusted_launch) {
    json::Object uefi;
    uefi["secureBootEnabled"] = profile.secure_boot;
    uefi["vTpmEnabled"] = profile.vtpm;
    object["uefiSettings"] = std::move(uefi);
  }
  properties["securityProfile"] = std::move(object);
}

ArmResult<std::optional<SecurityProfile>> security_of(const json::Object* existing) {
  if (existing == nullptr) return std::optional<SecurityProfile>();
  BOOTSEAL_ARM_TRY(const VmSpec spec, spec_of(*existing));
  return std::optional<SecurityProfile>(spec.security);
}

ArmStatus keep_image(json::Object& properties, const json::Object& existing_properties) {
  const json::Object* old_storage = member_object(existing_properties, "storageProfile");
  json::Object& storage = make_object(properties, "storageProfile");
  const json::Object* old_image = member_object(*old_storage, "imageReference");
  if (const json::Object* image = member_object(storage, "imageReference")) {
    for (const char* part : {"id", "publisher", "offer", "sku", "version"}) {
      if (!equal_ignoring_case(member_text(image, part), member_text(old_image, part))) {
        return change_refused("imageReference",
                              "The OS disk was made from its image; make a new VM for another image.");
      }
    }
  }
  storage = *old_storage;
  return {};
}

ArmStatus keep_os_profile(json::Object& properties, const json::Object& existing_properties) {
  const json::Object* old_os = member_object(existing_properties, "osProfile");
  if (const json::Object* os = member_object(properties, "osProfile")) {
    for (const char* fixed : {"computerName", "adminUsername", "customData", "adminPassword"}) {
      if (os->contains(fixed) && member_text(os, fixed) != member_text(old_os, fixed)) {
        return change_refused(fmt::format("osProfile.{}", fixed),
                              "It was handed to the guest at its first start.");
      }
    }
  }
  properties["osProfile"] = *old_os;
  return {};
}

}  // namespace

std::string_view to_string(SecurityType type) {
  return type == SecurityType::trusted_launch ? "TrustedLaunch" : "Standard";
}

std::string ImageReference::image_name() const {
  const std::string suffix = version.empty() || equal_ignoring_case(version, "latest") ? "" : ":" + version;
  if (id.empty()) return offer + suffix;
  // …/images/NAME, …/images/NAME/versions/VERSION, or NAME[:VERSION] alone.
  std::string_view rest = id;
  while (rest.ends_with('/')) rest.remove_suffix(1);
  const std::string last(rest.substr(rest.rfind('/') + 1));
  if (rest.find('/') == std::string_view::npos) return last;
  rest = rest.substr(0, rest.rfind('/'));
  if (!equal_ignoring_case(rest.substr(rest.rfind('/') + 1), "versions")) return last;
  rest = rest.substr(0, rest.rfind('/'));
  return fmt::format("{}:{}", rest.substr(rest.rfind('/') + 1), last);
}

std::string ImageReference::describe() const {
  if (!id.empty()) return id;
  if (publisher.empty() && sku.empty()) return image_name();
  return fmt::format("{}:{}:{}:{}", publisher, offer, sku, version);
}

ArmResult<json::Object> desired_from_put(const json::Value& body, const ResourceId& id,
                                         const json::Object* existing) {
  BOOTSEAL_ARM_TRY(json::Value conformed, conform(*virtual_machine_schema(), body));
  json::Object& desired = conformed.get_object();
  BOOTSEAL_ARM_TRY_STATUS(check_envelope(desired));
  BOOTSEAL_ARM_TRY_STATUS(check_location(desired));
  desired["location"] = kLocation;
  json::Object& properties = make_object(desired, "properties");
  BOOTSEAL_ARM_TRY_STATUS(check_storage(properties, existing == nullptr));

  const json::Object* hardware = member_object(properties, "hardwareProfile");
  std::string size = member_text(hardware, "vmSize");
  if (existing != nullptr) {
    const json::Object& old = existing->at("properties").get_object();
    if (size.empty()) size = member_text(member_object(old, "hardwareProfile"), "vmSize");
    BOOTSEAL_ARM_TRY_STATUS(keep_image(properties, old));
    BOOTSEAL_ARM_TRY_STATUS(keep_os_profile(properties, old));
  } else {
    BOOTSEAL_ARM_TRY_STATUS(check_os_profile(properties, id));
  }
  BOOTSEAL_ARM_TRY(const std::string canonical_size, check_size(size));
  make_object(properties, "hardwareProfile")["vmSize"] = canonical_size;

  BOOTSEAL_ARM_TRY(const auto old_security, security_of(existing));
  BOOTSEAL_ARM_TRY(const SecurityProfile security,
                   resolve_security(member_object(properties, "securityProfile"), old_security));
  store_security(properties, security);
  return std::move(desired);
}

ArmResult<json::Object> desired_from_patch(const json::Value& body, const ResourceId& /*id*/,
                                           const json::Object& existing) {
  BOOTSEAL_ARM_TRY(const json::Value conformed, conform(*virtual_machine_update_schema(), body));
  const json::Object& patch = conformed.get_object();
  BOOTSEAL_ARM_TRY_STATUS(check_envelope(patch));
  json::Object desired = existing;
  for (const char* replaced : {"tags", "identity"}) {
    if (const json::Value* value = patch.if_contains(replaced)) desired[replaced] = *value;
  }
  const json::Object* asked = member_object(patch, "properties");
  if (asked == nullptr) return desired;
  json::Object& properties = desired.at("properties").get_object();
  if (const json::Value* diagnostics = asked->if_contains("diagnosticsProfile"))
    properties["diagnosticsProfile"] = *diagnostics;
  if (const json::Object* hardware = member_object(*asked, "hardwareProfile")) {
    BOOTSEAL_ARM_TRY(const std::string size, check_size(member_text(hardware, "vmSize")));
    make_object(properties, "hardwareProfile")["vmSize"] = size;
  }
  if (const json::Object* security = member_object(*asked, "securityProfile")) {
    BOOTSEAL_ARM_TRY(const auto old_security, security_of(&existing));
    BOOTSEAL_ARM_TRY(const SecurityProfile resolved, resolve_security(security, old_security));
    store_security(properties, resolved);
  }
  return desired;
}

Result<VmSpec> spec_of(const json::Object& desired) {
  const json::Value document = desired;
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "the stored virtual machine"));
  BOOTSEAL_TRY(json::Reader properties, reader.object("properties"));
  BOOTSEAL_TRY(json::Reader hardware, properties.object("hardwareProfile"));
  BOOTSEAL_TRY(json::Reader storage, properties.object("storageProfile"));
  BOOTSEAL_TRY(json::Reader image, storage.object("imageReference"));
  BOOTSEAL_TRY(json::Reader os, properties.object("osProfile"));
  BOOTSEAL_TRY(json::Reader security, properties.object("securityProfile"));
  VmSpec spec;
  BOOTSEAL_TRY(spec.size, hardware.string("vmSize"));
  BOOTSEAL_TRY(spec.image.id, image.string_or("id", ""));
  BOOTSEAL_TRY(spec.image.publisher, image.string_or("publisher", ""));
  BOOTSEAL_TRY(spec.image.offer, image.string_or("offer", ""));
  BOOTSEAL_TRY(spec.image.sku, image.string_or("sku", ""));
  BOOTSEAL_TRY(spec.image.version, image.string_or("version", ""));
  BOOTSEAL_TRY(spec.computer_name, os.string("computerName"));
  BOOTSEAL_TRY(spec.admin_username, os.string_or("adminUsername", ""));
  if (os.has("customData")) {
    BOOTSEAL_TRY(const Bytes data, os.base64("customData"));
    spec.custom_data = as_text(data);
  }
  BOOTSEAL_TRY(auto linux_part, os.optional_object("linuxConfiguration"));
  if (linux_part) {
    BOOTSEAL_TRY(auto ssh, linux_part->optional_object("ssh"));
    if (ssh && ssh->has("publicKeys")) {
      BOOTSEAL_TRY(auto keys, ssh->objects("publicKeys"));
      for (json::Reader& key : keys) {
        BOOTSEAL_TRY(std::string text, key.string("keyData"));
        while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
        spec.ssh_keys.push_back(std::move(text));
      }
    }
  }
  BOOTSEAL_TRY(const std::string type, security.string("securityType"));
  if (type == to_string(SecurityType::standard)) {
    spec.security = {SecurityType::standard, false, false};
    return spec;
  }
  BOOTSEAL_TRY(json::Reader uefi, security.object("uefiSettings"));
  BOOTSEAL_TRY(spec.security.secure_boot, uefi.boolean("secureBootEnabled"));
  BOOTSEAL_TRY(spec.security.vtpm, uefi.boolean("vTpmEnabled"));
  return spec;
}

json::Object resource_json(const json::Object& desired, const VmFacts& facts) {
  json::Object resource;
  resource["id"] = facts.id.to_string();
  resource["name"] = facts.id.name;
  resource["type"] = kVirtualMachineType;
  resource["location"] = desired.at("location");
  const json::Value* tags = desired.if_contains("tags");
  resource["tags"] = tags != nullptr ? *tags : json::Value(json::Object());
  for (const char* kept : {"identity", "zones", "plan"}) {
    if (const json::Value* value = desired.if_contains(kept)) resource[kept] = *value;
  }
  resource["etag"] = facts.etag;

  json::Object properties = desired.at("properties").get_object();
  properties["vmId"] = facts.vm_id.to_string();
  properties["timeCreated"] = format_time(facts.time_created);
  properties["provisioningState"] = facts.provisioning_state;
  json::Object& os = make_object(properties, "osProfile");
  os.erase("customData");
  if (!os.contains("secrets")) os["secrets"] = json::Array();
  if (!os.contains("allowExtensionOperations")) os["allowExtensionOperations"] = true;
  json::Object& storage = make_object(properties, "storageProfile");
  if (!facts.image_version.empty())
    make_object(storage, "imageReference")["exactVersion"] = facts.image_version;
  json::Object& disk = make_object(storage, "osDisk");
  disk["osType"] = "Linux";
  if (!disk.contains("name")) disk["name"] = fmt::format("{}_OsDisk", facts.id.name);
  disk["createOption"] = "FromImage";
  if (!disk.contains("caching")) disk["caching"] = "ReadWrite";
  if (!storage.contains("dataDisks")) storage["dataDisks"] = json::Array();
  resource["properties"] = std::move(properties);
  return resource;
}

}  // namespace bootseal::model

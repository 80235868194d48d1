#include "bootseal/model/virtual_machine.h"

#include <fmt/format.h>

#include "vm_rules.h"

namespace bootseal::model {
namespace {

tl::unexpected<ArmError> change_refused(std::string property, std::string_view way_out) {
  return refuse(409, "PropertyChangeNotAllowed",
                fmt::format("Changing property '{}' is not allowed. {}", property, way_out), property);
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
    for (const char* fixed : {"computerName", "adminUsername", "customData"}) {
      if (os->contains(fixed) && member_text(os, fixed) != member_text(old_os, fixed)) {
        return change_refused(fmt::format("osProfile.{}", fixed),
                              "It was handed to the guest at its first start.");
      }
    }
  }
  const std::string password = member_text(member_object(properties, "osProfile"), "adminPassword");
  properties["osProfile"] = *old_os;
  if (!password.empty()) make_object(properties, "osProfile")["adminPassword"] = password;
  return {};
}

void keep_network(json::Object& properties, const json::Object& existing_properties) {
  const json::Value* old = existing_properties.if_contains("networkProfile");
  if (old != nullptr && !properties.contains("networkProfile")) properties["networkProfile"] = *old;
}

Result<std::vector<InterfaceReference>> interfaces_of(json::Reader& network) {
  std::vector<InterfaceReference> interfaces;
  if (!network.has("networkInterfaces")) return interfaces;
  BOOTSEAL_TRY(auto list, network.objects("networkInterfaces"));
  for (json::Reader& one : list) {
    InterfaceReference interface;
    BOOTSEAL_TRY(interface.id, one.string("id"));
    BOOTSEAL_TRY(auto more, one.optional_object("properties"));
    if (more) {
      BOOTSEAL_TRY(interface.primary, more->boolean_or("primary", list.size() == 1));
    } else {
      interface.primary = list.size() == 1;
    }
    interfaces.push_back(std::move(interface));
  }
  return interfaces;
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
    keep_network(properties, old);
  } else {
    BOOTSEAL_ARM_TRY_STATUS(check_os_profile(properties, id));
  }
  BOOTSEAL_ARM_TRY_STATUS(check_network(properties));
  BOOTSEAL_ARM_TRY(const std::string canonical_size, check_size(size));
  make_object(properties, "hardwareProfile")["vmSize"] = canonical_size;

  BOOTSEAL_ARM_TRY(const auto old_security, security_of(existing));
  BOOTSEAL_ARM_TRY(const SecurityProfile security,
                   resolve_security(member_object(properties, "securityProfile"), old_security));
  store_security(properties, security);
  return std::move(desired);
}

std::string take_password(json::Object& desired) {
  json::Object& os = make_object(make_object(desired, "properties"), "osProfile");
  std::string password = member_text(&os, "adminPassword");
  os.erase("adminPassword");
  return password;
}

std::string password_hash_of(const json::Object& desired) {
  const json::Object* properties = member_object(desired, "properties");
  return properties == nullptr ? std::string()
                               : member_text(member_object(*properties, "osProfile"), "adminPasswordHash");
}

void set_password_hash(json::Object& desired, std::string hash) {
  make_object(make_object(desired, "properties"), "osProfile")["adminPasswordHash"] = std::move(hash);
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
  BOOTSEAL_TRY(spec.admin_password_hash, os.string_or("adminPasswordHash", ""));
  spec.password_authentication = !spec.admin_password_hash.empty();
  BOOTSEAL_TRY(auto network, properties.optional_object("networkProfile"));
  if (network) {
    BOOTSEAL_TRY(spec.interfaces, interfaces_of(*network));
  }
  BOOTSEAL_TRY(auto linux_part, os.optional_object("linuxConfiguration"));
  if (linux_part) {
    BOOTSEAL_TRY(const bool keys_only, linux_part->boolean_or("disablePasswordAuthentication", false));
    spec.password_authentication = spec.password_authentication && !keys_only;
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
  for (const char* write_only : {"customData", "adminPassword", "adminPasswordHash"}) os.erase(write_only);
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

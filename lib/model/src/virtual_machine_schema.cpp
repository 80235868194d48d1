// Microsoft.Compute/virtualMachines as of api-version 2026-03-01, as far as clients of this server send it.
#include "bootseal/model/virtual_machine.h"

namespace bootseal::model {
namespace {

constexpr std::size_t kMaximumTags = 50;
constexpr std::size_t kMaximumKeys = 64;
constexpr std::size_t kMaximumKeySize = 16384;
constexpr std::size_t kMaximumText = 1024;
constexpr std::size_t kMaximumInterfaces = 8;

SchemaRef text() {
  return string_schema(kMaximumText);
}

SchemaRef image_reference() {
  return object_schema("ImageReference",
                       {{"id", text(), false, false, "An image version, definition or managed image"},
                        {"publisher", text()},
                        {"offer", text(), false, false, "Names an image of this site when it stands alone"},
                        {"sku", text()},
                        {"version", text()},
                        {"exactVersion", text(), false, true},
                        {"sharedGalleryImageId", text()},
                        {"communityGalleryImageId", text()}});
}

SchemaRef managed_disk() {
  return object_schema("ManagedDiskParameters", {{"id", text()},
                                                 {"storageAccountType", text()},
                                                 {"diskEncryptionSet", any_schema()},
                                                 {"securityProfile", any_schema()}});
}

SchemaRef os_disk() {
  return object_schema("OSDisk",
                       {{"osType", enum_schema({"Linux", "Windows"})},
                        {"name", text()},
                        {"caching", enum_schema({"None", "ReadOnly", "ReadWrite"})},
                        {"createOption", enum_schema({"FromImage", "Empty", "Attach", "Copy", "Restore"})},
                        {"diskSizeGB", integer_schema()},
                        {"deleteOption", enum_schema({"Delete", "Detach"})},
                        {"managedDisk", managed_disk()},
                        {"encryptionSettings", any_schema()},
                        {"diffDiskSettings", any_schema()},
                        {"image", any_schema()},
                        {"vhd", any_schema()},
                        {"writeAcceleratorEnabled", boolean_schema()}});
}

SchemaRef storage_profile() {
  return object_schema("StorageProfile", {{"imageReference", image_reference()},
                                          {"osDisk", os_disk()},
                                          {"dataDisks", array_schema(any_schema(), 64)},
                                          {"diskControllerType", enum_schema({"SCSI", "NVMe"})},
                                          {"alignRegionalDisksToVMZone", boolean_schema()}});
}

SchemaRef linux_configuration() {
  const SchemaRef key =
      object_schema("SshPublicKey", {{"path", text()}, {"keyData", string_schema(kMaximumKeySize)}});
  const SchemaRef ssh = object_schema("SshConfiguration", {{"publicKeys", array_schema(key, kMaximumKeys)}});
  return object_schema("LinuxConfiguration", {{"disablePasswordAuthentication", boolean_schema()},
                                              {"ssh", ssh},
                                              {"provisionVMAgent", boolean_schema()},
                                              {"patchSettings", any_schema()},
                                              {"enableVMAgentPlatformUpdates", boolean_schema()}});
}

SchemaRef os_profile() {
  return object_schema("OSProfile",
                       {{"computerName", text()},
                        {"adminUsername", text()},
                        {"adminPassword", text(), false, false, "Stored as a hash; never answered"},
                        {"customData", string_schema(131072), false, false, "Base64; never answered"},
                        {"linuxConfiguration", linux_configuration()},
                        {"windowsConfiguration", any_schema()},
                        {"secrets", any_schema()},
                        {"allowExtensionOperations", boolean_schema()},
                        {"requireGuestProvisionSignal", boolean_schema()}});
}

SchemaRef network_profile() {
  const SchemaRef properties =
      object_schema("NetworkInterfaceReferenceProperties",
                    {{"primary", boolean_schema()}, {"deleteOption", enum_schema({"Delete", "Detach"})}});
  const SchemaRef interface = object_schema("NetworkInterfaceReference",
                                            {{"id", string_schema(2048), true}, {"properties", properties}});
  return object_schema("NetworkProfile", {{"networkInterfaces", array_schema(interface, kMaximumInterfaces)},
                                          {"networkApiVersion", text()},
                                          {"networkInterfaceConfigurations", any_schema()}});
}

SchemaRef security_profile() {
  const SchemaRef uefi = object_schema(
      "UefiSettings",
      {{"secureBootEnabled", boolean_schema(), false, false, "Default with TrustedLaunch: true"},
       {"vTpmEnabled", boolean_schema(), false, false, "Default with TrustedLaunch: true"}});
  return object_schema("SecurityProfile",
                       {{"securityType", enum_schema({"TrustedLaunch", "Standard", "ConfidentialVM"}), false,
                         false, "Without a securityProfile a VM is TrustedLaunch"},
                        {"uefiSettings", uefi, false, false, "Only with securityType TrustedLaunch"},
                        {"encryptionAtHost", boolean_schema()},
                        {"encryptionIdentity", any_schema()},
                        {"proxyAgentSettings", any_schema()}});
}

SchemaRef hardware_profile() {
  return object_schema("HardwareProfile", {{"vmSize", text()}, {"vmSizeProperties", any_schema()}});
}

SchemaRef reason() {
  return object_schema("VerdictReason", {{"code", string_schema()},
                                         {"severity", enum_schema({"info", "warning", "failure"})},
                                         {"message", string_schema()},
                                         {"component", string_schema()}});
}

SchemaRef verdict() {
  const SchemaRef component = object_schema("BootComponent", {{"role", string_schema()},
                                                              {"file", string_schema()},
                                                              {"sha256", string_schema()},
                                                              {"signer", string_schema()},
                                                              {"version", string_schema()},
                                                              {"inBaseline", boolean_schema()}});
  return object_schema("Verdict", {{"status", enum_schema({"Healthy", "Unhealthy", "Pending", "Unknown"})},
                                   {"reasons", array_schema(reason())},
                                   {"evidenceTime", string_schema()},
                                   {"secureBoot", enum_schema({"Enabled", "Disabled", "Unknown"})},
                                   {"vtpm", any_schema()},
                                   {"bootChain", array_schema(component)},
                                   {"kernelCommandLine", string_schema()},
                                   {"firmwareVersion", string_schema()},
                                   {"bank", string_schema()},
                                   {"pcrs", map_schema(string_schema())}});
}

SchemaRef instance_view() {
  const SchemaRef status =
      object_schema("InstanceViewStatus", {{"code", string_schema()},
                                           {"level", enum_schema({"Info", "Warning", "Error"})},
                                           {"displayStatus", string_schema()},
                                           {"message", string_schema()},
                                           {"time", string_schema()}});
  const SchemaRef guest_state = object_schema("GuestState", {{"sealed", boolean_schema()},
                                                             {"algorithm", string_schema()},
                                                             {"keyName", string_schema()},
                                                             {"generation", integer_schema()},
                                                             {"sizeBytes", integer_schema()}});
  const SchemaRef vtpm = object_schema("VtpmIdentity", {{"ekCertificateIssuer", string_schema()},
                                                        {"ekCertificateSubject", string_schema()},
                                                        {"ekPublicSha256", string_schema()},
                                                        {"akPublicSha256", string_schema()}});
  return object_schema("VirtualMachineInstanceView", {{"computerName", string_schema()},
                                                      {"osName", string_schema()},
                                                      {"osVersion", string_schema()},
                                                      {"hyperVGeneration", string_schema()},
                                                      {"statuses", array_schema(status)},
                                                      {"vmAgent", any_schema()},
                                                      {"disks", array_schema(any_schema())},
                                                      {"bootDiagnostics", any_schema()},
                                                      {"attestation", verdict()},
                                                      {"guestState", guest_state},
                                                      {"vtpm", vtpm},
                                                      {"boot", any_schema()},
                                                      {"stopReason", any_schema()},
                                                      {"accelerator", any_schema()},
                                                      {"processes", any_schema()},
                                                      {"powerRequest", any_schema()},
                                                      {"startedTime", string_schema()},
                                                      {"timings", any_schema()}});
}

SchemaRef identity() {
  return object_schema(
      "VirtualMachineIdentity",
      {{"type", enum_schema({"SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned", "None"})},
       {"principalId", string_schema(), false, true},
       {"tenantId", string_schema(), false, true},
       {"userAssignedIdentities", any_schema()}});
}

SchemaRef tags() {
  return map_schema(string_schema(256));
}

SchemaRef virtual_machine_properties() {
  std::vector<Field> fields = {
      {"hardwareProfile", hardware_profile()},
      {"storageProfile", storage_profile()},
      {"osProfile", os_profile()},
      {"securityProfile", security_profile()},
      {"networkProfile", network_profile(), false, false, "Left out: no network, or what it was"},
      {"diagnosticsProfile", any_schema()},
      {"vmId", string_schema(), false, true, "Also the name of the guest-state protection key"},
      {"timeCreated", string_schema(), false, true},
      {"provisioningState", string_schema(), false, true},
      {"instanceView", instance_view(), false, true}};
  for (const char* kept : {"additionalCapabilities", "applicationProfile", "billingProfile",
                           "capacityReservation", "evictionPolicy", "extensionsTimeBudget", "licenseType",
                           "priority", "scheduledEventsPolicy", "scheduledEventsProfile", "userData"}) {
    fields.push_back({kept, any_schema(), false, false, "Kept and answered, without effect"});
  }
  return object_schema("VirtualMachineProperties", std::move(fields));
}

}  // namespace

SchemaRef virtual_machine_schema() {
  static const SchemaRef schema =
      object_schema("VirtualMachine", {{"id", string_schema(), false, true},
                                       {"name", string_schema(), false, true},
                                       {"type", string_schema(), false, true},
                                       {"etag", string_schema(), false, true},
                                       {"location", text()},
                                       {"tags", tags()},
                                       {"identity", identity()},
                                       {"zones", array_schema(text(), kMaximumTags)},
                                       {"plan", any_schema()},
                                       {"properties", virtual_machine_properties()},
                                       {"resources", any_schema(), false, true}});
  return schema;
}

SchemaRef virtual_machine_update_schema() {
  static const SchemaRef schema = [] {
    const SchemaRef properties =
        object_schema("VirtualMachineUpdateProperties", {{"hardwareProfile", hardware_profile()},
                                                         {"securityProfile", security_profile()},
                                                         {"diagnosticsProfile", any_schema()}});
    return object_schema("VirtualMachineUpdate",
                         {{"tags", tags()}, {"identity", identity()}, {"properties", properties}});
  }();
  return schema;
}

}  // namespace bootseal::model

#include <fmt/format.h>

#include "bootseal/tpm/event_log.h"

namespace bootseal::tpm {

std::string event_type_name(EventType type) {
  switch (type) {
    case EventType::preboot_cert:
      return "EV_PREBOOT_CERT";
    case EventType::post_code:
      return "EV_POST_CODE";
    case EventType::no_action:
      return "EV_NO_ACTION";
    case EventType::separator:
      return "EV_SEPARATOR";
    case EventType::action:
      return "EV_ACTION";
    case EventType::event_tag:
      return "EV_EVENT_TAG";
    case EventType::scrtm_contents:
      return "EV_S_CRTM_CONTENTS";
    case EventType::scrtm_version:
      return "EV_S_CRTM_VERSION";
    case EventType::cpu_microcode:
      return "EV_CPU_MICROCODE";
    case EventType::platform_config_flags:
      return "EV_PLATFORM_CONFIG_FLAGS";
    case EventType::table_of_devices:
      return "EV_TABLE_OF_DEVICES";
    case EventType::compact_hash:
      return "EV_COMPACT_HASH";
    case EventType::ipl:
      return "EV_IPL";
    case EventType::ipl_partition_data:
      return "EV_IPL_PARTITION_DATA";
    case EventType::nonhost_code:
      return "EV_NONHOST_CODE";
    case EventType::nonhost_config:
      return "EV_NONHOST_CONFIG";
    case EventType::nonhost_info:
      return "EV_NONHOST_INFO";
    case EventType::omit_boot_device_events:
      return "EV_OMIT_BOOT_DEVICE_EVENTS";
    case EventType::post_code2:
      return "EV_POST_CODE2";
    case EventType::efi_variable_driver_config:
      return "EV_EFI_VARIABLE_DRIVER_CONFIG";
    case EventType::efi_variable_boot:
      return "EV_EFI_VARIABLE_BOOT";
    case EventType::efi_boot_services_application:
      return "EV_EFI_BOOT_SERVICES_APPLICATION";
    case EventType::efi_boot_services_driver:
      return "EV_EFI_BOOT_SERVICES_DRIVER";
    case EventType::efi_runtime_services_driver:
      return "EV_EFI_RUNTIME_SERVICES_DRIVER";
    case EventType::efi_gpt_event:
      return "EV_EFI_GPT_EVENT";
    case EventType::efi_action:
      return "EV_EFI_ACTION";
    case EventType::efi_platform_firmware_blob:
      return "EV_EFI_PLATFORM_FIRMWARE_BLOB";
    case EventType::efi_handoff_tables:
      return "EV_EFI_HANDOFF_TABLES";
    case EventType::efi_platform_firmware_blob2:
      return "EV_EFI_PLATFORM_FIRMWARE_BLOB2";
    case EventType::efi_handoff_tables2:
      return "EV_EFI_HANDOFF_TABLES2";
    case EventType::efi_variable_boot2:
      return "EV_EFI_VARIABLE_BOOT2";
    case EventType::efi_gpt_event2:
      return "EV_EFI_GPT_EVENT2";
    case EventType::efi_hcrtm_event:
      return "EV_EFI_HCRTM_EVENT";
    case EventType::efi_variable_authority:
      return "EV_EFI_VARIABLE_AUTHORITY";
    case EventType::efi_spdm_firmware_blob:
      return "EV_EFI_SPDM_FIRMWARE_BLOB";
    case EventType::efi_spdm_firmware_config:
      return "EV_EFI_SPDM_FIRMWARE_CONFIG";
  }
  return fmt::format("0x{:08x}", static_cast<std::uint32_t>(type));
}

}  // namespace bootseal::tpm

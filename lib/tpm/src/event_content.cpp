#include "bootseal/tpm/event_content.h"

#include <fmt/format.h>

#include <algorithm>

#include "text.h"

namespace bootseal::tpm {
namespace {

constexpr std::size_t kMaximumPartitions = 128;
constexpr std::size_t kGptHeaderSize = 92, kGptPaddedHeaderSize = 96;
constexpr std::size_t kGptDiskGuidOffset = 56;
constexpr std::size_t kGptNameOffset = 56;
constexpr std::size_t kGptEntrySize = 128;
constexpr std::size_t kMaximumNameUnits = 1024;

constexpr std::string_view kGrubCommand = "grub_cmd: ", kKernelCommandLine = "kernel_cmdline: ",
                           kModuleCommandLine = "module_cmdline: ";

Result<Guid> read_guid(ByteReader& reader, std::string_view field) {
  BOOTSEAL_TRY(const ByteSpan bytes, reader.take(16, field));
  return Guid::from_windows_layout(bytes.first<16>());
}

Result<EventContent> read_variable(ByteSpan data) {
  ByteReader reader(data);
  VariableContent variable;
  BOOTSEAL_TRY(variable.vendor, read_guid(reader, "the vendor of a variable"));
  BOOTSEAL_TRY(const std::uint64_t name_units, reader.le64("the length of a variable's name"));
  BOOTSEAL_TRY(const std::uint64_t data_size, reader.le64("the size of a variable's data"));
  if (name_units > kMaximumNameUnits) {
    return fail(ErrorCode::corrupt, fmt::format("a variable's name has {} characters", name_units));
  }
  BOOTSEAL_TRY(const ByteSpan name,
               reader.take(static_cast<std::size_t>(name_units) * 2, "a variable's name"));
  BOOTSEAL_TRY(variable.name, text_from_utf16le(name));
  if (data_size > reader.remaining()) {
    return fail(ErrorCode::corrupt, fmt::format("a variable has {} bytes of data, and {} bytes follow",
                                                data_size, reader.remaining()));
  }
  // One byte more occurs (an old shim); what lies behind the variable is not read.
  BOOTSEAL_TRY(variable.data, reader.take(static_cast<std::size_t>(data_size), "a variable's data"));
  return variable;
}

Result<EventContent> read_image(ByteSpan data) {
  ByteReader reader(data);
  ImageContent image;
  BOOTSEAL_TRY(image.location, reader.le64("the location of an image"));
  BOOTSEAL_TRY(image.length, reader.le64("the length of an image"));
  BOOTSEAL_TRY(image.link_time_address, reader.le64("the link-time address of an image"));
  BOOTSEAL_TRY(const std::uint64_t path_size, reader.le64("the length of a device path"));
  if (path_size > reader.remaining()) {
    return fail(ErrorCode::corrupt,
                fmt::format("a device path has {} bytes, and {} follow", path_size, reader.remaining()));
  }
  if (path_size != 0) {
    BOOTSEAL_TRY(const ByteSpan path, reader.take(static_cast<std::size_t>(path_size), "a device path"));
    BOOTSEAL_TRY(image.device_path, device_path_text(path));
  }
  return image;
}

ByteSpan without_trailing_nul(ByteSpan data) {
  while (!data.empty() && data.back() == std::byte{0}) data = data.first(data.size() - 1);
  return data;
}

EventContent read_ipl(ByteSpan data) {
  const ByteSpan trimmed = without_trailing_nul(data);
  const std::string_view text = as_text(trimmed);
  const auto make = [&](IplContent::Kind kind, std::size_t prefix) {
    return IplContent{kind, escaped_text(trimmed.subspan(prefix))};
  };
  if (text.starts_with(kGrubCommand)) return make(IplContent::Kind::grub_command, kGrubCommand.size());
  if (text.starts_with(kKernelCommandLine)) {
    return make(IplContent::Kind::kernel_command_line, kKernelCommandLine.size());
  }
  if (text.starts_with(kModuleCommandLine)) {
    return make(IplContent::Kind::module_command_line, kModuleCommandLine.size());
  }
  // systemd-stub names its sections in UCS-2.
  const bool utf16 =
      data.size() >= 4 && data.size() % 2 == 0 && data[1] == std::byte{0} && data[0] != std::byte{0};
  if (utf16) {
    if (auto name = text_from_utf16le(data)) return IplContent{IplContent::Kind::name, *std::move(name)};
  }
  return make(IplContent::Kind::name, 0);
}

EventContent read_separator(ByteSpan data) {
  const bool zero = data.size() == 4 && load_le32(data, 0) == 0;
  const bool windows = as_text(data) == "WBCL";
  return SeparatorContent{.error = !zero && !windows};
}

Result<EventContent> read_version(ByteSpan data) {
  // UCS-2 with a NUL by the specification; old firmware writes ASCII, and two zero bytes mean no version.
  const bool utf16 = data.size() >= 2 && data.size() % 2 == 0 && data[1] == std::byte{0};
  if (!utf16) return TextContent{escaped_text(without_trailing_nul(data))};
  BOOTSEAL_TRY(std::string text, text_from_utf16le(data));
  return TextContent{std::move(text)};
}

Result<EventContent> read_gpt(ByteSpan data) {
  // Some firmware writes the header as a C structure of 96 bytes.
  const auto fits = [&](std::size_t header_size) {
    if (data.size() < header_size + 8) return false;
    const std::uint64_t entries = load_le64(data, header_size);
    return entries <= kMaximumPartitions && entries * kGptEntrySize == data.size() - header_size - 8;
  };
  const std::size_t header_size = fits(kGptHeaderSize) ? kGptHeaderSize : kGptPaddedHeaderSize;
  if (!fits(header_size))
    return fail(ErrorCode::corrupt, "the number of partitions does not fit the GPT event");
  ByteReader reader(data);
  BOOTSEAL_TRY(const ByteSpan header, reader.take(header_size, "the GPT header"));
  GptContent gpt;
  gpt.disk = Guid::from_windows_layout(header.subspan(kGptDiskGuidOffset).first<16>());
  BOOTSEAL_TRY(const std::uint64_t count, reader.le64("the number of partitions"));
  for (std::uint64_t i = 0; i < count; ++i) {
    BOOTSEAL_TRY(const ByteSpan entry, reader.take(kGptEntrySize, "a partition"));
    GptPartition partition;
    partition.type = Guid::from_windows_layout(entry.first<16>());
    partition.id = Guid::from_windows_layout(entry.subspan(16).first<16>());
    partition.first_lba = load_le64(entry, 32);
    partition.last_lba = load_le64(entry, 40);
    BOOTSEAL_TRY(partition.name, text_from_utf16le(entry.subspan(kGptNameOffset)));
    gpt.partitions.push_back(std::move(partition));
  }
  return gpt;
}

Result<EventContent> read_blob(ByteSpan data, bool described) {
  ByteReader reader(data);
  BlobContent blob;
  if (described) {
    BOOTSEAL_TRY(const std::uint8_t size, reader.u8("the length of a description"));
    BOOTSEAL_TRY(const ByteSpan text, reader.take(size, "a description"));
    blob.description = escaped_text(without_trailing_nul(text));
  } else if (data.size() != 16) {
    // Some firmware describes the blob in words instead.
    blob.description = escaped_text(without_trailing_nul(data));
    return blob;
  }
  BOOTSEAL_TRY(blob.base, reader.le64("the address of a firmware blob"));
  BOOTSEAL_TRY(blob.length, reader.le64("the length of a firmware blob"));
  return blob;
}

Result<EventContent> read_tagged(ByteSpan data) {
  ByteReader reader(data);
  TaggedContent tagged;
  BOOTSEAL_TRY(tagged.id, reader.le32("the id of a tagged event"));
  BOOTSEAL_TRY(const std::uint32_t size, reader.le32("the size of a tagged event"));
  BOOTSEAL_TRY(tagged.data, reader.take(size, "the data of a tagged event"));
  return tagged;
}

}  // namespace

Result<EventContent> read_content(const Event& event) {
  switch (event.type) {
    case EventType::efi_variable_driver_config:
    case EventType::efi_variable_boot:
    case EventType::efi_variable_boot2:
    case EventType::efi_variable_authority:
      return read_variable(event.data);
    case EventType::efi_boot_services_application:
    case EventType::efi_boot_services_driver:
    case EventType::efi_runtime_services_driver:
      return read_image(event.data);
    case EventType::ipl:
      return read_ipl(event.data);
    case EventType::separator:
      return read_separator(event.data);
    case EventType::efi_action:
    case EventType::action:
      return TextContent{escaped_text(without_trailing_nul(event.data))};
    case EventType::scrtm_version:
      return read_version(event.data);
    case EventType::efi_gpt_event:
    case EventType::efi_gpt_event2:
      return read_gpt(event.data);
    case EventType::efi_platform_firmware_blob:
      return read_blob(event.data, /*described=*/false);
    case EventType::efi_platform_firmware_blob2:
      return read_blob(event.data, /*described=*/true);
    case EventType::event_tag:
      return read_tagged(event.data);
    default:
      return OpaqueContent{};
  }
}

}  // namespace bootseal::tpm

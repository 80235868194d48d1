#include "format.h"

#include <fmt/format.h>

#include <charconv>

namespace bootseal::vmgs {
namespace {

constexpr std::string_view kCookie = "conectix";
constexpr std::uint32_t kFooterVersion = 0x00010000;
constexpr std::uint32_t kFeatureReserved = 2;  // always set
constexpr std::uint32_t kCreatorVersion = 0x000a0000;
constexpr std::uint32_t kFixedDisk = 2;

std::uint32_t footer_checksum(VhdFooter footer) {
  footer.checksum = 0;
  std::uint32_t sum = 0;
  for (const std::byte byte : wire_bytes(footer)) sum += std::to_integer<std::uint32_t>(byte);
  return ~sum;
}

std::string_view file_name(FileId id) {
  switch (id) {
    case FileId::file_table:
      return "FILE_TABLE";
    case FileId::bios_nvram:
      return "BIOS_NVRAM";
    case FileId::tpm_ppi:
      return "TPM_PPI";
    case FileId::tpm_nvram:
      return "TPM_NVRAM";
    case FileId::rtc_skew:
      return "RTC_SKEW";
    case FileId::attest:
      return "ATTEST";
    case FileId::key_protector:
      return "KEY_PROTECTOR";
    case FileId::vm_unique_id:
      return "VM_UNIQUE_ID";
    case FileId::guest_firmware:
      return "GUEST_FIRMWARE";
    case FileId::custom_uefi:
      return "CUSTOM_UEFI";
    case FileId::guest_watchdog:
      return "GUEST_WATCHDOG";
    case FileId::hardware_key_protector:
      return "HW_KEY_PROTECTOR";
    case FileId::guest_secret_key:
      return "GUEST_SECRET_KEY";
    case FileId::hibernation_token:
      return "HIBERNATION_TOKEN";
    case FileId::platform_seed:
      return "PLATFORM_SEED";
    case FileId::provenance_document:
      return "PROVENANCE_DOC";
    case FileId::tpm_nvram_backup:
      return "TPM_NVRAM_BACKUP";
    case FileId::provisioning_marker:
      return "PROVISIONING_MARKER";
    case FileId::tpm_185_nvram:
      return "TPM_185_NVRAM";
    case FileId::extended_file_table:
      return "EXTENDED_FILE_TABLE";
  }
  return {};
}

}  // namespace

std::string describe(FileId id) {
  const std::string_view name = file_name(id);
  return name.empty() ? fmt::format("{}", static_cast<unsigned>(id))
                      : fmt::format("{} ({})", name, static_cast<unsigned>(id));
}

std::optional<FileId> parse_file_id(std::string_view text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size())
    return number < kFileCount ? std::optional(static_cast<FileId>(number)) : std::nullopt;
  for (std::size_t i = 0; i < kFileCount; ++i) {
    const auto id = static_cast<FileId>(i);
    if (!text.empty() && text == file_name(id)) return id;
  }
  return std::nullopt;
}

VhdFooter make_vhd_footer(std::uint64_t body_size, const Field<16>& unique_id) {
  VhdFooter footer;
  std::memcpy(footer.cookie.data(), kCookie.data(), kCookie.size());
  footer.features = kFeatureReserved;
  footer.version = kFooterVersion;
  footer.data_offset = ~std::uint64_t{0};
  footer.creator_version = kCreatorVersion;
  footer.original_size = body_size;
  footer.current_size = body_size;
  footer.disk_type = kFixedDisk;
  footer.unique_id = unique_id;
  footer.checksum = footer_checksum(footer);
  return footer;
}

Result<std::uint64_t> body_size_of(const VhdFooter& footer, std::uint64_t file_size) {
  const auto bad = [](std::string_view what) {
    return fail(
        ErrorCode::corrupt,
        fmt::format("the last 512 bytes are no fixed-VHD footer: {}; the file was cut, extended or is "
                    "of another kind",
                    what));
  };
  if (as_text(footer.cookie) != kCookie) return bad("the cookie is wrong");
  if (footer.checksum != footer_checksum(footer)) return bad("the checksum is wrong");
  if (footer.version != kFooterVersion)
    return bad(fmt::format("the version is {:#010x}", std::uint32_t{footer.version}));
  if (footer.disk_type != kFixedDisk)
    return bad(fmt::format("the disk type is {}", std::uint32_t{footer.disk_type}));
  const std::uint64_t body = footer.current_size;
  if (body > file_size - kFooterSize || body % kFooterSize != 0) {
    return bad(fmt::format("it names a body of {} bytes in a file of {}", body, file_size));
  }
  return body;
}

std::uint32_t header_checksum(Header header) {
  header.checksum = 0;
  return crc32(wire_bytes(header));
}

std::optional<HeaderFault> find_fault(const Header& header) {
  const auto invalid = [](std::string reason) {
    return HeaderFault{Condition::invalid_format, std::move(reason)};
  };
  if (header.signature != kSignature) return invalid("the signature is not GUESTRTS");
  if (header.version != kVersion3)
    return invalid(
        fmt::format("the version is {:#010x}, not {:#010x}", std::uint32_t{header.version}, kVersion3));
  if (header.header_size != sizeof(Header))
    return invalid(
        fmt::format("the header size is {}, not {}", std::uint32_t{header.header_size}, sizeof(Header)));
  if (header.file_table_block < kLowestBlock)
    return invalid(fmt::format("the file table is at block {}", std::uint32_t{header.file_table_block}));
  if (header.file_table_blocks != 1)
    return invalid(fmt::format("the file table has {} blocks", std::uint32_t{header.file_table_blocks}));
  if (header.algorithm > kAlgorithmAesGcm)
    return invalid(fmt::format("the encryption algorithm is {}", std::uint16_t{header.algorithm}));
  if (header.checksum != header_checksum(header))
    return HeaderFault{Condition::corrupt, "the checksum is wrong"};
  return std::nullopt;
}

std::optional<std::string> entry_fault(const FileEntry& entry, FileId id, std::uint64_t capacity) {
  const Extent extent{.block = entry.block, .blocks = entry.blocks};
  if (extent.block < kLowestBlock || extent.block >= capacity || extent.block + extent.blocks > capacity) {
    return fmt::format("file {} lies at blocks {} to {}, outside of the {} blocks of the store", describe(id),
                       extent.block, extent.block + extent.blocks - 1, capacity);
  }
  if (entry.size > extent.blocks * kBlockSize) {
    return fmt::format("file {} holds {} bytes in {} blocks", describe(id), std::uint64_t{entry.size},
                       extent.blocks);
  }
  return std::nullopt;
}

Result<std::vector<Extent>> check_table(const FileTable& table, std::uint32_t table_block,
                                        std::uint64_t capacity) {
  struct Owned {
    Extent extent;
    FileId id;
  };
  std::vector<Owned> owned;
  for (std::size_t i = 0; i < kFileCount; ++i) {
    const FileEntry& entry = table[i];
    const auto id = static_cast<FileId>(i);
    if (id == FileId::file_table && (entry.block != table_block || entry.blocks != 1)) {
      return fail(ErrorCode::corrupt,
                  fmt::format("the file table at block {} says that it is {} blocks at block {}", table_block,
                              std::uint32_t{entry.blocks}, std::uint32_t{entry.block}));
    }
    if (!entry.allocated()) continue;
    const Extent extent{.block = entry.block, .blocks = entry.blocks};
    if (auto fault = entry_fault(entry, id, capacity)) return fail(ErrorCode::corrupt, *std::move(fault));
    owned.push_back({extent, id});
  }
  std::sort(owned.begin(), owned.end(),
            [](const Owned& a, const Owned& b) { return a.extent.block < b.extent.block; });
  std::vector<Extent> extents;
  extents.reserve(owned.size());
  for (std::size_t i = 0; i < owned.size(); ++i) {
    if (i > 0 && owned[i - 1].extent.block + owned[i - 1].extent.blocks > owned[i].extent.block) {
      return fail(ErrorCode::corrupt,
                  fmt::format("files {} and {} overlap at block {}", describe(owned[i - 1].id),
                              describe(owned[i].id), owned[i].extent.block));
    }
    extents.push_back(owned[i].extent);
  }
  return extents;
}

}  // namespace bootseal::vmgs

// UEFI 2.10, 10.3 (nodes) and 10.6 (text form).
#include <fmt/format.h>

#include "bootseal/tpm/event_content.h"
#include "text.h"

namespace bootseal::tpm {
namespace {

constexpr std::uint8_t kHardware = 0x01, kAcpi = 0x02, kMessaging = 0x03, kMedia = 0x04, kBios = 0x05,
                       kEnd = 0x7F;
constexpr std::uint8_t kEndEntire = 0xFF, kEndInstance = 0x01;
constexpr std::size_t kNodeHeader = 4;
constexpr std::uint32_t kAcpiPciRoot = 0x0A0341D0, kAcpiPcieRoot = 0x0A0841D0;

struct Node {
  std::uint8_t type = 0;
  std::uint8_t subtype = 0;
  ByteSpan data;
};

Result<Node> read_node(ByteReader& reader) {
  Node node;
  BOOTSEAL_TRY(node.type, reader.u8("the type of a device path node"));
  BOOTSEAL_TRY(node.subtype, reader.u8("the subtype of a device path node"));
  BOOTSEAL_TRY(const std::uint16_t length, reader.le16("the length of a device path node"));
  if (length < kNodeHeader) {
    return fail(ErrorCode::corrupt, fmt::format("a device path node says it has {} bytes", length));
  }
  BOOTSEAL_TRY(node.data, reader.take(length - kNodeHeader, "a device path node"));
  return node;
}

std::string guid_at(ByteSpan data, std::size_t offset) {
  return Guid::from_windows_layout(data.subspan(offset).first<16>()).to_string();
}

std::string generic(const Node& node) {
  return node.data.empty() ? fmt::format("Path({},{})", node.type, node.subtype)
                           : fmt::format("Path({},{},{})", node.type, node.subtype, to_hex(node.data));
}

std::string hardware(const Node& node) {
  const ByteSpan d = node.data;
  if (node.subtype == 0x01 && d.size() == 2) {
    return fmt::format("Pci(0x{:x},0x{:x})", std::to_integer<unsigned>(d[1]),
                       std::to_integer<unsigned>(d[0]));
  }
  if (node.subtype == 0x03 && d.size() == 20) {
    return fmt::format("MemoryMapped(0x{:x},0x{:x},0x{:x})", load_le32(d, 0), load_le64(d, 4),
                       load_le64(d, 12));
  }
  if (node.subtype == 0x04 && d.size() >= 16) return fmt::format("VenHw({})", guid_at(d, 0));
  return generic(node);
}

std::string acpi(const Node& node) {
  const ByteSpan d = node.data;
  if (node.subtype != 0x01 || d.size() != 8) return generic(node);
  const std::uint32_t hid = load_le32(d, 0);
  const std::uint32_t uid = load_le32(d, 4);
  if (hid == kAcpiPciRoot) return fmt::format("PciRoot(0x{:x})", uid);
  if (hid == kAcpiPcieRoot) return fmt::format("PcieRoot(0x{:x})", uid);
  return fmt::format("Acpi(0x{:08x},0x{:x})", hid, uid);
}

std::string messaging(const Node& node) {
  const ByteSpan d = node.data;
  switch (node.subtype) {
    case 0x01:
      if (d.size() == 4)
        return fmt::format("Ata({},{},{})", std::to_integer<unsigned>(d[0]), std::to_integer<unsigned>(d[1]),
                           load_le16(d, 2));
      break;
    case 0x02:
      if (d.size() == 4) return fmt::format("Scsi(0x{:x},0x{:x})", load_le16(d, 0), load_le16(d, 2));
      break;
    case 0x05:
      if (d.size() == 2)
        return fmt::format("USB(0x{:x},0x{:x})", std::to_integer<unsigned>(d[0]),
                           std::to_integer<unsigned>(d[1]));
      break;
    case 0x0A:
      if (d.size() >= 16) return fmt::format("VenMsg({})", guid_at(d, 0));
      break;
    case 0x0B:
      if (d.size() == 33)
        return fmt::format("MAC({},0x{:x})", to_hex(d.first(6)), std::to_integer<unsigned>(d[32]));
      break;
    case 0x0C:
      if (d.size() >= 8)
        return fmt::format("IPv4({}.{}.{}.{})", std::to_integer<unsigned>(d[4]),
                           std::to_integer<unsigned>(d[5]), std::to_integer<unsigned>(d[6]),
                           std::to_integer<unsigned>(d[7]));
      break;
    case 0x0D:
      if (d.size() >= 32) return fmt::format("IPv6({})", to_hex(d.subspan(16, 16)));
      break;
    case 0x12:
      if (d.size() == 6)
        return fmt::format("Sata(0x{:x},0x{:x},0x{:x})", load_le16(d, 0), load_le16(d, 2), load_le16(d, 4));
      break;
    case 0x17:
      if (d.size() == 12) return fmt::format("NVMe(0x{:x},{})", load_le32(d, 0), to_hex(d.subspan(4)));
      break;
    case 0x18:
      return fmt::format("Uri({})", escaped_text(d));
    default:
      break;
  }
  return generic(node);
}

std::string hard_drive(ByteSpan d) {
  const auto format = std::to_integer<unsigned>(d[36]);
  const auto signature_type = std::to_integer<unsigned>(d[37]);
  const std::string place = fmt::format("0x{:x},0x{:x}", load_le64(d, 4), load_le64(d, 12));
  if (signature_type == 2)
    return fmt::format("HD({},{},{},{})", load_le32(d, 0), format == 1 ? "MBR" : "GPT", guid_at(d, 20),
                       place);
  if (signature_type == 1)
    return fmt::format("HD({},MBR,0x{:08x},{})", load_le32(d, 0), load_le32(d, 20), place);
  return fmt::format("HD({},{},0,{})", load_le32(d, 0), signature_type, place);
}

Result<std::string> media(const Node& node) {
  const ByteSpan d = node.data;
  switch (node.subtype) {
    case 0x01:
      if (d.size() == 38) return hard_drive(d);
      break;
    case 0x02:
      if (d.size() == 20)
        return fmt::format("CDROM(0x{:x},0x{:x},0x{:x})", load_le32(d, 0), load_le64(d, 4), load_le64(d, 12));
      break;
    case 0x03:
      if (d.size() >= 16) return fmt::format("VenMedia({})", guid_at(d, 0));
      break;
    case 0x04:
      return text_from_utf16le(d);
    case 0x06:
      if (d.size() == 16) return fmt::format("FvFile({})", guid_at(d, 0));
      break;
    case 0x07:
      if (d.size() == 16) return fmt::format("Fv({})", guid_at(d, 0));
      break;
    case 0x08:
      if (d.size() == 20) return fmt::format("Offset(0x{:x},0x{:x})", load_le64(d, 4), load_le64(d, 12));
      break;
    default:
      break;
  }
  return generic(node);
}

Result<std::string> node_text(const Node& node) {
  switch (node.type) {
    case kHardware:
      return hardware(node);
    case kAcpi:
      return acpi(node);
    case kMessaging:
      return messaging(node);
    case kMedia:
      return media(node);
    case kBios:
      if (node.subtype == 0x01 && node.data.size() >= 4)
        return fmt::format("BBS(0x{:x},{})", load_le16(node.data, 0), escaped_text(node.data.subspan(4)));
      return generic(node);
    default:
      return generic(node);
  }
}

}  // namespace

Result<std::string> device_path_text(ByteSpan path) {
  ByteReader reader(path);
  std::string text;
  bool first = true;
  while (true) {
    BOOTSEAL_TRY(const Node node, read_node(reader));
    if (node.type == kEnd && node.subtype == kEndEntire) break;
    if (node.type == kEnd && node.subtype == kEndInstance) {
      text += ",";
      first = true;
      continue;
    }
    BOOTSEAL_TRY(const std::string part, node_text(node));
    if (!first) text += "/";
    text += part;
    first = false;
  }
  if (!reader.at_end()) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} bytes behind the end of a device path", reader.remaining()));
  }
  return text;
}

}  // namespace bootseal::tpm

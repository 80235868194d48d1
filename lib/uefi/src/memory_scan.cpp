// Finding the firmware's tables in a dump of guest memory.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "bootseal/uefi/boot_diagnosis.h"
#include "bootseal/uefi/guids.h"
#include "bootseal/uefi/signature_list.h"
#include "bootseal/uefi/variable_store.h"
#include "event_walk.h"

namespace bootseal::uefi {
namespace {

constexpr std::size_t kPageSize = 4096;
constexpr std::uint64_t kSystemTableMark = 0x5453595320494249;  // "IBI SYST"
// EFI_SYSTEM_TABLE (UEFI 2.10 section 4.3).
constexpr std::size_t kSystemTableSize = 0x78, kHeaderSizeField = 12, kTableCountField = 0x68,
                      kTablesField = 0x70;
constexpr std::size_t kConfigurationTableSize = 24, kMaximumTables = 64;

constexpr std::size_t kMaximumEntries = 64, kMaximumEntrySize = 65536, kEntryHeaderSize = 8;
constexpr std::size_t kMaximumNameUnits = 512;
constexpr std::uint32_t kActionMask = 0x07;

// Text that a guest wrote, fit for a log and a terminal.
std::string printable(std::u16string_view units) {
  std::string text = to_utf8(units);
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, '?');
  return text;
}

// Characters up to a NUL or the end. Gives back how many bytes they took with the NUL.
std::size_t read_characters(ByteSpan data, std::u16string& units) {
  std::size_t offset = 0;
  while (offset + 2 <= data.size()) {
    const auto unit = static_cast<char16_t>(load_le16(data, offset));
    offset += 2;
    if (unit == 0) break;
    if (units.size() < kMaximumNameUnits) units += unit;
  }
  return offset;
}

// Walks device path nodes (UEFI 2.10 section 10.3) and collects the file path ones. Gives back the size of
// the path.
std::size_t read_device_path(ByteSpan data, std::string& file) {
  constexpr std::uint8_t kMedia = 0x04, kFilePath = 0x04, kEnd = 0x7f;
  std::size_t offset = 0;
  while (offset + 4 <= data.size()) {
    const auto type = std::to_integer<std::uint8_t>(data[offset]),
               subtype = std::to_integer<std::uint8_t>(data[offset + 1]);
    const std::size_t length = load_le16(data, offset + 2);
    if (length < 4 || length > data.size() - offset) return data.size();
    if (type == kMedia && subtype == kFilePath) {
      std::u16string units;
      read_characters(data.subspan(offset + 4, length - 4), units);
      if (file.size() < kMaximumNameUnits) file += printable(units);
    }
    offset += length;
    if (type == kEnd) break;
  }
  return offset;
}

ImageExecution read_execution(std::uint32_t action, ByteSpan body) {
  ImageExecution execution;
  execution.action = static_cast<ImageAction>(action & kActionMask);
  std::u16string name;
  ByteSpan rest = body.subspan(read_characters(body, name));
  execution.name = printable(name);
  rest = rest.subspan(read_device_path(rest, execution.file));
  const Result<SignatureDatabase> signature = parse_signature_database(rest);
  if (signature && !signature->empty() && signature->front().type == kCertSha256) {
    crypto::Sha256Digest digest;
    std::ranges::copy(signature->front().signatures.front().data, digest.bytes.begin());
    execution.sha256 = digest;
  }
  return execution;
}

// Where the image execution table is, when a plausible EFI system table begins here. `found` says whether one
// does.
std::optional<std::uint64_t> execution_table_of(ByteSpan memory, std::size_t offset, bool& found) {
  if (memory.size() - offset < kSystemTableSize ||
      load_le32(memory, offset + kHeaderSizeField) != kSystemTableSize)
    return std::nullopt;
  const std::uint64_t count = load_le64(memory, offset + kTableCountField),
                      tables = load_le64(memory, offset + kTablesField);
  if (count > kMaximumTables || tables == 0 || tables > memory.size() ||
      count * kConfigurationTableSize > memory.size() - tables) {
    return std::nullopt;
  }
  found = true;
  for (std::uint64_t i = 0; i < count; ++i) {
    const ByteSpan entry = memory.subspan(tables + i * kConfigurationTableSize, kConfigurationTableSize);
    if (Guid::from_windows_layout(entry.first<16>()) == kImageExecutionTable) return load_le64(entry, 16);
  }
  return std::nullopt;
}

std::uint64_t load_word(ByteSpan memory, std::size_t offset) {
  std::uint64_t word = 0;
  std::memcpy(&word, memory.data() + offset, sizeof(word));
  return word;
}

// The table is allocated from a pool: 8-byte aligned, near the end of the memory below 4 GiB. So the search
// goes down from the end.
void find_executions(ByteSpan memory, MemoryFindings& findings) {
  for (std::size_t page = memory.size() / kPageSize; page-- > 0;) {
    const std::size_t begin = page * kPageSize;
    bool marked = false;
    for (std::size_t i = 0; i < kPageSize; i += sizeof(std::uint64_t))
      marked |= load_word(memory, begin + i) == kSystemTableMark;
    if (!marked) continue;
    for (std::size_t i = 0; i < kPageSize; i += sizeof(std::uint64_t)) {
      if (load_word(memory, begin + i) != kSystemTableMark) continue;
      const auto address = execution_table_of(memory, begin + i, findings.system_table);
      if (!address) continue;
      Result<std::vector<ImageExecution>> executions = parse_image_executions(memory, *address);
      if (!executions) continue;
      findings.execution_table = true;
      findings.executions = *std::move(executions);
      return;
    }
  }
}

// The firmware keeps its log in pages of its own, so a log begins a page. Copies and older ones may lie
// about: the longest counts.
void find_event_log(ByteSpan memory, MemoryFindings& findings) {
  std::size_t most_events = 0;
  for (std::size_t begin = 0; begin + kPageSize <= memory.size(); begin += kPageSize) {
    if (!begins_event_log(memory.subspan(begin))) continue;
    const WalkedLog log = walk_event_log(memory.subspan(begin));
    if (log.events.size() <= most_events) continue;
    most_events = log.events.size();
    findings.event_log = to_bytes(memory.subspan(begin, log.size));
  }
}

}  // namespace

Result<std::vector<ImageExecution>> parse_image_executions(ByteSpan memory, std::uint64_t address) {
  if (address > memory.size())
    return fail(ErrorCode::corrupt, "the image execution table lies outside of the memory");
  ByteReader reader(memory.subspan(address));
  // Firmware counts in 32 bits, then come 4 bytes of padding.
  BOOTSEAL_TRY(const std::uint32_t count, reader.le32("the count of the image execution table"));
  BOOTSEAL_TRY_STATUS(reader.skip(4, "the image execution table"));
  if (count > kMaximumEntries)
    return fail(ErrorCode::corrupt, fmt::format("the image execution table claims {} entries", count));
  std::vector<ImageExecution> executions;
  for (std::uint32_t i = 0; i < count; ++i) {
    BOOTSEAL_TRY(const std::uint32_t action, reader.le32("an action"));
    BOOTSEAL_TRY(const std::uint32_t size, reader.le32("the size of an entry"));
    if (size < kEntryHeaderSize || size > kMaximumEntrySize) {
      return fail(ErrorCode::corrupt,
                  fmt::format("entry {} of the image execution table has {} bytes", i, size));
    }
    BOOTSEAL_TRY(const ByteSpan body,
                 reader.take(size - kEntryHeaderSize, "an entry of the image execution table"));
    executions.push_back(read_execution(action, body));
  }
  return executions;
}

MemoryFindings scan_memory(ByteSpan memory) {
  MemoryFindings findings;
  find_executions(memory, findings);
  find_event_log(memory, findings);
  return findings;
}

}  // namespace bootseal::uefi

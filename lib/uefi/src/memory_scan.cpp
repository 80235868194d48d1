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
constexpr std::size_t kMaximumExecutionTable = 8 + kMaximumEntries * kMaximumEntrySize;
// Memory is read in windows of this size, and a log up to this one (firmware logs have tens of KiB).
constexpr std::size_t kWindowSize = std::size_t{1} << 20, kMaximumEventLog = std::size_t{4} << 20;
constexpr unsigned kMaximumTries = 64, kMaximumMarks = 65536;
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

std::uint64_t load_word(ByteSpan memory, std::size_t offset) {
  std::uint64_t word = 0;
  std::memcpy(&word, memory.data() + offset, sizeof(word));
  return word;
}

// Memory in windows: what is looked for begins anywhere, and is then read by its address.
class Scan {
 public:
  explicit Scan(const GuestMemory& memory)
      : memory_(memory),
        window_(static_cast<std::size_t>(std::min<std::uint64_t>(kWindowSize, memory.size()))) {}

  MemoryFindings run() {
    MemoryFindings findings;
    find_executions(findings);
    find_event_log(findings);
    return findings;
  }

 private:
  // At most kWindowSize bytes that lie within the memory; empty when they cannot be read. Until the next one.
  ByteSpan window_at(std::uint64_t address, std::uint64_t size) {
    const MutableByteSpan window = MutableByteSpan(window_).first(static_cast<std::size_t>(size));
    return memory_.read(address, window) ? ByteSpan(window) : ByteSpan();
  }

  // Up to `size` bytes from `address`; empty when it lies outside or cannot be read.
  Bytes read(std::uint64_t address, std::uint64_t size) {
    if (address >= memory_.size()) return {};
    Bytes bytes(static_cast<std::size_t>(std::min(size, memory_.size() - address)));
    return memory_.read(address, bytes) ? bytes : Bytes();
  }

  // Where the image execution table is, when a plausible EFI system table begins here. `found` says whether
  // one does.
  std::optional<std::uint64_t> execution_table_of(std::uint64_t address, bool& found) {
    const Bytes table = read(address, kSystemTableSize);
    if (table.size() < kSystemTableSize || load_le32(table, kHeaderSizeField) != kSystemTableSize)
      return std::nullopt;
    const std::uint64_t count = load_le64(table, kTableCountField), tables = load_le64(table, kTablesField);
    if (count > kMaximumTables || tables == 0) return std::nullopt;
    const std::uint64_t size = count * kConfigurationTableSize;
    const Bytes entries = read(tables, size);
    if (entries.size() < size) return std::nullopt;
    found = true;
    for (std::size_t i = 0; i < count; ++i) {
      const ByteSpan entry = ByteSpan(entries).subspan(i * kConfigurationTableSize, kConfigurationTableSize);
      if (Guid::from_windows_layout(entry.first<16>()) == kImageExecutionTable) return load_le64(entry, 16);
    }
    return std::nullopt;
  }

  bool take_executions(std::uint64_t system_table, MemoryFindings& findings) {
    const auto address = execution_table_of(system_table, findings.system_table);
    if (!address || tables_tried_++ >= kMaximumTries) return false;
    Result<std::vector<ImageExecution>> executions =
        parse_image_executions(read(*address, kMaximumExecutionTable), 0);
    if (!executions) return false;
    findings.execution_table = true;
    findings.executions = *std::move(executions);
    return true;
  }

  // The table is allocated from a pool: 8-byte aligned, near the end of the memory below 4 GiB. So the search
  // goes down from the end.
  void find_executions(MemoryFindings& findings) {
    for (std::uint64_t end = memory_.size() / kPageSize * kPageSize; end > 0;) {
      const std::uint64_t begin = end > kWindowSize ? end - kWindowSize : 0;
      const ByteSpan window = window_at(begin, end - begin);
      for (std::size_t page = window.size() / kPageSize; page-- > 0;) {
        const ByteSpan content = window.subspan(page * kPageSize, kPageSize);
        bool marked = false;
        for (std::size_t i = 0; i < kPageSize; i += sizeof(std::uint64_t))
          marked |= load_word(content, i) == kSystemTableMark;
        if (!marked) continue;
        for (std::size_t i = 0; i < kPageSize; i += sizeof(std::uint64_t)) {
          if (load_word(content, i) != kSystemTableMark) continue;
          if (marks_tried_++ >= kMaximumMarks || take_executions(begin + page * kPageSize + i, findings))
            return;
        }
      }
      end = begin;
    }
  }

  void take_event_log(std::uint64_t address, MemoryFindings& findings) {
    const Bytes bytes = read(address, kMaximumEventLog);
    const WalkedLog log = walk_event_log(bytes);
    if (log.events.size() <= most_events_) return;
    most_events_ = log.events.size();
    findings.event_log = to_bytes(ByteSpan(bytes).first(log.size));
  }

  // The firmware keeps its log in pages of its own, so a log begins a page. Copies and older ones may lie
  // about: the longest counts.
  void find_event_log(MemoryFindings& findings) {
    const std::uint64_t end = memory_.size() / kPageSize * kPageSize;
    for (std::uint64_t begin = 0; begin < end; begin += kWindowSize) {
      const ByteSpan window = window_at(begin, std::min<std::uint64_t>(kWindowSize, end - begin));
      for (std::size_t page = 0; page < window.size(); page += kPageSize) {
        if (!begins_event_log(window.subspan(page, kPageSize))) continue;
        if (logs_tried_++ >= kMaximumTries) return;
        take_event_log(begin + page, findings);
      }
    }
  }

  const GuestMemory& memory_;
  Bytes window_;
  unsigned marks_tried_ = 0, tables_tried_ = 0, logs_tried_ = 0;
  std::size_t most_events_ = 0;
};

class MemoryInSpan final : public GuestMemory {
 public:
  explicit MemoryInSpan(ByteSpan memory) : memory_(memory) {}
  [[nodiscard]] std::uint64_t size() const override { return memory_.size(); }
  [[nodiscard]] bool read(std::uint64_t address, MutableByteSpan out) const override {
    std::ranges::copy(memory_.subspan(static_cast<std::size_t>(address), out.size()), out.begin());
    return true;
  }

 private:
  ByteSpan memory_;
};

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

MemoryFindings scan_memory(const GuestMemory& memory) {
  return Scan(memory).run();
}

MemoryFindings scan_memory(ByteSpan memory) {
  return scan_memory(MemoryInSpan(memory));
}

}  // namespace bootseal::uefi

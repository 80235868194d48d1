#include "bootseal/uefi/variable_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bootseal/uefi/guids.h"
#include "ftw_block.h"

namespace bootseal::uefi {
namespace {

constexpr Guid kVolumeGuid = guid_literal("fff12b8d-7696-4c8b-a985-2747075b4f50");  // gEfiSystemNvDataFvGuid
constexpr Guid kAuthenticatedStore =
    guid_literal("aaf32c78-947b-439a-a180-2e144ec37792");  // gEfiAuthenticatedVariableGuid

constexpr std::size_t kVolumeHeaderSize = 0x48;
constexpr std::size_t kStoreHeaderSize = 28;
constexpr std::size_t kRecordsBegin = kVolumeHeaderSize + kStoreHeaderSize;
constexpr std::size_t kRecordHeaderSize = 60;
constexpr std::size_t kBlockSize = 0x1000;
constexpr std::uint16_t kRecordMark = 0x55AA;
constexpr std::uint32_t kVolumeAttributes = 0x0004feff;
constexpr std::uint8_t kStoreFormatted = 0x5a, kStoreHealthy = 0xfe;
constexpr std::size_t kMaximumNameBytes = 1024;
constexpr std::byte kErased{0xff};

struct Places {
  std::size_t size;       // of the flash
  std::size_t variables;  // size of the variable region, which begins at 0
  std::size_t working;    // where the working block of fault-tolerant writes begins
};

const Places& places(FlashLayout layout) {
  static constexpr Places k4M{kFlashSize4M, 0x40000, 0x41000};
  static constexpr Places k2M{kFlashSize2M, 0xE000, 0xF000};
  return layout == FlashLayout::k4M ? k4M : k2M;
}

constexpr std::size_t align4(std::size_t size) {
  return (size + 3) & ~std::size_t{3};
}

std::size_t record_size(const Variable& variable) {
  return align4(kRecordHeaderSize + 2 * (variable.name.size() + 1) + variable.data.size());
}

std::uint16_t sum16(ByteSpan data) {
  std::uint16_t sum = 0;
  for (std::size_t i = 0; i + 2 <= data.size(); i += 2)
    sum = static_cast<std::uint16_t>(sum + load_le16(data, i));
  return sum;
}

// EFI_FIRMWARE_VOLUME_HEADER (PI 1.8 volume 3, section 3.2.1.1) with the checksum in place.
Bytes volume_header(const Places& place) {
  ByteWriter header;
  header.fill(16).bytes(kVolumeGuid.windows_layout()).le64(place.size).text("_FVH").le32(kVolumeAttributes);
  header.le16(kVolumeHeaderSize).le16(0).le16(0).u8(0).u8(2);
  header.le32(static_cast<std::uint32_t>(place.size / kBlockSize)).le32(kBlockSize).le32(0).le32(0);
  Bytes bytes = header.take();
  BOOTSEAL_CHECK(bytes.size() == kVolumeHeaderSize);
  store_le16(bytes, 50, static_cast<std::uint16_t>(-sum16(bytes)));
  return bytes;
}

void write_time(ByteWriter& writer, const EfiTime& time) {
  writer.le16(time.year)
      .u8(time.month)
      .u8(time.day)
      .u8(time.hour)
      .u8(time.minute)
      .u8(time.second)
      .u8(0)
      .fill(8);
}

void write_record(ByteWriter& writer, const Variable& variable) {
  const std::size_t begin = writer.size();
  writer.le16(kRecordMark).u8(static_cast<std::uint8_t>(RecordState::added)).u8(0).le32(variable.attributes);
  writer.le64(variable.monotonic_count);
  write_time(writer, variable.time);
  writer.le32(variable.public_key_index).le32(static_cast<std::uint32_t>(2 * (variable.name.size() + 1)));
  writer.le32(static_cast<std::uint32_t>(variable.data.size())).bytes(variable.vendor.windows_layout());
  for (const char16_t unit : variable.name) writer.le16(unit);
  writer.le16(0).bytes(variable.data);
  writer.fill(align4(writer.size() - begin) - (writer.size() - begin), kErased);
}

Status check_volume(ByteSpan flash, const Places& place) {
  const ByteSpan header = flash.first(kVolumeHeaderSize);
  const bool same_guid = std::ranges::equal(header.subspan(16, 16), kVolumeGuid.windows_layout());
  if (!same_guid || as_text(header.subspan(40, 4)) != "_FVH") {
    return fail(ErrorCode::corrupt, "the flash does not begin with the firmware volume of UEFI variables");
  }
  if (load_le64(header, 32) != place.size || load_le16(header, 48) != kVolumeHeaderSize ||
      sum16(header) != 0) {
    return fail(ErrorCode::corrupt, "the header of the variable flash has a wrong size or checksum");
  }
  const ByteSpan store = flash.subspan(kVolumeHeaderSize, kStoreHeaderSize);
  if (!std::ranges::equal(store.first(16), kAuthenticatedStore.windows_layout())) {
    return fail(ErrorCode::corrupt, "the variable store at offset 0x48 is not an authenticated one");
  }
  const auto format = std::to_integer<std::uint8_t>(store[20]),
             state = std::to_integer<std::uint8_t>(store[21]);
  if (load_le32(store, 16) != place.variables - kVolumeHeaderSize || format != kStoreFormatted ||
      state != kStoreHealthy) {
    return fail(ErrorCode::corrupt, "the variable store at offset 0x48 has a wrong size, format or state");
  }
  return {};
}

bool is_known_state(std::uint8_t state) {
  constexpr std::array kStates = {RecordState::unfinished, RecordState::header_only,
                                  RecordState::added,      RecordState::in_deleted_transition,
                                  RecordState::deleted,    RecordState::deleted_after_transition};
  return std::ranges::find(kStates, static_cast<RecordState>(state)) != kStates.end();
}

Result<EfiTime> read_time(ByteReader& reader) {
  EfiTime time;
  BOOTSEAL_TRY(time.year, reader.le16("the year of a time stamp"));
  for (std::uint8_t* field : {&time.month, &time.day, &time.hour, &time.minute, &time.second}) {
    BOOTSEAL_TRY(*field, reader.u8("a time stamp"));
  }
  BOOTSEAL_TRY_STATUS(reader.skip(9, "the rest of a time stamp"));
  return time;
}

Result<std::u16string> read_name(ByteReader& reader, std::uint32_t size) {
  if (size < 4 || size % 2 != 0) return fail(ErrorCode::corrupt, fmt::format("its name has {} bytes", size));
  BOOTSEAL_TRY(const ByteSpan bytes, reader.take(size, "its name"));
  std::u16string name;
  for (std::size_t i = 0; i < size; i += 2) name += static_cast<char16_t>(load_le16(bytes, i));
  if (name.back() != 0) return fail(ErrorCode::corrupt, "its name does not end with a NUL");
  name.pop_back();
  if (name.find(u'\0') != std::u16string::npos) return fail(ErrorCode::corrupt, "its name has a NUL inside");
  return name;
}

// Reads one record after its start mark. Where a write stopped inside the header, EDK2 counts no name and no
// data; where it stopped after the header, the sizes count and the content does not.
Result<Record> read_record(ByteReader& reader, std::size_t offset) {
  Record record;
  record.offset = offset;
  BOOTSEAL_TRY(const std::uint8_t state, reader.u8("its state"));
  if (!is_known_state(state)) return fail(ErrorCode::corrupt, fmt::format("its state is 0x{:02x}", state));
  record.state = static_cast<RecordState>(state);
  Variable& variable = record.variable;
  BOOTSEAL_TRY_STATUS(reader.skip(1, "a reserved byte"));
  BOOTSEAL_TRY(variable.attributes, reader.le32("its attributes"));
  BOOTSEAL_TRY(variable.monotonic_count, reader.le64("its count"));
  BOOTSEAL_TRY(variable.time, read_time(reader));
  BOOTSEAL_TRY(variable.public_key_index, reader.le32("its key index"));
  BOOTSEAL_TRY(const std::uint32_t name_size, reader.le32("the size of its name"));
  BOOTSEAL_TRY(const std::uint32_t data_size, reader.le32("the size of its data"));
  BOOTSEAL_TRY(const ByteSpan vendor, reader.take(16, "its vendor"));
  variable.vendor = Guid::from_windows_layout(vendor.first<16>());
  if (record.state == RecordState::unfinished) return record;
  if (record.state == RecordState::header_only) {
    BOOTSEAL_TRY_STATUS(reader.skip(name_size, "its name"));
    BOOTSEAL_TRY_STATUS(reader.skip(data_size, "its data"));
    return record;
  }
  BOOTSEAL_TRY(variable.name, read_name(reader, name_size));
  BOOTSEAL_TRY(const ByteSpan data, reader.take(data_size, "its data"));
  variable.data = to_bytes(data);
  return record;
}

// Whether the firmware takes this record: the first added one of its name, or the last one in transition when
// none is added.
bool is_live(const std::vector<Record>& records, const Record& record) {
  if (record.state != RecordState::added && record.state != RecordState::in_deleted_transition) return false;
  const Record* live = nullptr;
  for (const Record& other : records) {
    if (other.variable.vendor != record.variable.vendor || other.variable.name != record.variable.name)
      continue;
    if (other.state == RecordState::in_deleted_transition) live = &other;
    if (other.state == RecordState::added) {
      live = &other;
      break;
    }
  }
  return live == &record;
}

}  // namespace

VariableStore VariableStore::blank(FlashLayout layout) {
  return VariableStore(layout);
}

Result<VariableStore> VariableStore::parse(ByteSpan flash) {
  if (flash.size() != kFlashSize4M && flash.size() != kFlashSize2M) {
    return fail(ErrorCode::invalid_argument, fmt::format("a variable flash has {} or {} bytes, there are {}",
                                                         kFlashSize4M, kFlashSize2M, flash.size()));
  }
  VariableStore store(flash.size() == kFlashSize4M ? FlashLayout::k4M : FlashLayout::k2M);
  const Places& place = places(store.layout_);
  BOOTSEAL_TRY_STATUS(check_volume(flash, place));
  BOOTSEAL_TRY_STATUS(check_working_block(flash.subspan(place.working, kBlockSize)));

  const ByteSpan region = flash.first(place.variables);
  std::size_t offset = kRecordsBegin;
  while (offset + kRecordHeaderSize <= region.size() && load_le16(region, offset) == kRecordMark) {
    ByteReader reader(region.subspan(offset));
    BOOTSEAL_TRY_STATUS(reader.skip(2, "the mark of a record"));
    Result<Record> record = read_record(reader, offset);
    if (!record)
      return tl::unexpected(
          record.error().wrap(fmt::format("the variable at offset 0x{:x} of the flash", offset)));
    store.records_.push_back(*std::move(record));
    offset += align4(reader.position());
  }
  return store;
}

std::vector<Variable> VariableStore::variables() const {
  std::vector<Variable> live;
  for (const Record& record : records_) {
    if (is_live(records_, record)) live.push_back(record.variable);
  }
  return live;
}

const Variable* VariableStore::find(const Guid& vendor, std::u16string_view name) const {
  for (const Record& record : records_) {
    if (record.variable.vendor == vendor && record.variable.name == name && is_live(records_, record))
      return &record.variable;
  }
  return nullptr;
}

void VariableStore::drop_dead_records() {
  std::vector<Record> live;
  std::size_t offset = kRecordsBegin;
  for (Variable& variable : variables()) {
    const std::size_t size = record_size(variable);
    live.push_back({.variable = std::move(variable), .state = RecordState::added, .offset = offset});
    offset += size;
  }
  records_ = std::move(live);
}

Status VariableStore::set(Variable variable) {
  const bool bad_name = variable.name.empty() || 2 * (variable.name.size() + 1) > kMaximumNameBytes ||
                        variable.name.find(u'\0') != std::u16string::npos;
  if (bad_name)
    return fail(ErrorCode::invalid_argument,
                "a UEFI variable needs a name of up to 511 characters without NUL");
  const std::string name = to_utf8(variable.name);
  if (variable.data.empty())
    return fail(ErrorCode::invalid_argument,
                fmt::format("the UEFI variable {} has no data; remove it instead", name));
  if ((variable.attributes & kNonVolatile) == 0) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the UEFI variable {} is volatile and cannot be stored", name));
  }
  VariableStore changed = *this;
  changed.remove(variable.vendor, variable.name);
  const std::size_t end = changed.records_.empty() ? kRecordsBegin
                                                   : changed.records_.back().offset +
                                                         record_size(changed.records_.back().variable);
  const std::size_t needed = record_size(variable), room = places(layout_).variables - end;
  if (needed > room) {
    return fail(
        ErrorCode::exhausted,
        fmt::format(
            "the UEFI variable {} needs {} bytes, the variable store has {} left; remove other variables",
            name, needed, room));
  }
  changed.records_.push_back({.variable = std::move(variable), .state = RecordState::added, .offset = end});
  *this = std::move(changed);
  return {};
}

void VariableStore::remove(const Guid& vendor, std::u16string_view name) {
  drop_dead_records();
  std::erase_if(records_, [&](const Record& record) {
    return record.variable.vendor == vendor && record.variable.name == name;
  });
  drop_dead_records();
}

Bytes VariableStore::serialize() const {
  const Places& place = places(layout_);
  ByteWriter flash;
  flash.bytes(volume_header(place)).bytes(kAuthenticatedStore.windows_layout());
  flash.le32(static_cast<std::uint32_t>(place.variables - kVolumeHeaderSize))
      .u8(kStoreFormatted)
      .u8(kStoreHealthy)
      .le16(0)
      .le32(0);
  for (const Variable& variable : variables()) write_record(flash, variable);
  BOOTSEAL_CHECK(flash.size() <= place.variables);
  flash.fill(place.working - flash.size(), kErased);
  flash.bytes(empty_working_block(kBlockSize));
  flash.fill(place.size - flash.size(), kErased);
  return flash.take();
}

std::string to_utf8(std::u16string_view name) {
  std::string text;
  for (std::size_t i = 0; i < name.size(); ++i) {
    std::uint32_t point = name[i];
    const bool high = point >= 0xd800 && point < 0xdc00;
    if (high && i + 1 < name.size() && name[i + 1] >= 0xdc00 && name[i + 1] < 0xe000) {
      point = 0x10000 + ((point - 0xd800) << 10) + (static_cast<std::uint32_t>(name[++i]) - 0xdc00);
    } else if (point >= 0xd800 && point < 0xe000) {
      point = 0xfffd;
    }
    if (point < 0x80) {
      text += static_cast<char>(point);
    } else if (point < 0x800) {
      text += static_cast<char>(0xc0 | (point >> 6));
      text += static_cast<char>(0x80 | (point & 0x3f));
    } else {
      if (point < 0x10000) {
        text += static_cast<char>(0xe0 | (point >> 12));
      } else {
        text += static_cast<char>(0xf0 | (point >> 18));
        text += static_cast<char>(0x80 | ((point >> 12) & 0x3f));
      }
      text += static_cast<char>(0x80 | ((point >> 6) & 0x3f));
      text += static_cast<char>(0x80 | (point & 0x3f));
    }
  }
  return text;
}

}  // namespace bootseal::uefi

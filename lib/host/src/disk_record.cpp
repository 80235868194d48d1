// What is written down about a disk, and what is asked for one.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bootseal/host/disk_store.h"
#include "disk_names.h"

namespace bootseal::host {
namespace {

constexpr std::array<std::string_view, 4> kStates = {"Creating", "Ready", "ActiveUpload", "Failed"};
constexpr std::array<std::string_view, 4> kOrigins = {"empty", "image", "disk", "upload"};
constexpr std::uint64_t kLargestDisk = std::uint64_t{32} << 40;

template <std::size_t N>
Result<std::size_t> one_of(json::Reader& reader, std::string_view field,
                           const std::array<std::string_view, N>& names) {
  BOOTSEAL_TRY(const std::string text, reader.string(field));
  const auto found = std::ranges::find(names, text);
  if (found == names.end())
    return reader.problem(field,
                          fmt::format("'{}' is not one of {}", text.substr(0, 40), fmt::join(names, ", ")));
  return static_cast<std::size_t>(found - names.begin());
}

Result<DiskSource> parse_source(json::Reader& reader) {
  DiskSource source;
  BOOTSEAL_TRY(const std::size_t origin, one_of(reader, "kind", kOrigins));
  source.origin = static_cast<DiskOrigin>(origin);
  if (source.origin == DiskOrigin::image) {
    BOOTSEAL_TRY(source.image, reader.string("path"));
    const std::filesystem::path path(source.image);
    if (!path.is_absolute() || path.lexically_normal() != path)
      return reader.problem("path", "an absolute path was expected");
  }
  if (source.origin == DiskOrigin::disk) {
    BOOTSEAL_TRY(const std::string id, reader.string("diskId"));
    const Result<DiskId> disk = DiskId::parse(id);
    if (!disk) return reader.problem("diskId", disk.error().message);
    source.disk = *disk;
  }
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return source;
}

json::Value source_json(const DiskSource& source) {
  json::Object object{{"kind", kOrigins[static_cast<std::size_t>(source.origin)]}};
  if (!source.image.empty()) object["path"] = source.image;
  if (source.disk) object["diskId"] = source.disk->to_string();
  return object;
}

Result<std::uint64_t> read_size(json::Reader& reader) {
  BOOTSEAL_TRY(const std::uint64_t size, reader.unsigned_integer("sizeBytes"));
  if (size == 0 || size % 512 != 0 || size > kLargestDisk)
    return reader.problem(
        "sizeBytes", fmt::format("{} is no multiple of 512 from 512 to {} (32 TiB)", size, kLargestDisk));
  return size;
}

Result<DiskRecord> read_record(json::Reader& reader) {
  DiskRecord record;
  BOOTSEAL_TRY(const std::string id, reader.string("diskId"));
  BOOTSEAL_TRY(record.id, DiskId::parse(id));
  BOOTSEAL_TRY(const std::size_t state, one_of(reader, "state", kStates));
  record.state = static_cast<DiskState>(state);
  BOOTSEAL_TRY(json::Reader source, reader.object("source"));
  BOOTSEAL_TRY(record.source, parse_source(source));
  BOOTSEAL_TRY(record.size_bytes, read_size(reader));
  BOOTSEAL_TRY(record.raw, reader.boolean("raw"));
  BOOTSEAL_TRY(record.live, reader.boolean_or("live", false));
  BOOTSEAL_TRY(const auto vm, reader.optional_string("attachedTo"));
  if (vm) {
    BOOTSEAL_TRY(record.attached_to, VmId::parse(*vm));
  }
  BOOTSEAL_TRY(std::optional<json::Reader> error, reader.optional_object("error"));
  if (error) {
    BOOTSEAL_TRY(record.error, error_from_json(*error));
  }
  return record;
}

}  // namespace

std::string_view disk_state_name(DiskState state) {
  return kStates[static_cast<std::size_t>(state)];
}

Result<DiskRequest> parse_disk_request(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the disk"));
  DiskRequest request;
  if (reader.has("sizeBytes")) {
    BOOTSEAL_TRY(request.size_bytes, read_size(reader));
  }
  BOOTSEAL_TRY(std::optional<json::Reader> source, reader.optional_object("source"));
  if (source) {
    BOOTSEAL_TRY(request.source, parse_source(*source));
  }
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return request;
}

json::Value to_json(const DiskRecord& record) {
  json::Object object{
      {"formatVersion", 1},
      {"diskId", record.id.to_string()},
      {"state", disk_state_name(record.state)},
      {"source", source_json(record.source)},
      {"sizeBytes", record.size_bytes},
      {"raw", record.raw},
      {"live", record.live},
  };
  if (record.attached_to) object["attachedTo"] = record.attached_to->to_string();
  if (record.error) object["error"] = error_json(*record.error);
  return object;
}

Result<DiskRecord> parse_disk_record(std::string_view text) {
  Result<DiskRecord> record = [&]() -> Result<DiskRecord> {
    BOOTSEAL_TRY(const json::Value value, json::parse(text));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the record"));
    BOOTSEAL_TRY(const std::uint64_t version, reader.unsigned_integer("formatVersion"));
    if (version != 1)
      return reader.problem("formatVersion", fmt::format("version {} is not known to this hostd", version));
    return read_record(reader);
  }();
  if (!record)
    return fail(ErrorCode::corrupt,
                fmt::format("the record of a disk is damaged: {}", record.error().describe()));
  return record;
}

// docs/interop/qcow2 of QEMU: magic at 0, version at 4, incompatible features at 72 from version 3 on.
Status check_qcow2_header(ByteSpan header) {
  constexpr std::uint32_t kMagic = 0x514649fb;
  constexpr std::uint64_t kDirty = 1, kExternalDataFile = 4;
  if (header.size() < 104 || load_be32(header, 0) != kMagic)
    return fail(ErrorCode::corrupt, "the disk's file is no qcow2");
  const std::uint32_t version = load_be32(header, 4);
  if (version == 2) return {};
  const std::uint64_t features = version == 3 ? load_be64(header, 72) : ~std::uint64_t{0};
  if ((features & kExternalDataFile) != 0 && version == 3)
    return fail(ErrorCode::corrupt,
                "the disk's file names another file as the place of its data: it is not opened");
  if ((features & ~kDirty) != 0)
    return fail(
        ErrorCode::corrupt,
        fmt::format("the disk's file has features that are not used here ({:#x}), or is damaged", features));
  return {};
}

}  // namespace bootseal::host

#include "bootseal/vmgs/store.h"

#include <fmt/format.h>

#include "bootseal/base/ids.h"
#include "core.h"

namespace bootseal::vmgs {
namespace {

constexpr std::uint32_t kFirstTableBlock = 2;
constexpr std::uint32_t kFirstExtendedBlock = 3;

Status check_new_key(ByteSpan key) {
  if (key.size() != kKeySize)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the key of a guest state store has {} bytes, not {}", kKeySize, key.size()));
  if (is_zero(key))
    return fail(ErrorCode::invalid_argument, "the key of a guest state store must not be all zero");
  return {};
}

Status check_file_id(FileId id) {
  if (id == FileId::file_table || id >= FileId::extended_file_table) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is not the id of a file (1 to 62)", describe(id)));
  }
  return {};
}

tl::unexpected<Error> no_such_file(FileId id) {
  return fail(ErrorCode::not_found, fmt::format("the guest state store has no file {}", describe(id)));
}

FileInfo info_of(const State& state, FileId id) {
  const FileEntry& entry = state.entry(id);
  return {.id = id,
          .size = entry.size,
          .block = entry.block,
          .blocks = entry.blocks,
          .encrypted = state.is_sealed(id)};
}

}  // namespace

Store::Store(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::format(std::unique_ptr<Device> device, Container container) {
  BOOTSEAL_TRY(const std::uint64_t body_size, planned_body_size(*device, container));
  BOOTSEAL_TRY(const Examination found, examine(*device, container));
  if (found.condition != Condition::empty) {
    return fail(ErrorCode::already_exists,
                fmt::format("the device holds data already ({}); a new store goes on an empty one",
                            found.condition == Condition::valid ? "a guest state store" : found.reason));
  }

  // Until header 1 is there, both headers are zero and the store counts as empty.
  const std::uint32_t sector = device->sector_size();
  BOOTSEAL_TRY_STATUS(device->write(0, Bytes(2 * std::size_t{sector})));
  FileTable table;
  table[0].block = kFirstTableBlock;
  table[0].blocks = 1;
  table[0].size = kBlockSize;
  FileEntry& extended = table[static_cast<std::size_t>(FileId::extended_file_table)];
  extended.block = kFirstExtendedBlock;
  extended.blocks = 1;
  extended.size = kBlockSize;
  BOOTSEAL_TRY_STATUS(device->write(std::uint64_t{kFirstTableBlock} * kBlockSize, wire_bytes(table)));
  BOOTSEAL_TRY_STATUS(device->write(std::uint64_t{kFirstExtendedBlock} * kBlockSize, Bytes(kBlockSize)));
  if (container == Container::fixed_vhd) {
    const VhdFooter footer = make_vhd_footer(body_size, Guid::random().bytes);
    BOOTSEAL_TRY_STATUS(device->write(body_size, wire_bytes(footer)));
  }
  BOOTSEAL_TRY_STATUS(device->flush());
  Header header;
  header.signature = kSignature;
  header.version = kVersion3;
  header.sequence = 1;
  header.header_size = sizeof(Header);
  header.file_table_block = kFirstTableBlock;
  header.file_table_blocks = 1;
  header.checksum = header_checksum(header);
  Bytes first(sector);
  std::ranges::copy(wire_bytes(header), first.begin());
  BOOTSEAL_TRY_STATUS(device->write(0, first));
  BOOTSEAL_TRY_STATUS(device->flush());
  return open(std::move(device), container);
}

Result<Store> Store::open(std::unique_ptr<Device> device, Container container) {
  auto loaded = load(*device, container);
  if (!loaded) return tl::unexpected(std::move(loaded).error().error);
  auto core = std::make_unique<Core>();
  core->device = std::move(device);
  core->body_size = loaded->body_size;
  core->state.slot = loaded->slot;
  core->state.header = loaded->header;
  core->state.table = loaded->table;
  core->state.extents = std::move(loaded->extents);
  core->other_header_valid = loaded->other_header_valid;
  core->other_extents = std::move(loaded->other_extents);
  return Store(std::move(core));
}

Result<Examination> Store::examine(Device& device, Container container) {
  const auto loaded = load(device, container);
  if (loaded) return Examination{};
  if (!loaded.error().condition) return tl::unexpected(loaded.error().error);
  return Examination{*loaded.error().condition, loaded.error().error.message};
}

StoreInfo Store::info() const {
  const Header& header = core_->state.header;
  return {.body_size = core_->body_size,
          .sequence = header.sequence,
          .active_header = core_->state.slot,
          .other_header_valid = core_->other_header_valid,
          .reprovisioned = (header.markers & kMarkerReprovisioned) != 0,
          .encrypted = header.algorithm != kAlgorithmNone,
          .unlocked = core_->key.has_value(),
          .active_key_slot = core_->key ? std::optional(core_->key->slot) : std::nullopt,
          .rotation_unfinished = !header.key_slots[0].empty() && !header.key_slots[1].empty(),
          .zero_metadata_key = core_->zero_metadata_key,
          .free_blocks = core_->allocator().free_blocks()};
}

std::vector<FileInfo> Store::list() const {
  std::vector<FileInfo> files;
  for (std::size_t i = 1; i + 1 < kFileCount; ++i) {
    if (core_->state.table[i].allocated()) files.push_back(info_of(core_->state, static_cast<FileId>(i)));
  }
  return files;
}

std::optional<FileInfo> Store::query(FileId id) const {
  if (!check_file_id(id) || !core_->state.entry(id).allocated()) return std::nullopt;
  return info_of(core_->state, id);
}

std::vector<FileId> Store::removed_without_key() const {
  std::vector<FileId> missing;
  if (!core_->state.sealed) return missing;
  for (std::size_t i = 1; i + 1 < kFileCount; ++i) {
    const auto id = static_cast<FileId>(i);
    if (core_->state.sealed->attributes(id) != 0 && !core_->state.table[i].allocated()) missing.push_back(id);
  }
  return missing;
}

Status Store::unlock(ByteSpan key) {
  return core_->unlock(key);
}

Result<Bytes> Store::read(FileId id, std::size_t limit) {
  BOOTSEAL_TRY_STATUS(check_file_id(id));
  if (!core_->state.entry(id).allocated()) return no_such_file(id);
  return core_->read(id, limit);
}

Result<Bytes> Store::read_stored(FileId id, std::size_t limit) {
  BOOTSEAL_TRY_STATUS(check_file_id(id));
  if (!core_->state.entry(id).allocated()) return no_such_file(id);
  return core_->read_stored(id, limit);
}

Status Store::write(FileId id, ByteSpan content, Protection protection, Overwrite sealed_by_plain) {
  BOOTSEAL_TRY_STATUS(check_file_id(id));
  BOOTSEAL_TRY(Draft draft, core_->begin());
  if (protection == Protection::encrypted) {
    if (!core_->key)
      return fail(
          ErrorCode::conflict,
          fmt::format("file {} is to be sealed and the store has no key; set one first", describe(id)));
    // Microsoft's implementation cannot read such a file back.
    if (content.empty())
      return fail(ErrorCode::invalid_argument,
                  fmt::format("a sealed file ({}) must not be empty", describe(id)));
  } else if (core_->state.entry(id).allocated() && core_->state.is_sealed(id) &&
             sealed_by_plain == Overwrite::refuse) {
    return fail(
        ErrorCode::conflict,
        fmt::format("file {} is sealed; it is not replaced by a plain one unless asked to", describe(id)));
  }
  BOOTSEAL_TRY_STATUS(core_->place(draft, id, content, protection));
  return core_->finish(std::move(draft), core_->key);
}

Status Store::move(FileId from, FileId to, Overwrite overwrite) {
  BOOTSEAL_TRY_STATUS(check_file_id(from));
  BOOTSEAL_TRY_STATUS(check_file_id(to));
  if (from == to)
    return fail(ErrorCode::invalid_argument,
                fmt::format("file {} cannot be moved to itself", describe(from)));
  BOOTSEAL_TRY(Draft draft, core_->begin());
  if (!draft.entry(from).allocated()) return no_such_file(from);
  if (draft.entry(to).allocated() && overwrite == Overwrite::refuse) {
    return fail(ErrorCode::already_exists, fmt::format("there is a file {} already", describe(to)));
  }
  draft.entry(to) = draft.entry(from);
  draft.entry(from) = FileEntry{};
  if (draft.sealed) {
    draft.sealed->copy(from, to);
    draft.sealed->clear(from);
  }
  return core_->finish(std::move(draft), core_->key);
}

Status Store::remove(FileId id) {
  BOOTSEAL_TRY_STATUS(check_file_id(id));
  BOOTSEAL_TRY(Draft draft, core_->begin());
  if (!draft.entry(id).allocated()) return no_such_file(id);
  draft.entry(id) = FileEntry{};
  if (draft.sealed) draft.sealed->clear(id);
  return core_->finish(std::move(draft), core_->key);
}

Status Store::set_first_key(ByteSpan key) {
  BOOTSEAL_TRY_STATUS(check_new_key(key));
  if (core_->state.header.algorithm != kAlgorithmNone) {
    return fail(ErrorCode::already_exists,
                "the guest state store has a key already; replace it with a key rotation");
  }
  for (const FileInfo& file : list()) {
    if (file.encrypted) {
      return fail(ErrorCode::conflict,
                  fmt::format("file {} is sealed under a key that was removed; remove the file first",
                              describe(file.id)));
    }
  }
  BOOTSEAL_TRY(Draft draft, core_->begin());
  draft.header.algorithm = kAlgorithmAesGcm;
  draft.header.key_slots = {};
  draft.sealed.emplace();
  std::optional<StoreKey> store_key(StoreKey{.key = crypto::Secret::copy_of(key), .slot = 0});
  BOOTSEAL_TRY_STATUS(core_->finish(std::move(draft), store_key));
  core_->key = std::move(store_key);
  return {};
}

Status Store::update_key(ByteSpan new_key) {
  BOOTSEAL_TRY_STATUS(check_new_key(new_key));
  if (core_->state.header.algorithm == kAlgorithmNone)
    return fail(ErrorCode::conflict, "the guest state store has no key to replace; set the first one");
  BOOTSEAL_TRY_STATUS(core_->begin());
  const unsigned old_slot = core_->key->slot;
  const unsigned new_slot = 1 - old_slot;
  std::array<KeySlot, 2> slots = core_->state.header.key_slots;
  if (!slots[new_slot].empty()) {
    slots[new_slot] = KeySlot{};
    BOOTSEAL_TRY_STATUS(core_->commit_key_slots(slots));
  }
  slots[new_slot] = wrap_metadata_key(new_key, core_->state.sealed->metadata_key());
  BOOTSEAL_TRY_STATUS(core_->commit_key_slots(slots));
  slots[old_slot] = KeySlot{};
  BOOTSEAL_TRY_STATUS(core_->commit_key_slots(slots));
  core_->key = StoreKey{.key = crypto::Secret::copy_of(new_key), .slot = new_slot};
  // The other header still has the old slot, and with it the metadata key in use: replace both.
  return core_->touch();
}

Status Store::remove_key() {
  if (core_->state.header.algorithm == kAlgorithmNone)
    return fail(ErrorCode::conflict, "the guest state store has no key");
  for (const FileInfo& file : list()) {
    if (file.encrypted) {
      return fail(
          ErrorCode::conflict,
          fmt::format("file {} is sealed and nobody could read it without the key; remove it or write it "
                      "plain first",
                      describe(file.id)));
    }
  }
  BOOTSEAL_TRY(Draft draft, core_->begin());
  draft.header.algorithm = kAlgorithmNone;
  draft.header.key_slots = {};
  draft.sealed.reset();
  BOOTSEAL_TRY_STATUS(core_->place(draft, FileId::extended_file_table, Bytes(kBlockSize), Protection::plain));
  BOOTSEAL_TRY_STATUS(core_->finish(std::move(draft), std::nullopt));
  core_->key.reset();
  return {};
}

Status Store::touch() {
  return core_->touch();
}

Status Store::scrub() {
  return core_->scrub();
}

}  // namespace bootseal::vmgs

// How a change reaches the device. New content goes to blocks that neither header leads to; a flush; the
// header in the slot of the older state; a flush. So at each moment the header of the last acknowledged state
// is on the device with all that it leads to, and no block that it leads to is ever written.
#include <fmt/format.h>

#include "bootseal/crypto/aead.h"
#include "bootseal/crypto/digest.h"
#include "core.h"

namespace bootseal::vmgs {
namespace {

constexpr std::size_t kZeroChunkBlocks = 16;

void fill_random(MutableByteSpan target) {
  Bytes bytes = crypto::random_bytes(target.size());
  std::ranges::copy(bytes, target.begin());
  crypto::wipe(bytes);
}

}  // namespace

Field<kNonceSize> random_nonce() {
  Field<kNonceSize> nonce;
  fill_random(nonce);
  return nonce;
}

KeySlot wrap_metadata_key(ByteSpan key, ByteSpan metadata_key) {
  KeySlot slot;
  slot.nonce = random_nonce();
  const crypto::Sealed sealed = crypto::seal_aes_gcm(key, slot.nonce, metadata_key);
  slot.tag = sealed.tag;
  std::ranges::copy(sealed.ciphertext, slot.wrapped_key.begin());
  return slot;
}

Result<Draft> Store::Core::begin() {
  if (failure) {
    return fail(
        ErrorCode::conflict,
        "an earlier change of the guest state store failed half-way; open it again before the next one",
        *failure);
  }
  if (state.header.algorithm != kAlgorithmNone && !key) {
    return fail(ErrorCode::conflict,
                "the guest state store is locked; unlock it with its key before changing it");
  }
  if (zero_metadata_key) BOOTSEAL_TRY_STATUS(seal_everything_again());
  return draft_of_state();
}

Result<Draft> Store::Core::draft_of_state() const {
  Draft draft{.header = state.header,
              .table = state.table,
              .sealed = state.sealed ? std::optional(state.sealed->duplicate()) : std::nullopt,
              .allocator = allocator(),
              .writes = {}};
  BOOTSEAL_TRY(const std::uint32_t block, draft.allocator.take(1));
  draft.header.file_table_block = block;
  FileEntry& entry = draft.entry(FileId::file_table);
  entry = FileEntry{};
  entry.block = block;
  entry.blocks = 1;
  entry.size = kBlockSize;
  return draft;
}

Status Store::Core::place(Draft& draft, FileId id, ByteSpan content, Protection protection) const {
  const std::uint64_t blocks = std::max<std::uint64_t>(1, (content.size() + kBlockSize - 1) / kBlockSize);
  BOOTSEAL_TRY(const std::uint32_t block, draft.allocator.take(blocks));
  FileEntry& entry = draft.entry(id);
  entry = FileEntry{};
  entry.block = block;
  entry.blocks = static_cast<std::uint32_t>(blocks);
  entry.size = content.size();
  Draft::Write write{.offset = std::uint64_t{block} * kBlockSize, .data = {}};
  if (protection == Protection::encrypted) {
    crypto::Secret file_key = crypto::Secret::random(kKeySize);
    entry.nonce = random_nonce();
    entry.attributes = kAttributesSealed;
    crypto::Sealed sealed = crypto::seal_aes_gcm(file_key.view(), entry.nonce, content);
    entry.tag = sealed.tag;
    draft.sealed->set(id, kAttributesSealed, file_key.view());
    write.data = std::move(sealed.ciphertext);
  } else {
    if (draft.sealed) draft.sealed->clear(id);
    write.data = to_bytes(content);
  }
  // Whole blocks: no old bytes stay behind the content, and the kernel need not read the block to complete
  // it.
  write.data.resize(blocks * kBlockSize);
  draft.writes.push_back(std::move(write));
  return {};
}

Status Store::Core::finish(Draft draft, const std::optional<StoreKey>& store_key) {
  if (draft.sealed) {
    BOOTSEAL_CHECK(store_key.has_value());
    BOOTSEAL_TRY(const std::uint32_t block, draft.allocator.take(1));
    const FileId id = FileId::extended_file_table;
    draft.sealed->clear(id);
    for (std::size_t i = 1; i + 1 < kFileCount; ++i) {
      // Old writers leave these words of the plain table zero.
      FileEntry& file = draft.table[i];
      if (file.allocated()) file.attributes = draft.sealed->attributes(static_cast<FileId>(i));
    }
    std::array<KeySlot, 2>& slots = draft.header.key_slots;
    KeySlot& other = slots[1 - store_key->slot];
    if (zero_metadata_key) other = KeySlot{};
    // While a rotation is unfinished both slots hold the same metadata key and we know only one of the two
    // keys: it stays.
    if (other.empty()) {
      fill_random(draft.sealed->mutable_metadata_key());
      slots[store_key->slot] = wrap_metadata_key(store_key->key.view(), draft.sealed->metadata_key());
    }
    FileEntry& entry = draft.entry(id);
    entry = FileEntry{};
    entry.block = block;
    entry.blocks = 1;
    entry.size = kBlockSize;
    entry.nonce = random_nonce();
    entry.attributes = kAttributesSealed;
    crypto::Sealed sealed =
        crypto::seal_aes_gcm(draft.sealed->metadata_key(), entry.nonce, draft.sealed->table());
    entry.tag = sealed.tag;
    draft.writes.push_back(
        {.offset = std::uint64_t{block} * kBlockSize, .data = std::move(sealed.ciphertext)});
  }
  draft.writes.push_back({.offset = std::uint64_t{draft.header.file_table_block} * kBlockSize,
                          .data = to_bytes(wire_bytes(draft.table))});

  State next{.slot = 1 - state.slot,
             .header = draft.header,
             .table = draft.table,
             .sealed = std::move(draft.sealed),
             .extents = {}};
  auto extents = check_table(next.table, next.header.file_table_block, body_size / kBlockSize);
  BOOTSEAL_CHECK(extents.has_value());
  next.extents = *std::move(extents);
  return commit(std::move(next), std::move(draft.writes));
}

Status Store::Core::commit_key_slots(const std::array<KeySlot, 2>& slots) {
  State next{.slot = 1 - state.slot,
             .header = state.header,
             .table = state.table,
             .sealed = state.sealed->duplicate(),
             .extents = state.extents};
  next.header.key_slots = slots;
  return commit(std::move(next), {});
}

Status Store::Core::write_header(unsigned slot, const Header& header) {
  const std::uint32_t sector = device->sector_size();
  Bytes bytes(sector);
  std::ranges::copy(wire_bytes(header), bytes.begin());
  return device->write(std::uint64_t{slot} * sector, bytes);
}

Status Store::Core::commit(State next, std::vector<Draft::Write> writes) {
  next.header.sequence = state.header.sequence + 1;
  next.header.markers = 0;
  next.header.checksum = header_checksum(next.header);
  const auto put = [&]() -> Status {
    // The header that was read may be in a cache only, after a flush of another process failed. Written
    // again, the first flush settles it, and the header of the state before it may be replaced.
    if (!header_settled) BOOTSEAL_TRY_STATUS(write_header(state.slot, state.header));
    for (const Draft::Write& write : writes) BOOTSEAL_TRY_STATUS(device->write(write.offset, write.data));
    BOOTSEAL_TRY_STATUS(device->flush());
    BOOTSEAL_TRY_STATUS(write_header(next.slot, next.header));
    return device->flush();
  };
  if (const Status done = put(); !done) {
    failure = done.error();
    return done;
  }
  header_settled = true;
  other_header_valid = true;
  other_extents = std::move(state.extents);
  state = std::move(next);
  return {};
}

Status Store::Core::touch() {
  BOOTSEAL_TRY(Draft draft, begin());
  return finish(std::move(draft), key);
}

Status Store::Core::scrub() {
  BOOTSEAL_TRY_STATUS(touch());
  const Bytes zeroes(kZeroChunkBlocks * kBlockSize);
  const auto put = [&]() -> Status {
    for (const Extent& gap : allocator().gaps()) {
      for (std::uint64_t done = 0; done < gap.blocks; done += kZeroChunkBlocks) {
        const std::uint64_t count = std::min<std::uint64_t>(kZeroChunkBlocks, gap.blocks - done);
        BOOTSEAL_TRY_STATUS(
            device->write((gap.block + done) * kBlockSize,
                          ByteSpan(zeroes).first(static_cast<std::size_t>(count * kBlockSize))));
      }
    }
    return device->flush();
  };
  const Status done = put();
  if (!done) failure = done.error();
  return done;
}

// The keys of all files could be read by anybody, so a new metadata key is not enough: each file gets a new
// key too, in one commit, and what the old keys open is overwritten.
Status Store::Core::seal_everything_again() {
  BOOTSEAL_TRY(Draft draft, draft_of_state());
  for (std::size_t i = 1; i + 1 < kFileCount; ++i) {
    const auto id = static_cast<FileId>(i);
    if (!state.table[i].allocated() || !state.is_sealed(id)) continue;
    BOOTSEAL_TRY(Bytes content, read(id, kDefaultReadLimit));
    const Status placed = place(draft, id, content, Protection::encrypted);
    crypto::wipe(content);
    BOOTSEAL_TRY_STATUS(placed);
  }
  BOOTSEAL_TRY_STATUS(finish(std::move(draft), key));
  zero_metadata_key = false;
  return scrub();
}

}  // namespace bootseal::vmgs

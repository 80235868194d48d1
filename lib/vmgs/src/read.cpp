// Unlocking a store and reading its files.
#include <fmt/format.h>

#include "bootseal/crypto/aead.h"
#include "core.h"

namespace bootseal::vmgs {

bool State::is_sealed(FileId id) const {
  const FileEntry& plain = entry(id);
  if (sealed && id != FileId::extended_file_table) return sealed->attributes(id) != 0;
  if (plain.attributes != 0) return true;
  // Old writers leave the attributes to the sealed table. A nonce or a tag gives the file away.
  return header.algorithm != kAlgorithmNone && !(is_zero(plain.nonce) && is_zero(plain.tag));
}

void SealedTable::set(FileId id, std::uint32_t attributes, ByteSpan key) {
  clear(id);
  store_le32(memory_.mutable_view(), offset(id), attributes);
  std::ranges::copy(key, memory_.mutable_view().subspan(offset(id) + offsetof(ExtendedEntry, key)).begin());
}

void SealedTable::copy(FileId from, FileId to) {
  const MutableByteSpan memory = memory_.mutable_view();
  std::ranges::copy(memory.subspan(offset(from), sizeof(ExtendedEntry)), memory.subspan(offset(to)).begin());
}

Allocator Store::Core::allocator() const {
  Allocator allocator(body_size / kBlockSize);
  allocator.reserve(state.extents);
  allocator.reserve(other_extents);
  return allocator;
}

Status Store::Core::unlock(ByteSpan candidate) {
  if (candidate.size() != kKeySize)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("the key of a guest state store has {} bytes, not {}", kKeySize, candidate.size()));
  if (state.header.algorithm == kAlgorithmNone)
    return fail(ErrorCode::conflict, "the guest state store is not encrypted");

  SealedTable opened;
  std::optional<unsigned> slot;
  for (unsigned i = 0; i < 2 && !slot; ++i) {
    const KeySlot& wrapped = state.header.key_slots[i];
    if (wrapped.empty()) continue;
    Result<Bytes> metadata_key =
        crypto::open_aes_gcm(candidate, wrapped.nonce, wrapped.wrapped_key, wrapped.tag);
    if (!metadata_key) continue;
    std::ranges::copy(*metadata_key, opened.mutable_metadata_key().begin());
    crypto::wipe(*metadata_key);
    slot = i;
  }
  if (!slot) return fail(ErrorCode::permission_denied, "the key opens no key slot of the guest state store");

  const FileEntry& entry = state.entry(FileId::extended_file_table);
  if (!entry.allocated() || entry.size != kBlockSize) {
    return fail(ErrorCode::corrupt,
                fmt::format("the extended file table has {} bytes in {} blocks, not {} in 1",
                            std::uint64_t{entry.size}, std::uint32_t{entry.blocks}, kBlockSize));
  }
  Bytes ciphertext(kBlockSize);
  BOOTSEAL_TRY_STATUS(device->read(std::uint64_t{entry.block} * kBlockSize, ciphertext));
  bool weak = is_zero(opened.metadata_key());
  Result<Bytes> table = crypto::open_aes_gcm(opened.metadata_key(), entry.nonce, ciphertext, entry.tag);
  if (!table && !weak) {
    table = crypto::open_aes_gcm(Bytes(kKeySize), entry.nonce, ciphertext, entry.tag);
    weak = table.has_value();
  }
  if (!table)
    return fail(ErrorCode::corrupt,
                "the key fits, and the extended file table that it protects fails its authentication");
  std::ranges::copy(*table, opened.mutable_table().begin());
  crypto::wipe(*table);
  state.sealed = std::move(opened);
  key = StoreKey{.key = crypto::Secret::copy_of(candidate), .slot = *slot};
  zero_metadata_key = weak;
  return {};
}

Result<Bytes> Store::Core::read_stored(FileId id, std::size_t limit) const {
  const FileEntry& entry = state.entry(id);
  if (entry.size > limit) {
    return fail(ErrorCode::exhausted, fmt::format("file {} holds {} bytes, more than the {} that are read",
                                                  describe(id), std::uint64_t{entry.size}, limit));
  }
  Bytes content(static_cast<std::size_t>(entry.size));
  BOOTSEAL_TRY_STATUS(device->read(std::uint64_t{entry.block} * kBlockSize, content));
  return content;
}

Result<Bytes> Store::Core::read(FileId id, std::size_t limit) const {
  const bool sealed = state.is_sealed(id);
  if (sealed && !state.sealed) {
    return fail(
        ErrorCode::conflict,
        fmt::format("file {} is sealed and the store is locked; unlock it with its key", describe(id)));
  }
  BOOTSEAL_TRY(Bytes content, read_stored(id, limit));
  if (!sealed) return content;
  const FileEntry& entry = state.entry(id);
  auto plain = crypto::open_aes_gcm(state.sealed->file_key(id), entry.nonce, content, entry.tag);
  if (!plain) return tl::unexpected(plain.error().wrap(fmt::format("file {}", describe(id))));
  return plain;
}

}  // namespace bootseal::vmgs

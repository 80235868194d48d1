// The inside of a Store: its state as last committed, and drafts of the next one.
#pragma once

#include "allocator.h"
#include "bootseal/crypto/secret.h"
#include "load.h"

namespace bootseal::vmgs {

// What only the key opens: the metadata key and the extended file table, in memory that is locked and wiped.
class SealedTable {
 public:
  SealedTable() : memory_(kBlockSize + kKeySize) {}
  [[nodiscard]] SealedTable duplicate() const { return SealedTable(memory_.duplicate()); }

  [[nodiscard]] ByteSpan table() const { return memory_.view().first(kBlockSize); }
  [[nodiscard]] MutableByteSpan mutable_table() { return memory_.mutable_view().first(kBlockSize); }
  [[nodiscard]] ByteSpan metadata_key() const { return memory_.view().subspan(kBlockSize); }
  [[nodiscard]] MutableByteSpan mutable_metadata_key() { return memory_.mutable_view().subspan(kBlockSize); }

  [[nodiscard]] std::uint32_t attributes(FileId id) const { return load_le32(memory_.view(), offset(id)); }
  [[nodiscard]] ByteSpan file_key(FileId id) const {
    return memory_.view().subspan(offset(id) + offsetof(ExtendedEntry, key), kKeySize);
  }
  void set(FileId id, std::uint32_t attributes, ByteSpan key);
  void clear(FileId id) { crypto::wipe(memory_.mutable_view().subspan(offset(id), sizeof(ExtendedEntry))); }
  void copy(FileId from, FileId to);

 private:
  explicit SealedTable(crypto::Secret memory) : memory_(std::move(memory)) {}
  static std::size_t offset(FileId id) { return static_cast<std::size_t>(id) * sizeof(ExtendedEntry); }

  crypto::Secret memory_;
};

// One committed state.
struct State {
  unsigned slot = 0;  // of the header it hangs from
  Header header;
  FileTable table;
  std::optional<SealedTable> sealed;  // when unlocked
  std::vector<Extent> extents;

  [[nodiscard]] const FileEntry& entry(FileId id) const { return table[static_cast<std::size_t>(id)]; }
  [[nodiscard]] bool is_sealed(FileId id) const;
};

// The key of the store, and the slot that it opens.
struct StoreKey {
  crypto::Secret key;
  unsigned slot = 0;
};

// The next state while it is put together; nothing of it is on the device yet.
struct Draft {
  struct Write {
    std::uint64_t offset = 0;
    Bytes data;
  };
  Header header;
  FileTable table;
  std::optional<SealedTable> sealed;
  Allocator allocator;
  std::vector<Write> writes;

  FileEntry& entry(FileId id) { return table[static_cast<std::size_t>(id)]; }
};

struct Store::Core {
  std::unique_ptr<Device> device;
  std::uint64_t body_size = 0;
  State state;
  bool other_header_valid = false;
  std::vector<Extent> other_extents;  // what the other header leads to; kept until it is replaced
  std::optional<StoreKey> key;
  bool zero_metadata_key = false;
  bool header_settled = false;   // the active header was written and flushed by this object
  std::optional<Error> failure;  // of a change that stopped half-way

  [[nodiscard]] Allocator allocator() const;
  Status unlock(ByteSpan candidate);
  Result<Bytes> read(FileId id, std::size_t limit) const;
  Result<Bytes> read_stored(FileId id, std::size_t limit) const;

  // A draft equal to the current state but with a new block for the file table. Checks that a change is
  // allowed now and, when the metadata key is zero, first seals everything under fresh keys.
  Result<Draft> begin();
  // Puts `content` on fresh blocks of the draft.
  Status place(Draft& draft, FileId id, ByteSpan content, Protection protection) const;
  // Seals the tables of the draft under `store_key` (nullopt: an unencrypted store) and commits it.
  Status finish(Draft draft, const std::optional<StoreKey>& store_key);
  // Commits the current state with other key slots.
  Status commit_key_slots(const std::array<KeySlot, 2>& slots);
  Status touch();
  Status scrub();

 private:
  Result<Draft> draft_of_state() const;
  Status seal_everything_again();
  // Data, flush, header, flush.
  Status commit(State next, std::vector<Draft::Write> writes);
  Status write_header(unsigned slot, const Header& header);
};

// 12 random bytes. Other implementations count in 8 of them; a store that was put back from a copy would then
// use a nonce twice under the same key.
Field<kNonceSize> random_nonce();
// A slot that holds `metadata_key` sealed by `key`.
KeySlot wrap_metadata_key(ByteSpan key, ByteSpan metadata_key);

}  // namespace bootseal::vmgs

// What is in a store, structure by structure, whether it opens or not: for people who want to know what is
// wrong with one, and for the repair.
//
//   BOOTSEAL_TRY(const Inspection found, inspect(device, Container::fixed_vhd, key));
//   for (const Finding& finding : found.findings) …
#pragma once

#include <array>

#include "bootseal/vmgs/store.h"

namespace bootseal::vmgs {

enum class Severity : std::uint8_t { ok, note, warning, damage };

struct Finding {
  Severity severity = Severity::ok;
  std::string where;  // "footer", "header 1", "header 2, file TPM_NVRAM (3)"
  std::string text;
};

struct KeySlotReport {
  bool empty = true;
  Bytes nonce;
  Bytes tag;
  Bytes wrapped_key;
};

// The fields as they stand on the device, also of a damaged header.
struct HeaderReport {
  enum class State : std::uint8_t { blank, valid, damaged };
  State state = State::blank;
  std::string reason;  // of damage, in words
  std::uint64_t signature = 0;
  std::uint32_t version = 0;
  std::uint32_t checksum = 0;
  std::uint32_t computed_checksum = 0;
  std::uint32_t sequence = 0;
  std::uint32_t header_size = 0;
  std::uint32_t file_table_block = 0;
  std::uint32_t file_table_blocks = 0;
  std::uint16_t algorithm = 0;
  std::uint16_t markers = 0;
  std::array<KeySlotReport, 2> key_slots;
};

enum class Seal : std::uint8_t {
  plain,     // not sealed: nothing tells whether its bytes are those that were written
  locked,    // sealed, and the key was not given or does not open it
  verified,  // the tag is right
  failed,    // the tag is wrong, or the place of the file is
};

struct FileReport {
  FileInfo info;
  std::uint32_t attributes = 0;  // of the plain file table
  Bytes nonce;
  Bytes tag;
  Seal seal = Seal::plain;
  std::string reason;  // of failed
};

// The state that one header leads to: a generation of the store.
struct GenerationReport {
  unsigned header = 0;  // 0 or 1
  std::uint32_t sequence = 0;
  bool active = false;
  std::string table_fault;  // of the file table; empty = in order
  bool encrypted = false;
  bool unlocked = false;
  std::string key_fault;  // when a key was given and did not unlock it
  std::optional<unsigned> active_key_slot;
  bool rotation_unfinished = false;
  bool zero_metadata_key = false;
  std::vector<FileReport> files;  // of a table that could be read
  std::vector<FileId> removed_without_key;

  // Nothing of it is known to be damaged.
  [[nodiscard]] bool whole() const;
};

struct Inspection {
  std::uint64_t device_size = 0;
  std::uint64_t body_size = 0;  // as the footer says; without a right one what the device has room for
  std::uint32_t sector_size = kSmallSectorSize;
  std::optional<std::string> footer_fault;  // nullopt: in order, or there is none in a raw container
  Condition condition = Condition::valid;
  std::string reason;  // of a condition that is not valid
  std::array<HeaderReport, 2> headers;
  std::vector<GenerationReport> generations;  // of the valid headers, the active one first
  std::vector<Finding> findings;              // every structure once at least, in the order of the above

  [[nodiscard]] bool damaged() const;
};

// Looks at everything and writes nothing. With the key (kKeySize bytes) the seals are checked too. Errors:
// io_error, invalid_argument (sector size, size of the key).
Result<Inspection> inspect(Device& device, Container container, std::optional<ByteSpan> key = std::nullopt);

}  // namespace bootseal::vmgs

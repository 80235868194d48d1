// A VMGS version 3 store: up to 62 small files, some of them sealed with AES-256-GCM, on a block device,
// changed atomically.
//
//   BOOTSEAL_TRY(auto device, FileDevice::open(std::move(fd)));
//   BOOTSEAL_TRY(Store store, Store::open(std::move(device), Container::fixed_vhd));
//   BOOTSEAL_TRY_STATUS(store.unlock(key.view()));
//   BOOTSEAL_TRY(const Bytes variables, store.read(FileId::bios_nvram));
//
// Every change is one commit (three for a key rotation) that returns when it is on stable storage. After a
// crash at any point the store opens with the state before or after the change; a change that was reported
// done is never lost. docs/guest-state.md describes the layout and the order of writes. Opening and unlocking
// write nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/vmgs/device.h"

namespace bootseal::vmgs {

inline constexpr std::uint32_t kBlockSize = 4096;
inline constexpr std::size_t kFileCount = 64;
inline constexpr std::uint64_t kDefaultBodySize = 4U << 20;
inline constexpr std::uint64_t kMinimumBodySize = std::uint64_t{4} * kBlockSize;
inline constexpr std::uint64_t kMaximumDeviceSize = std::uint64_t{4} << 30;
inline constexpr std::uint64_t kFooterSize = 512;
inline constexpr std::size_t kKeySize = 32;
inline constexpr std::size_t kDefaultReadLimit = 64U << 20;

// Which file of a store; below 64. The names are those that Microsoft gave; 20 to 62 are free.
enum class FileId : std::uint8_t {
  file_table = 0,
  bios_nvram = 1,
  tpm_ppi = 2,
  tpm_nvram = 3,
  rtc_skew = 4,
  attest = 5,
  key_protector = 6,
  vm_unique_id = 7,
  guest_firmware = 8,
  custom_uefi = 9,
  guest_watchdog = 10,
  hardware_key_protector = 11,
  guest_secret_key = 13,
  hibernation_token = 14,
  platform_seed = 15,
  provenance_document = 16,
  tpm_nvram_backup = 17,
  provisioning_marker = 18,
  tpm_185_nvram = 19,
  extended_file_table = 63,
};

// What holds the body: a fixed VHD (a 512-byte footer at the end; 512-byte sectors) or the device as it is.
enum class Container : std::uint8_t { fixed_vhd, raw };
enum class Protection : std::uint8_t { plain, encrypted };
enum class Overwrite : std::uint8_t { refuse, allow };

enum class Condition : std::uint8_t {
  valid,
  empty,           // no store yet: nothing at all, or both headers zero
  version_1,       // the GPT disk of old Hyper-V hosts
  invalid_format,  // neither header is one of version 3
  corrupt,         // a checksum, a table or the pair of headers contradicts itself
};
struct Examination {
  Condition condition = Condition::valid;
  std::string reason;  // in words, for all but valid
};

struct FileInfo {
  FileId id{};
  std::uint64_t size = 0;    // bytes of content
  std::uint32_t block = 0;   // first block
  std::uint32_t blocks = 0;  // blocks allocated
  bool encrypted = false;    // sealed, as far as can be told without the key when the store is locked
};

struct StoreInfo {
  std::uint64_t body_size = 0;
  std::uint32_t sequence = 0;
  unsigned active_header = 0;
  bool other_header_valid = false;
  bool reprovisioned = false;
  bool encrypted = false;                   // a key is set
  bool unlocked = false;                    // the key was given
  std::optional<unsigned> active_key_slot;  // when unlocked
  bool rotation_unfinished = false;         // both key slots are filled
  // The keys of the files can be read without any key (written by a faulty release of another
  // implementation). The next change seals everything again under fresh keys.
  bool zero_metadata_key = false;
  std::uint64_t free_blocks = 0;
};

class Store {
 public:
  // Writes an empty, unencrypted store (sequence 1) on a device that holds none. The body is the whole
  // device, less the footer for fixed_vhd. Errors: already_exists when it holds anything else than zeroed
  // headers, invalid_argument for a device smaller than kMinimumBodySize or larger than kMaximumDeviceSize,
  // or a container that does not go with its sector size; io_error, exhausted.
  static Result<Store> format(std::unique_ptr<Device> device, Container container);

  // Checks footer, headers and file table, and writes nothing. Errors: not_found (Condition::empty),
  // unsupported (version_1), corrupt (invalid_format and corrupt), invalid_argument (sector size), io_error.
  static Result<Store> open(std::unique_ptr<Device> device, Container container);

  // As open(), for a word on what is there. Errors: io_error.
  static Result<Examination> examine(Device& device, Container container);

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store();

  [[nodiscard]] StoreInfo info() const;
  // Files in order of id, without the two tables.
  [[nodiscard]] std::vector<FileInfo> list() const;
  // nullopt when there is no such file.
  [[nodiscard]] std::optional<FileInfo> query(FileId id) const;
  // Files that the sealed table says are there and encrypted, and that the (unsealed) file table no longer
  // has: somebody without the key removed them. Empty while locked.
  [[nodiscard]] std::vector<FileId> removed_without_key() const;

  // Gives the key (kKeySize bytes; a copy is kept and wiped). Errors: invalid_argument (size), conflict (the
  // store is not encrypted), permission_denied (no key slot opens with it), corrupt (the slot opens and the
  // table it protects does not), io_error.
  Status unlock(ByteSpan key);

  // The content of one file. Errors: not_found, conflict (encrypted, and the store is locked), corrupt
  // (authentication fails), exhausted (larger than `limit`), io_error.
  Result<Bytes> read(FileId id, std::size_t limit = kDefaultReadLimit);

  // The bytes of one file as they stand on the device: of a sealed one the ciphertext. Errors: not_found,
  // exhausted (larger than `limit`), io_error.
  Result<Bytes> read_stored(FileId id, std::size_t limit = kDefaultReadLimit);

  // The operations below change the store. All: conflict when the store is encrypted and locked, or when an
  // earlier change failed half-way (open it again then); exhausted when no free run of blocks is long enough
  // (nothing was written then); io_error.

  // Creates or replaces a file. A sealed file gets a fresh key each time. Errors besides: invalid_argument
  // for a table's id or an empty sealed file, conflict for a sealed file in a store without a key, or a plain
  // one over a sealed one with Overwrite::refuse.
  Status write(FileId id, ByteSpan content, Protection protection,
               Overwrite sealed_by_plain = Overwrite::refuse);
  // Gives a file another id. Errors besides: not_found, already_exists (with Overwrite::refuse),
  // invalid_argument.
  Status move(FileId from, FileId to, Overwrite overwrite = Overwrite::refuse);
  // Errors besides: not_found, invalid_argument.
  Status remove(FileId id);

  // Sets the first key. Files that are there stay as they are. Errors besides: already_exists,
  // invalid_argument (size, all zero).
  Status set_first_key(ByteSpan key);
  // Replaces the key: one commit adds the new one, one removes the old one, so that at each moment one of
  // them opens the store, and a third replaces the header that still has the old one. A rotation that an
  // earlier crash left unfinished is cleaned up first. Errors besides: as set_first_key; conflict (not
  // encrypted).
  Status update_key(ByteSpan new_key);
  // Makes the store an unencrypted one. Errors besides: conflict while a sealed file is left (remove it or
  // write it plain first).
  Status remove_key();

  // A commit without change: what only the older of the two headers referred to becomes free.
  Status touch();
  // touch(), then overwrites every free block with zeroes.
  Status scrub();

 private:
  friend class Generation;  // looks at one state by itself
  struct Core;
  explicit Store(std::unique_ptr<Core> core);

  std::unique_ptr<Core> core_;
};

// "TPM_NVRAM (3)" or "49".
std::string describe(FileId id);
// A file's name or number; nullopt for other text and numbers above 63.
std::optional<FileId> parse_file_id(std::string_view text);

}  // namespace bootseal::vmgs

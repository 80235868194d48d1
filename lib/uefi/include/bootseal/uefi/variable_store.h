// OVMF's authenticated variable store: the whole variable flash of a VM, read and written byte by byte as
// EDK2 does (MdeModulePkg VariableFormat.h, PiFirmwareVolume.h, FaultTolerantWriteDxe). No firmware is
// needed, the VM is off.
//
//   VariableStore store = VariableStore::blank(FlashLayout::k4M);
//   BOOTSEAL_TRY_STATUS(store.set({.vendor = kImageSecurityDatabase, .name = u"db", .attributes =
//   kAuthenticatedAttributes,
//                                  .time = time, .data = build_x509_list(owner, der)}));
//   const Bytes flash = store.serialize();
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/bytes.h"
#include "bootseal/base/ids.h"

namespace bootseal::uefi {

// Which build of OVMF the flash is for: 4M (540672 bytes, variables 256 KiB) or 2M (131072 bytes, variables
// 56 KiB).
enum class FlashLayout : std::uint8_t { k4M, k2M };

inline constexpr std::size_t kFlashSize4M = 0x84000;
inline constexpr std::size_t kFlashSize2M = 0x20000;

// EFI_TIME without time zone, daylight and nanoseconds (they are zero in authenticated variables, UEFI 2.10
// section 8.2.2).
struct EfiTime {
  std::uint16_t year = 0;
  std::uint8_t month = 0, day = 0, hour = 0, minute = 0, second = 0;
  auto operator<=>(const EfiTime&) const = default;
};

inline constexpr std::uint32_t kNonVolatile = 0x01, kBootService = 0x02, kRuntime = 0x04,
                               kTimeBasedAuthenticated = 0x20;
// Of PK, KEK, db and dbx.
inline constexpr std::uint32_t kAuthenticatedAttributes =
    kNonVolatile | kBootService | kRuntime | kTimeBasedAuthenticated;

struct Variable {
  Guid vendor;
  std::u16string name;  // UCS-2 as stored, without the ending NUL; never empty
  std::uint32_t attributes = kNonVolatile | kBootService;
  EfiTime time;  // all zero for variables without time-based authentication
  std::uint64_t monotonic_count = 0;
  std::uint32_t public_key_index = 0;
  Bytes data;
  bool operator==(const Variable&) const = default;
};

// The state byte of a record. Flash can only clear bits, so each state follows the one before.
enum class RecordState : std::uint8_t {
  unfinished = 0xff,                // the write stopped inside the header
  header_only = 0x7f,               // the write stopped after the header
  added = 0x3f,                     // live
  in_deleted_transition = 0x3e,     // being replaced: live unless an added record of the same name exists
  deleted = 0x3d,                   //
  deleted_after_transition = 0x3c,  //
};

struct Record {
  Variable variable;
  RecordState state = RecordState::added;
  std::size_t offset = 0;  // of the record in the flash
};

class VariableStore {
 public:
  // An erased flash with its headers: byte for byte Debian's OVMF_VARS_4M.fd (or OVMF_VARS.fd).
  static VariableStore blank(FlashLayout layout);
  // Reads a whole flash. The size tells the layout. Errors: invalid_argument for a size that is neither
  // layout's; corrupt, with the offset, when a header or record does not hold together; conflict when the
  // firmware stopped inside a fault-tolerant write (it would replay that write over what is here: start the
  // VM once, shut it down and try again).
  static Result<VariableStore> parse(ByteSpan flash);

  [[nodiscard]] FlashLayout layout() const { return layout_; }
  // Every record in its order, dead ones included. After set() or remove() only live ones remain.
  [[nodiscard]] const std::vector<Record>& records() const { return records_; }
  // What the firmware sees.
  [[nodiscard]] std::vector<Variable> variables() const;
  // The live variable of that name; nullptr when there is none. Valid until the next change of the store.
  [[nodiscard]] const Variable* find(const Guid& vendor, std::u16string_view name) const;

  // Adds or replaces a variable. Errors: invalid_argument (name empty, longer than 1 KiB or with a NUL; no
  // data; not non-volatile), exhausted (the store is full). The store is unchanged then.
  Status set(Variable variable);
  // Removes a variable; success when there is none.
  void remove(const Guid& vendor, std::u16string_view name);

  // The whole flash: headers, the live variables in order without gaps, an empty working block, erased spare.
  [[nodiscard]] Bytes serialize() const;

 private:
  explicit VariableStore(FlashLayout layout) : layout_(layout) {}
  void drop_dead_records();

  FlashLayout layout_;
  std::vector<Record> records_;
};

// UTF-8 of a UCS-2 name; what is no character becomes U+FFFD.
std::string to_utf8(std::u16string_view name);

}  // namespace bootseal::uefi

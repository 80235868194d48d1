// The UEFI variable flash of one VM in memory, and when what the firmware writes to it becomes durable.
//
// QEMU writes through one 512-byte sector for each byte that the firmware programs, so a SetVariable() is
// some hundred writes. What makes a variable count is one of them: EDK2 programs the State byte of the new
// record from 0x7F (header valid) to 0x3F (ADDED), and of a deleted record from 0x3F to 0x3D (DELETED)
// (MdeModulePkg, VariableRuntimeDxe, UpdateVariable()). Before that write the change does not exist for a
// reader; after it, it does. Hence:
//
//   1. A write that makes some record live or deleted is committed before it is acknowledged, so a
//      SetVariable() that has returned to the guest is on disk whatever is killed afterwards. So is every
//      change of the fault-tolerant-write working block, which decides whether an interrupted reclaim of the
//      store is finished or forgotten.
//   2. Any other write is acknowledged at once and committed at FLUSH, with a FUA write, when its client
//      goes, at the end, and at the latest kCommitDelay after it was made.
//
// Each commit holds the whole image as of one moment between two writes, so the file always holds a flash
// that the firmware could have left behind at a power cut, and EDK2 recovers from that.
//
// Measured (two-core cloud machine, ext4): a write that is only acknowledged takes 4 us over the socket, a
// commit of the whole flash 0.9 ms of processor time and 1.2 to 1.8 ms in all, most of it two fdatasync().
// The first boot of OVMF from the blank template, up to BootOrder, made 70 commits in 7 s under TCG, and 394
// in 18 s on a machine so busy that rule 2 came into play after almost each write.
#pragma once

#include <chrono>
#include <optional>

#include "bootseal/guest/guestd.h"
#include "state_keeper.h"

namespace bootseal::guest {

class VariableFlash {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kCommitDelay{10};

  // Loads the image as last committed. `keeper` outlives it. Errors: guest_state_missing when there is none,
  // guest_state_damaged for another size than kVariableFlashSize, and those of GuestState::read.
  static Result<VariableFlash> load(StateKeeper& keeper);

  // `offset` and `size` lie inside the flash (the caller has checked).
  [[nodiscard]] ByteSpan read(std::size_t offset, std::size_t size) const;
  // Changes the image and commits it when this write needs that (see above). Errors: those of the commit.
  Status write(std::size_t offset, ByteSpan data, Time now);
  // Commits what is not committed yet.
  Status flush();

  // When flush() is due at the latest; nullopt while everything is committed.
  [[nodiscard]] std::optional<Time> deadline() const;

 private:
  VariableFlash(StateKeeper& keeper, Bytes image) : keeper_(&keeper), image_(std::move(image)) {}

  [[nodiscard]] bool takes_effect(std::size_t offset, ByteSpan data) const;

  StateKeeper* keeper_;
  Bytes image_;
  std::optional<Time> first_uncommitted_;
};

}  // namespace bootseal::guest

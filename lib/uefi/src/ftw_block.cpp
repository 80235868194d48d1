#include "ftw_block.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/uefi/guids.h"

namespace bootseal::uefi {
namespace {

constexpr Guid kWorkingBlock =
    guid_literal("9e58292b-7c68-497d-a0ce-6500fd9f1b95");  // gEdkiiWorkingBlockSignatureGuid
constexpr std::size_t kHeaderSize = 32;
constexpr std::size_t kChecksumOffset = 16, kStateOffset = 20, kQueueSizeOffset = 24;
constexpr std::uint8_t kWorkingBlockValid = 0xfe;

// EFI_FAULT_TOLERANT_WRITE_HEADER and _RECORD. A bit that is 0 means that the step was taken.
constexpr std::size_t kWriteHeaderSize = 40, kWriteRecordSize = 40;
constexpr std::size_t kWritesOffset = 24, kPrivateSizeOffset = 32;
constexpr std::uint8_t kHeaderAllocated = 0x01, kComplete = 0x04;

// The CRC covers the header as it is before the block was declared valid: checksum, state and reserved bytes
// erased.
std::uint32_t header_checksum(ByteSpan header) {
  Bytes erased = to_bytes(header);
  std::fill(erased.begin() + kChecksumOffset, erased.begin() + kQueueSizeOffset, std::byte{0xff});
  return crc32(erased);
}

}  // namespace

Bytes empty_working_block(std::size_t size) {
  ByteWriter block;
  block.bytes(kWorkingBlock.windows_layout())
      .fill(kQueueSizeOffset - kChecksumOffset, std::byte{0xff})
      .le64(size - kHeaderSize);
  Bytes bytes = block.take();
  store_le32(bytes, kChecksumOffset, header_checksum(bytes));
  bytes[kStateOffset] = std::byte{kWorkingBlockValid};
  bytes.resize(size, std::byte{0xff});
  return bytes;
}

Status check_working_block(ByteSpan block) {
  const ByteSpan header = block.first(kHeaderSize);
  const bool right_size = load_le64(header, kQueueSizeOffset) == block.size() - kHeaderSize;
  if (!std::ranges::equal(header.first(16), kWorkingBlock.windows_layout()) || !right_size ||
      load_le32(header, kChecksumOffset) != header_checksum(header)) {
    return fail(ErrorCode::corrupt, "the working block of the variable flash is damaged");
  }
  std::size_t offset = kHeaderSize;
  while (offset + kWriteHeaderSize <= block.size()) {
    const auto steps = std::to_integer<std::uint8_t>(block[offset]);
    if ((steps & kHeaderAllocated) != 0) return {};
    if ((steps & kComplete) != 0) {
      return fail(ErrorCode::conflict,
                  "the firmware was stopped while it wrote its variables and will finish that write at its "
                  "next start; start the VM once, shut "
                  "it down and try again");
    }
    const std::uint64_t writes = load_le64(block, offset + kWritesOffset);
    const std::uint64_t private_size = load_le64(block, offset + kPrivateSizeOffset);
    if (writes > block.size() || private_size > block.size()) {
      return fail(
          ErrorCode::corrupt,
          fmt::format("the write queue of the variable flash is damaged at offset 0x{:x} of its block",
                      offset));
    }
    offset += kWriteHeaderSize + writes * (kWriteRecordSize + private_size);
  }
  return {};
}

}  // namespace bootseal::uefi

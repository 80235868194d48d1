// The working block of EDK2's fault-tolerant writes (MdeModulePkg FaultTolerantWriteDxe), which stands
// between the variables and the spare area of the flash.
#pragma once

#include "bootseal/base/bytes.h"

namespace bootseal::uefi {

// A working block of `size` bytes with an empty queue.
Bytes empty_working_block(std::size_t size);

// Success when the block is in order and no write waits in it. corrupt when the header is damaged; conflict
// when the firmware was stopped inside a write that it would replay at the next start.
Status check_working_block(ByteSpan block);

}  // namespace bootseal::uefi

// Serial text and memory of a guest: any diagnosis is fine, as long as there is one.
#include <algorithm>

#include "bootseal/uefi/boot_diagnosis.h"
#include "memory_builder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  constexpr std::size_t kSmallMemory = 16384;
  const ByteSpan input{reinterpret_cast<const std::byte*>(data), size};
  const std::size_t half = size / 2;
  // The second half lies where tables point: at the beginning of a page, behind a system table whose tables
  // are in it too.
  Bytes memory(kSmallMemory);
  const ByteSpan content = input.subspan(half).first(std::min(size - half, kSmallMemory / 2));
  std::ranges::copy(content, memory.begin() + 4096);
  ByteWriter tables;
  tables.text("IBI SYST").le32(0x20046).le32(0x78).le32(0).le32(0).fill(0x50).le64(1).le64(256);
  uefi::place(memory, 0, tables.view());
  ByteWriter entry;
  entry.bytes(uefi::kImageExecutionTable.windows_layout()).le64(4096 + 64);
  uefi::place(memory, 256, entry.view());

  const auto diagnosis = uefi::diagnose_boot({.serial = as_text(input.first(half)), .memory = memory});
  BOOTSEAL_CHECK(!diagnosis.message.empty());
  (void)uefi::serial_shows_end_of_boot(as_text(input));
  (void)uefi::scan_memory(input);
  return 0;
}

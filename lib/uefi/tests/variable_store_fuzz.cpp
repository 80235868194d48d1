// The records and the write queue of a variable flash as a guest left them: the flash is read or refused, and
// what is read survives a round trip.
#include <algorithm>

#include "bootseal/uefi/variable_store.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  constexpr std::size_t kRecords = 0x64, kQueue = 0xF020, kQueueBytes = 128;
  static const Bytes blank = uefi::VariableStore::blank(uefi::FlashLayout::k2M).serialize();
  const ByteSpan input{reinterpret_cast<const std::byte*>(data), std::min<std::size_t>(size, 0xD000)};
  Bytes flash = blank;
  // The first bytes go into the queue, the rest over the records.
  const ByteSpan queue = input.first(input.size() % kQueueBytes);
  std::ranges::copy(queue, flash.begin() + kQueue);
  std::ranges::copy(input.subspan(queue.size()), flash.begin() + kRecords);
  const auto store = uefi::VariableStore::parse(flash);
  if (!store) return 0;
  const auto again = uefi::VariableStore::parse(store->serialize());
  BOOTSEAL_CHECK(again && again->variables() == store->variables());
  return 0;
}

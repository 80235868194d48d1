// A store from a hostile disk: inspected, repaired, opened, unlocked, read whole, changed and opened again.
// Nothing crashes, what was written is what is read, and what was repaired opens.
//
// Input: flags, number of blocks, header 1 (168 bytes), header 2 (168 bytes), then the body from block 2 on.
// The flags complete what no mutation finds: 1 = header checksums, 2 = the footer, 4 = sectors of 4096 bytes
// and no footer.
#include <algorithm>

#include "../src/device_view.h"
#include "../src/format.h"
#include "bootseal/vmgs/repair.h"

namespace {

using namespace bootseal;
using namespace bootseal::vmgs;

constexpr std::uint8_t kFixChecksums = 1;
constexpr std::uint8_t kFixFooter = 2;
constexpr std::uint8_t kLargeSectors = 4;
constexpr FileId kFile{30};

Bytes key() {
  Bytes bytes;
  for (std::uint8_t i = 0; i < kKeySize; ++i) bytes.push_back(static_cast<std::byte>(i));
  return bytes;
}

MemoryDevice build(ByteSpan input) {
  const auto next = [&](std::size_t count) {
    const ByteSpan part = input.first(std::min(count, input.size()));
    input = input.subspan(part.size());
    return part;
  };
  const std::uint8_t flags = input.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(next(1)[0]);
  const std::size_t blocks = 4 + (input.empty() ? 0U : std::to_integer<std::size_t>(next(1)[0]) % 60);
  const std::uint32_t sector = (flags & kLargeSectors) != 0 ? kLargeSectorSize : kSmallSectorSize;
  const std::size_t footer = sector == kSmallSectorSize ? kFooterSize : 0;
  Bytes content(blocks * kBlockSize + footer);
  for (std::size_t slot = 0; slot < 2; ++slot) {
    const ByteSpan bytes = next(sizeof(Header));
    std::ranges::copy(bytes, content.begin() + static_cast<std::ptrdiff_t>(slot * sector));
    if ((flags & kFixChecksums) == 0) continue;
    const std::uint32_t checksum =
        header_checksum(from_wire<Header>(ByteSpan(content).subspan(slot * sector)));
    store_le32(content, slot * sector + offsetof(Header, checksum), checksum);
  }
  std::ranges::copy(next((blocks - kLowestBlock) * kBlockSize), content.begin() + kLowestBlock * kBlockSize);
  if (footer != 0) {
    const VhdFooter made = make_vhd_footer(blocks * kBlockSize, {});
    if ((flags & kFixFooter) != 0) {
      std::ranges::copy(wire_bytes(made), content.end() - static_cast<std::ptrdiff_t>(footer));
    } else {
      std::ranges::copy(next(footer), content.end() - static_cast<std::ptrdiff_t>(footer));
    }
  }
  return MemoryDevice(std::move(content), sector);
}

Result<Store> open(MemoryDevice& device) {
  const Container container =
      device.sector_size() == kSmallSectorSize ? Container::fixed_vhd : Container::raw;
  BOOTSEAL_TRY(Store store, Store::open(std::make_unique<DeviceView>(device), container));
  if (store.info().encrypted) BOOTSEAL_TRY_STATUS(store.unlock(key()));
  return store;
}

void inspect_and_repair(MemoryDevice device) {
  const Container container =
      device.sector_size() == kSmallSectorSize ? Container::fixed_vhd : Container::raw;
  const Bytes before = device.content();
  const Bytes store_key = key();
  const auto found = inspect(device, container, store_key);
  BOOTSEAL_CHECK(found.has_value());
  for (const std::optional<ByteSpan> given :
       {std::optional<ByteSpan>(), std::optional<ByteSpan>(store_key)}) {
    const auto plan = RepairPlan::make(device, container, given);
    BOOTSEAL_CHECK(device.content() == before);
    BOOTSEAL_CHECK(plan || plan.error().code == ErrorCode::permission_denied);
    if (!plan || plan->steps().empty()) continue;
    Bytes content = before;
    content.resize(static_cast<std::size_t>(plan->device_size()));
    MemoryDevice target(std::move(content), device.sector_size());
    BOOTSEAL_CHECK(plan->apply(target).has_value());
    BOOTSEAL_CHECK(Store::examine(target, container)->condition == Condition::valid);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  MemoryDevice device = build(std::as_bytes(std::span(data, size)));
  const Bytes before = device.content();
  inspect_and_repair(device);
  auto store = open(device);
  BOOTSEAL_CHECK(device.content() == before);
  if (!store) return 0;
  for (const FileInfo& file : store->list()) {
    const auto content = store->read(file.id);
    BOOTSEAL_CHECK(!content || content->size() == file.size);
  }
  BOOTSEAL_CHECK(device.content() == before);
  const Protection protection = store->info().encrypted ? Protection::encrypted : Protection::plain;
  const Bytes content = to_bytes(as_bytes("what the fuzzer wrote"));
  const Status written = store->write(kFile, content, protection, Overwrite::allow);
  // Full, or (with a zero metadata key) a file that fails its authentication and cannot be sealed again.
  if (!written) return 0;
  auto again = open(device);
  BOOTSEAL_CHECK(again.has_value());
  BOOTSEAL_CHECK(again->read(kFile) == content);
  const Status removed = again->remove(kFile);
  BOOTSEAL_CHECK(removed || removed.error().code == ErrorCode::exhausted);
  BOOTSEAL_CHECK(open(device).has_value());
  return 0;
}

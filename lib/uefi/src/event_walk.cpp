#include "event_walk.h"

namespace bootseal::uefi {
namespace {

constexpr std::size_t kHeaderSize = 32;  // pcr, type, SHA-1 digest, size
constexpr std::uint32_t kNoAction = 3, kMaximumPcr = 23, kMaximumDigests = 8;
constexpr std::size_t kMaximumEvents = 8192, kMaximumEventSize = std::size_t{1} << 20;
constexpr std::string_view kSpecId("Spec ID Event03\0", 16);

std::size_t digest_size(std::uint16_t algorithm) {
  switch (algorithm) {
    case 0x0004:
      return 20;
    case 0x000b:
    case 0x0012:
      return 32;
    case 0x000c:
      return 48;
    case 0x000d:
      return 64;
    default:
      return 0;
  }
}

Result<WalkedEvent> read_event(ByteReader& reader) {
  WalkedEvent event;
  BOOTSEAL_TRY(event.pcr, reader.le32("PCR"));
  BOOTSEAL_TRY(event.type, reader.le32("type"));
  BOOTSEAL_TRY(const std::uint32_t digests, reader.le32("count"));
  if (event.pcr > kMaximumPcr || digests == 0 || digests > kMaximumDigests || event.type == 0xffffffff) {
    return fail(ErrorCode::corrupt, "no event");
  }
  for (std::uint32_t i = 0; i < digests; ++i) {
    BOOTSEAL_TRY(const std::uint16_t algorithm, reader.le16("algorithm"));
    if (digest_size(algorithm) == 0) return fail(ErrorCode::corrupt, "unknown algorithm");
    BOOTSEAL_TRY_STATUS(reader.skip(digest_size(algorithm), "digest"));
  }
  BOOTSEAL_TRY(const std::uint32_t size, reader.le32("size"));
  if (size > kMaximumEventSize) return fail(ErrorCode::corrupt, "too large");
  BOOTSEAL_TRY(event.data, reader.take(size, "data"));
  return event;
}

}  // namespace

bool begins_event_log(ByteSpan data) {
  return data.size() >= kHeaderSize + kSpecId.size() && load_le32(data, 0) == 0 &&
         load_le32(data, 4) == kNoAction && as_text(data.subspan(kHeaderSize, kSpecId.size())) == kSpecId;
}

WalkedLog walk_event_log(ByteSpan data) {
  WalkedLog log;
  if (!begins_event_log(data)) return log;
  const std::size_t first = kHeaderSize + load_le32(data, kHeaderSize - 4);
  if (first > data.size()) return log;
  log.size = first;
  ByteReader reader(data.subspan(first));
  while (log.events.size() < kMaximumEvents) {
    const Result<WalkedEvent> event = read_event(reader);
    if (!event) break;
    log.events.push_back(*event);
    log.size = first + reader.position();
  }
  return log;
}

}  // namespace bootseal::uefi

#include "bootseal/tpm/event_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "hasher.h"

namespace bootseal::tpm {
namespace {

constexpr std::size_t kSha1Size = 20;
constexpr std::string_view kSpecIdSignature("Spec ID Event03\0", 16);
constexpr std::string_view kLocalitySignature("StartupLocality\0", 16);
constexpr std::size_t kMaximumVendorInfo = 255;

bool starts_with(ByteSpan data, std::string_view text) {
  return data.size() >= text.size() && as_text(data.first(text.size())) == text;
}

// What is left when the writer filled its buffer up with one byte.
bool is_padding(ByteSpan rest) {
  if (rest.empty() || (rest.front() != std::byte{0} && rest.front() != std::byte{0xFF})) return false;
  return std::all_of(rest.begin(), rest.end(), [&](std::byte b) { return b == rest.front(); });
}

tl::unexpected<Error> at_offset(const Error& error, std::size_t offset) {
  return tl::unexpected(error.wrap(fmt::format("the event at offset {} of the event log", offset)));
}

struct Sha1Record {
  std::uint32_t pcr = 0;
  EventType type = EventType::no_action;
  ByteSpan digest;
  ByteSpan data;
};

// TCG_PCR_EVENT.
Result<Sha1Record> read_sha1_record(ByteReader& reader) {
  Sha1Record record;
  BOOTSEAL_TRY(record.pcr, reader.le32("the PCR index"));
  BOOTSEAL_TRY(const std::uint32_t type, reader.le32("the event type"));
  record.type = static_cast<EventType>(type);
  BOOTSEAL_TRY(record.digest, reader.take(kSha1Size, "the SHA-1 digest"));
  BOOTSEAL_TRY(const std::uint32_t size, reader.le32("the size of the event data"));
  BOOTSEAL_TRY(record.data, reader.take(size, "the event data"));
  return record;
}

// TCG_EfiSpecIDEvent; the banks in their order.
Result<std::vector<Algorithm>> read_spec_id(ByteSpan data) {
  ByteReader reader(data);
  BOOTSEAL_TRY_STATUS(reader.skip(kSpecIdSignature.size() + 4, "the platform class"));
  BOOTSEAL_TRY_STATUS(reader.skip(4, "the version of the specification"));
  BOOTSEAL_TRY(const std::uint32_t count, reader.le32("the number of algorithms"));
  if (count == 0 || count > kAlgorithmCount) {
    return fail(ErrorCode::corrupt, fmt::format("the header lists {} hash algorithms", count));
  }
  std::vector<Algorithm> banks;
  for (std::uint32_t i = 0; i < count; ++i) {
    BOOTSEAL_TRY(const std::uint16_t id, reader.le16("an algorithm"));
    BOOTSEAL_TRY(const std::uint16_t size, reader.le16("the size of a digest"));
    BOOTSEAL_TRY(const Algorithm algorithm, algorithm_from_id(id));
    if (size != digest_size(algorithm)) {
      return fail(ErrorCode::corrupt,
                  fmt::format("the header says a {} digest has {} bytes", algorithm_name(algorithm), size));
    }
    if (std::find(banks.begin(), banks.end(), algorithm) != banks.end()) {
      return fail(ErrorCode::corrupt, fmt::format("the header lists {} twice", algorithm_name(algorithm)));
    }
    banks.push_back(algorithm);
  }
  BOOTSEAL_TRY(const std::uint8_t vendor_size, reader.u8("the size of the vendor information"));
  static_assert(kMaximumVendorInfo == std::numeric_limits<decltype(vendor_size)>::max());
  BOOTSEAL_TRY_STATUS(reader.skip(vendor_size, "the vendor information"));
  if (!reader.at_end()) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} bytes behind the vendor information", reader.remaining()));
  }
  return banks;
}

// TCG_PCR_EVENT2.
Result<Event> read_agile_record(ByteReader& reader, const std::vector<Algorithm>& banks) {
  Event event;
  BOOTSEAL_TRY(event.pcr, reader.le32("the PCR index"));
  BOOTSEAL_TRY(const std::uint32_t type, reader.le32("the event type"));
  event.type = static_cast<EventType>(type);
  BOOTSEAL_TRY(const std::uint32_t count, reader.le32("the number of digests"));
  if (count > banks.size()) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} digests, and the header lists {} algorithms", count, banks.size()));
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    BOOTSEAL_TRY(const std::uint16_t id, reader.le16("the algorithm of a digest"));
    BOOTSEAL_TRY(const Algorithm algorithm, algorithm_from_id(id));
    if (std::find(banks.begin(), banks.end(), algorithm) == banks.end()) {
      return fail(ErrorCode::corrupt,
                  fmt::format("a {} digest, and the header does not list it", algorithm_name(algorithm)));
    }
    ByteSpan& place = event.digests[algorithm_index(algorithm)];
    if (!place.empty()) {
      return fail(ErrorCode::corrupt, fmt::format("two {} digests", algorithm_name(algorithm)));
    }
    BOOTSEAL_TRY(place, reader.take(digest_size(algorithm), "a digest"));
  }
  BOOTSEAL_TRY(const std::uint32_t size, reader.le32("the size of the event data"));
  BOOTSEAL_TRY(event.data, reader.take(size, "the event data"));
  return event;
}

}  // namespace

std::size_t algorithm_index(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::sha1:
      return 0;
    case Algorithm::sha256:
      return 1;
    case Algorithm::sha384:
      return 2;
    case Algorithm::sha512:
      return 3;
    case Algorithm::sm3_256:
      return 4;
  }
  check_failed("a known hash algorithm", __FILE__, __LINE__);
}

Result<EventLog> EventLog::parse(ByteSpan bytes) {
  if (bytes.empty()) return fail(ErrorCode::corrupt, "the event log is empty: it proves nothing");
  if (bytes.size() > kMaximumSize) {
    return fail(ErrorCode::exhausted,
                fmt::format("the event log has {} bytes, more than {}", bytes.size(), kMaximumSize));
  }
  EventLog log;
  log.bytes_ = to_bytes(bytes);
  ByteReader reader(log.bytes_);
  BOOTSEAL_TRY_STATUS(log.parse_header(reader));
  BOOTSEAL_TRY_STATUS(log.crypto_agile_ ? log.parse_agile(reader) : log.parse_sha1(reader));
  return log;
}

Status EventLog::parse_header(ByteReader& reader) {
  ByteReader probe(reader.rest());
  const auto first = read_sha1_record(probe);
  if (!first) return at_offset(first.error(), 0);
  if (first->type == EventType::no_action && starts_with(first->data, kSpecIdSignature)) {
    auto banks = read_spec_id(first->data);
    if (!banks) return at_offset(banks.error(), 0);
    banks_ = *std::move(banks);
    crypto_agile_ = true;
    return reader.skip(probe.position(), "the Spec ID event");
  }
  banks_ = {Algorithm::sha1};
  return {};
}

Status EventLog::parse_agile(ByteReader& reader) {
  while (!reader.at_end()) {
    const std::size_t offset = reader.position();
    if (is_padding(reader.rest())) {
      padding_ = reader.remaining();
      return {};
    }
    auto event = read_agile_record(reader, banks_);
    if (!event) return at_offset(event.error(), offset);
    event->offset = offset;
    if (const Status added = add(*event); !added) return at_offset(added.error(), offset);
  }
  return {};
}

Status EventLog::parse_sha1(ByteReader& reader) {
  while (!reader.at_end()) {
    const std::size_t offset = reader.position();
    if (offset != 0 && is_padding(reader.rest())) {
      padding_ = reader.remaining();
      return {};
    }
    const auto record = read_sha1_record(reader);
    if (!record) return at_offset(record.error(), offset);
    Event event{
        .pcr = record->pcr, .type = record->type, .digests = {}, .data = record->data, .offset = offset};
    event.digests[algorithm_index(Algorithm::sha1)] = record->digest;
    if (const Status added = add(event); !added) return at_offset(added.error(), offset);
  }
  return {};
}

Status EventLog::add(Event event) {
  if (events_.size() >= kMaximumEvents) {
    return fail(ErrorCode::exhausted, fmt::format("more than {} events", kMaximumEvents));
  }
  if (event.pcr >= kPcrCount && (event.extends() || event.pcr != kNoPcr)) {
    return fail(ErrorCode::corrupt, fmt::format("there is no PCR {}", event.pcr));
  }
  if (event.pcr == 0 && event.extends()) pcr0_extended_ = true;
  if (event.pcr == 0 && !event.extends() && starts_with(event.data, kLocalitySignature)) {
    if (event.data.size() != kLocalitySignature.size() + 1 || locality_told_ || pcr0_extended_) {
      return fail(ErrorCode::corrupt,
                  "StartupLocality is malformed, comes twice or after PCR 0 was extended");
    }
    startup_locality_ = std::to_integer<std::uint8_t>(event.data.back());
    if (startup_locality_ != 0 && startup_locality_ != 3 && startup_locality_ != 4) {
      return fail(ErrorCode::corrupt,
                  fmt::format("StartupLocality {} is none of 0, 3 and 4", startup_locality_));
    }
    locality_told_ = true;
  }
  events_.push_back(event);
  return {};
}

Result<Replay> EventLog::replay(Algorithm bank) const {
  if (std::find(banks_.begin(), banks_.end(), bank) == banks_.end()) {
    return fail(ErrorCode::unsupported, fmt::format("the event log has no {} bank", algorithm_name(bank)));
  }
  Replay replay;
  replay.bank = bank;
  Hasher hasher(bank);
  for (const Event& event : events_) {
    if (!event.extends()) continue;
    const std::uint32_t bit = 1U << event.pcr;
    Bytes& value = replay.values[event.pcr];
    if ((replay.extended & bit) == 0) {
      replay.extended |= bit;
      value.assign(hasher.size(), std::byte{0});
      if (event.pcr == 0) value.back() = static_cast<std::byte>(startup_locality_);
    }
    const ByteSpan digest = event.digest(bank);
    if (digest.empty()) {
      replay.without_digest |= bit;
    } else {
      std::ranges::copy(hasher.digest({value, digest}), value.begin());
    }
  }
  for (unsigned pcr = 0; pcr < kPcrCount; ++pcr) {
    if (replay.not_replayable(pcr)) replay.values[pcr].clear();
  }
  return replay;
}

}  // namespace bootseal::tpm

// A guest's event log: parses or fails; what parses replays, and every event can be looked at.
#include "bootseal/tpm/event_content.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::tpm;
  const ByteSpan bytes = std::as_bytes(std::span(data, size));
  const auto log = EventLog::parse(bytes);
  if (!log) return 0;
  BOOTSEAL_CHECK(log->padding() <= size && log->events().size() <= EventLog::kMaximumEvents);
  for (const Algorithm bank : log->banks()) {
    const auto replay = log->replay(bank);
    BOOTSEAL_CHECK(replay.has_value());
    for (unsigned pcr = 0; pcr < kPcrCount; ++pcr) {
      const bool told = (replay->extended >> pcr & 1U) != 0 && !replay->not_replayable(pcr);
      BOOTSEAL_CHECK(replay->value(pcr).size() == (told ? digest_size(bank) : 0));
    }
    for (const Event& event : log->events()) check_digest(event, bank);
  }
  for (const Event& event : log->events()) {
    BOOTSEAL_CHECK(event.offset < size && event.data.size() <= size);
    if (const auto content = read_content(event)) BOOTSEAL_CHECK(!content->valueless_by_exception());
  }
  // The same bytes without the padding are the same log, unless zeros before the padding look like more of
  // it.
  const auto shorter = EventLog::parse(bytes.first(size - log->padding()));
  BOOTSEAL_CHECK(shorter && shorter->events().size() <= log->events().size());
  BOOTSEAL_CHECK(shorter->padding() != 0 || shorter->events().size() == log->events().size());
  return 0;
}

// Walks a TCG crypto-agile event log of unknown length inside guest memory, just as far as boot diagnosis
// needs it (lib/tpm judges logs; this only finds where one ends and what was started). TCG PC Client Platform
// Firmware Profile 1.05, 10.2.
#pragma once

#include <vector>

#include "bootseal/base/bytes.h"

namespace bootseal::uefi {

inline constexpr std::uint32_t kEventIpl = 0x0000000d;
inline constexpr std::uint32_t kEventBootApplication = 0x80000003;

struct WalkedEvent {
  std::uint32_t pcr = 0, type = 0;
  ByteSpan data;
};

struct WalkedLog {
  std::size_t size = 0;             // bytes from the header to the end of the last event
  std::vector<WalkedEvent> events;  // without the header
};

// True when a log begins here: an EV_NO_ACTION event in the SHA-1 format with "Spec ID Event03".
bool begins_event_log(ByteSpan data);
// Reads events until something is no event; at most 8192. Never fails: an unreadable beginning gives an empty
// log.
WalkedLog walk_event_log(ByteSpan data);

}  // namespace bootseal::uefi

// What guestd says: its ready line, status, events. guestd reads hostile bytes, so nothing it says is taken
// on trust.
#pragma once

#include <chrono>

#include "bootseal/host/guest_service.h"
#include "bootseal/host/peer_client.h"

namespace bootseal::host {

// {"event":"ready","generation":N} -> N; {"event":"refused","error":{code,message}} -> that error; corrupt
// otherwise.
Result<Generation> parse_ready_line(std::string_view line);
// The same from the pipe: its first line, at most 64 KiB. timeout; unavailable when it ends without a line.
Result<Generation> wait_ready(int fd, std::chrono::milliseconds limit);

struct GuestdStatus {
  VmId vm;
  Generation generation;
};
Result<GuestdStatus> parse_guestd_status(const json::Value& result);

struct GuestdEvent {
  enum class Kind : std::uint8_t { generation, tpm_failed, other };
  Kind kind = Kind::other;
  Generation generation;
  std::string message;  // at most 500 characters
};
Result<GuestdEvent> parse_guestd_event(const PeerMessage& message);

Result<TpmPublicKeys> parse_certificates_wanted(const json::Value& event);
json::Value certificates_json(const TpmCertificates& certificates);

}  // namespace bootseal::host

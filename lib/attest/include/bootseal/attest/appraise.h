// Appraisal: from evidence to a verdict. Pure: no clock, no state, no input but its arguments.
//
// What is believed, and why:
//   the AK                its certificate chains to the site CA, is an AK certificate, and names this VM
//   the PCR values        the quote is that AK's over exactly this nonce and these PCRs
//   an event's digest     the log's replay of its PCR equals the quoted value
//   an event's data       its digest covers the data (checked again for each event that is used)
//   an event's type       nothing authenticates it, so PCR 4, 7, 8 and 14, from which conclusions are drawn,
//   hold only events of allowed types, at
//                         allowed places, whose digest is either over their data or a program of the baseline
// PCRs 10 to 13 may be extended by the running system (IMA, systemd-pcrphase, credentials): a difference
// there is told and decides nothing. All others must be what the log says, or zero when the log says nothing.
#pragma once

#include <optional>

#include "bootseal/attest/evidence.h"
#include "bootseal/attest/expectation.h"
#include "bootseal/attest/verdict.h"
#include "bootseal/base/ids.h"
#include "bootseal/crypto/x509.h"
#include "bootseal/tpm/client.h"

namespace bootseal::attest {

// PCRs that a challenge asks for: 0 to 9 and 11 to 14 of the SHA-256 bank.
inline constexpr tpm::PcrSelection kWantedPcrs{tpm::Algorithm::sha256, 0x7BFF};
inline constexpr std::size_t kNonceSize = 32;

// Where a TPM's clock stood when it was last heard. Kept for each VM: a clock that goes back is a replay or a
// cloned TPM.
struct ClockState {
  crypto::Sha256Digest ak;  // fingerprint of the AK whose TPM this is
  std::uint32_t reset_count = 0;
  std::uint32_t restart_count = 0;
  std::uint64_t clock_ms = 0;
  bool operator==(const ClockState&) const = default;
};

struct AppraisalContext {
  VmId vm;
  ByteSpan nonce;                          // what this very evidence was asked for with
  std::vector<crypto::Certificate> roots;  // the site CA
  TimePoint now;
  std::optional<ClockState> last_clock;
};

struct Appraisal {
  Verdict verdict;
  // To be remembered instead of `last_clock`; nullopt when the quote proved nothing or went back.
  std::optional<ClockState> clock;
};

// Never fails: whatever is wrong with the evidence is in the verdict.
Appraisal appraise(const Evidence& evidence, const Expectation& expectation, const AppraisalContext& context);

}  // namespace bootseal::attest

// Collecting evidence: quote, PCR values, AK certificate and event log.
#pragma once

#include <filesystem>

#include "bootseal/json/json.h"
#include "bootseal/tpm/client.h"
#include "machine.h"

namespace bootseal::agent {

struct Challenge {
  Bytes nonce;  // 16 to 64 bytes
  tpm::PcrSelection selection;
};

// The `params` of method "attest". invalid_argument with the field.
Result<Challenge> read_challenge(json::Reader& params);

// The Evidence object of docs/architecture.md. PCR values and quote are of the same moment: both are taken
// again while PCRs change. Errors of the TPM client, and of read_event_log().
Result<json::Value> collect_evidence(tpm::Transport& transport, const Challenge& challenge,
                                     const std::filesystem::path& event_log, const Machine& machine,
                                     std::string_view agent_version);

}  // namespace bootseal::agent

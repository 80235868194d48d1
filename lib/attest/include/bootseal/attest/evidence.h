// What a guest's agent says: a quote, what explains it, and claims that are shown and never trusted.
#pragma once

#include <map>
#include <string>

#include "bootseal/json/json.h"

namespace bootseal::attest {

struct Evidence {
  Bytes quote;           // TPMS_ATTEST
  Bytes signature;       // TPMT_SIGNATURE
  Bytes ak_certificate;  // DER
  Bytes event_log;       // as the kernel hands it out; may be empty
  std::string pcr_bank;  // "sha256"
  std::map<unsigned, Bytes> pcr_values;
  // Claims, for people only.
  std::string agent_version, kernel_release, os_name, boot_id;
};

// docs/architecture.md, "Evidence". invalid_argument with the path of the first field that is missing or
// malformed.
Result<Evidence> parse_evidence(const json::Value& document);
json::Value to_json(const Evidence& evidence);

}  // namespace bootseal::attest

// Responses that are made here and not by libtpms.
#pragma once

#include "bootseal/base/bytes.h"
#include "bootseal/guest/tpm_version.h"

namespace bootseal::guest {

enum class TpmAnswer : std::uint8_t {
  success,
  failure,            // TPM_FAIL, TPM_RC_FAILURE
  bad_command_size,   // TPM_BAD_PARAM_SIZE, TPM_RC_COMMAND_SIZE
  missing_parameter,  // TPM_BAD_PARAM_SIZE, TPM_RC_INSUFFICIENT
  bad_locality,       // TPM_BAD_LOCALITY, TPM_RC_LOCALITY
};

// A header of 10 bytes and nothing more: tag TPM_TAG_RSP_COMMAND (TCG TPM Main, Part 2, 6.1) or
// TPM_ST_NO_SESSIONS (TPM 2.0, Part 2, 6.9).
Bytes bare_response(TpmVersion version, TpmAnswer answer);

}  // namespace bootseal::guest

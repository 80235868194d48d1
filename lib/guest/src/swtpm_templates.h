// The TPMT_PUBLIC templates that swtpm_setup uses: its endorsement keys (TCG EK Credential Profile 2.5: L-1,
// H-6, H-3) and storage keys.
#pragma once

#include "bootseal/base/bytes.h"

namespace bootseal::guest {

// What an endorsement key may do. swtpm_setup's own words: a key that signs is no standard EK.
enum class EkUse : std::uint8_t { decrypt_restricted, sign, sign_and_decrypt };

// `bits` is 2048 or 3072.
Bytes swtpm_ek_template_rsa(unsigned bits, EkUse use);
Bytes swtpm_ek_template_p384(EkUse use);
Bytes swtpm_storage_template_rsa(unsigned bits);
Bytes swtpm_storage_template_p384();

}  // namespace bootseal::guest

// Making the TPM of a new machine as swtpm_setup makes it, in this process: the same keys at the same
// handles, the same NV indices (TCG EK Credential Profile 2.5; TPM v2.0 Provisioning Guidance, 7.8).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bootseal/crypto/secret.h"
#include "bootseal/guest/swtpm_store.h"

namespace bootseal::guest {

// What a certificate is wanted for.
struct TpmCertificateRequest {
  enum class Kind : std::uint8_t { endorsement, platform };
  Kind kind = Kind::endorsement;
  // The key as swtpm_localca takes it: the modulus in hex, or "x=HEX,y=HEX,id=secp384r1".
  std::string key_parameter;
  Bytes subject_public_key_info;
  std::string key_name;  // "rsa2048", "rsa3072", "secp384r1"
};

// What libtpms says about itself; the words of certificates.
struct TpmDescription {
  std::string family;  // "2.0"
  std::int64_t level = 0;
  std::int64_t revision = 0;
  std::string manufacturer;  // "id:00001014"
  std::string model;
  std::string version;
};

struct TpmSetupOptions {
  bool create_ek = false;  // RSA and ECC P-384
  bool ek_certificates = false;
  bool platform_certificate = false;
  bool lock_nv = false;
  bool create_spk = false;  // at 0x81000001
  bool spk_ecc = false;     // P-384; else RSA
  bool allow_signing = false;
  bool decryption = false;  // with allow_signing: both
  unsigned rsa_bits = 2048;
  std::vector<std::string> pcr_banks;  // "sha256", …; empty: leave them as they are
  // The DER of a certificate. Wanted when one is asked for.
  std::function<Result<Bytes>(const TpmCertificateRequest&, const TpmDescription&)> certify;
  std::function<void(std::string_view)> say;  // a line for each step
};

// Fills a fresh `state` with a TPM. Errors: those of the TPM's commands and of `certify`, invalid_argument
// for PCR banks of which none is known or a certificate too long for its NV index.
Status set_up_tpm(GuestState& state, const TpmSetupOptions& options);
struct Tpm12SetupOptions {
  bool create_ek = false;
  bool take_ownership = false;  // with create_ek
  bool ek_certificate = false;
  bool platform_certificate = false;
  bool lock_nv = false;
  // SHA-1 of the passwords, 20 bytes each.
  crypto::Secret owner_secret;
  crypto::Secret srk_secret;
  std::function<Result<Bytes>(const TpmCertificateRequest&, const TpmDescription&)> certify;
  std::function<void(std::string_view)> say;
};

// Fills a fresh `state` with a TPM 1.2 that is enabled and active: EK, certificates at the NV indices of the
// TCG PC Client Specific Implementation, 7.4.5 (in its header, which is added when `certify` leaves it out),
// owner and storage root key. Errors: those of the TPM's commands and of `certify`, invalid_argument for a
// certificate that is too long.
Status set_up_tpm12(GuestState& state, const Tpm12SetupOptions& options);

// TCG_PCCLIENT_STORED_CERT before a full certificate, and what follows it (or the whole, when it is not
// there).
Bytes with_stored_certificate_header(ByteSpan der);
ByteSpan without_stored_certificate_header(ByteSpan certificate);

// Changes only the PCR banks of the TPM in `state`.
Status reconfigure_tpm(GuestState& state, const TpmSetupOptions& options);

}  // namespace bootseal::guest

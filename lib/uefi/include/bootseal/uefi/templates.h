// Signature templates: which keys a new VM trusts, with the names Azure uses.
#pragma once

#include "bootseal/uefi/signature_list.h"
#include "bootseal/uefi/variable_store.h"

namespace bootseal::uefi {

enum class SignatureTemplate : std::uint8_t {
  microsoft_uefi_certificate_authority,  // "MicrosoftUefiCertificateAuthority": third-party loaders (Linux
                                         // shim)
  microsoft_windows,                     // "MicrosoftWindows": the Windows boot manager only
  none,                                  // "None": no keys, the firmware stays in setup mode
};

std::string_view signature_template_name(SignatureTemplate signature_template);
// The name as on the wire; invalid_argument, listing the names, otherwise.
Result<SignatureTemplate> parse_signature_template(std::string_view name);

struct TemplateKeys {
  SignatureDatabase kek, db, dbx;
};
// KEK, db and dbx of a template (Microsoft's certificates of 2011 and 2023, the dbx of 2026-09-09). Empty for
// none.
TemplateKeys template_keys(SignatureTemplate signature_template);

// The whole variable flash of a new VM.
//
// PK is `pk_der`, the platform owner's certificate (X.509, DER, up to 16 KiB): whoever holds its key may
// change KEK later. With `secure_boot` false the keys are enrolled and SecureBootEnable is 0, so that Secure
// Boot can be switched on later without new keys. For SignatureTemplate::none `pk_der` is not used and
// `secure_boot` must be false. Errors: invalid_argument (`pk_der` is no certificate; Secure Boot wanted
// without keys).
Result<Bytes> build_variable_flash(SignatureTemplate signature_template, bool secure_boot, ByteSpan pk_der,
                                   FlashLayout layout = FlashLayout::k4M);

// Switches Secure Boot of an existing flash (the VM is off): sets SecureBootEnable. conflict when no PK is
// enrolled and `secure_boot` is true; other errors as VariableStore::parse.
Result<Bytes> with_secure_boot(ByteSpan flash, bool secure_boot);

}  // namespace bootseal::uefi

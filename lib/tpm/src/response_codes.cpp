#include <fmt/format.h>

#include <array>

#include "bootseal/tpm/wire.h"

namespace bootseal::tpm {
namespace {

struct CodeText {
  std::uint8_t code;
  std::string_view name;
  std::string_view text;
};

// Part 2, table 16, RC_FMT1: the code points at a handle, a session or a parameter.
constexpr std::array kFormatOne = std::to_array<CodeText>({
    {0x01, "TPM_RC_ASYMMETRIC", "asymmetric algorithm not supported or not correct"},
    {0x02, "TPM_RC_ATTRIBUTES", "inconsistent attributes"},
    {0x03, "TPM_RC_HASH", "hash algorithm not supported or not appropriate"},
    {0x04, "TPM_RC_VALUE", "value out of range or not correct for the context"},
    {0x05, "TPM_RC_HIERARCHY", "hierarchy not enabled or not correct for the use"},
    {0x07, "TPM_RC_KEY_SIZE", "key size not supported"},
    {0x08, "TPM_RC_MGF", "mask generation function not supported"},
    {0x09, "TPM_RC_MODE", "mode of operation not supported"},
    {0x0A, "TPM_RC_TYPE", "type of the value not appropriate for the use"},
    {0x0B, "TPM_RC_HANDLE", "no such handle, or not correct for the use"},
    {0x0C, "TPM_RC_KDF", "unsupported key derivation function"},
    {0x0D, "TPM_RC_RANGE", "value out of the allowed range"},
    {0x0E, "TPM_RC_AUTH_FAIL", "authorization failed and the lockout counter went up"},
    {0x0F, "TPM_RC_NONCE", "invalid nonce size or value"},
    {0x10, "TPM_RC_PP", "authorization requires physical presence"},
    {0x12, "TPM_RC_SCHEME", "unsupported or incompatible scheme"},
    {0x15, "TPM_RC_SIZE", "structure has the wrong size"},
    {0x16, "TPM_RC_SYMMETRIC", "unsupported symmetric algorithm or key size"},
    {0x17, "TPM_RC_TAG", "incorrect structure tag"},
    {0x18, "TPM_RC_SELECTOR", "union selector is incorrect"},
    {0x1A, "TPM_RC_INSUFFICIENT", "the command ended before all values were read"},
    {0x1B, "TPM_RC_SIGNATURE", "the signature is not valid"},
    {0x1C, "TPM_RC_KEY", "key fields are not compatible with the use"},
    {0x1D, "TPM_RC_POLICY_FAIL", "a policy check failed"},
    {0x1F, "TPM_RC_INTEGRITY", "integrity check failed"},
    {0x20, "TPM_RC_TICKET", "invalid ticket"},
    {0x21, "TPM_RC_RESERVED_BITS", "reserved bits not zero"},
    {0x22, "TPM_RC_BAD_AUTH", "authorization failed"},
    {0x23, "TPM_RC_EXPIRED", "the policy has expired"},
    {0x24, "TPM_RC_POLICY_CC", "the command is not the one in the policy"},
    {0x25, "TPM_RC_BINDING", "public and sensitive parts are not bound to each other"},
    {0x26, "TPM_RC_CURVE", "curve not supported"},
    {0x27, "TPM_RC_ECC_POINT", "the point is not on the curve"},
});

// Part 2, table 16, RC_VER1.
constexpr std::array kVersionOne = std::to_array<CodeText>({
    {0x00, "TPM_RC_INITIALIZE", "TPM not initialised by TPM2_Startup, or started already"},
    {0x01, "TPM_RC_FAILURE", "the TPM is in failure mode"},
    {0x03, "TPM_RC_SEQUENCE", "improper use of a sequence handle"},
    {0x0B, "TPM_RC_PRIVATE", "not currently used"},
    {0x19, "TPM_RC_HMAC", "not currently used"},
    {0x20, "TPM_RC_DISABLED", "the command is disabled"},
    {0x21, "TPM_RC_EXCLUSIVE", "audit sequence required exclusivity"},
    {0x24, "TPM_RC_AUTH_TYPE", "authorization handle is not correct for the command"},
    {0x25, "TPM_RC_AUTH_MISSING", "the command requires an authorization session"},
    {0x26, "TPM_RC_POLICY", "policy failure in a math operation or an invalid authPolicy value"},
    {0x27, "TPM_RC_PCR", "PCR check failed"},
    {0x28, "TPM_RC_PCR_CHANGED", "PCR have changed since they were checked"},
    {0x2D, "TPM_RC_UPGRADE", "the TPM is in field upgrade mode"},
    {0x2E, "TPM_RC_TOO_MANY_CONTEXTS", "context ID counter is at its maximum"},
    {0x2F, "TPM_RC_AUTH_UNAVAILABLE", "authValue or authPolicy is not available for the entity"},
    {0x30, "TPM_RC_REBOOT", "a _TPM_Init and Startup(CLEAR) is required"},
    {0x31, "TPM_RC_UNBALANCED", "symmetric key size and asymmetric strength do not match"},
    {0x42, "TPM_RC_COMMAND_SIZE", "command size is inconsistent with its content"},
    {0x43, "TPM_RC_COMMAND_CODE", "command code not supported"},
    {0x44, "TPM_RC_AUTHSIZE", "authorization size is out of range"},
    {0x45, "TPM_RC_AUTH_CONTEXT", "use of an authorization session with a command that takes none"},
    {0x46, "TPM_RC_NV_RANGE", "NV offset and size reach past the end of the index"},
    {0x47, "TPM_RC_NV_SIZE", "the requested allocation is larger than allowed"},
    {0x48, "TPM_RC_NV_LOCKED", "NV access locked"},
    {0x49, "TPM_RC_NV_AUTHORIZATION", "NV access authorization fails"},
    {0x4A, "TPM_RC_NV_UNINITIALIZED", "the NV index was never written"},
    {0x4B, "TPM_RC_NV_SPACE", "not enough NV space"},
    {0x4C, "TPM_RC_NV_DEFINED", "the NV index or persistent object is defined already"},
    {0x50, "TPM_RC_BAD_CONTEXT", "the context is not valid"},
    {0x51, "TPM_RC_CPHASH", "cpHash already set or not correct"},
    {0x52, "TPM_RC_PARENT", "the parent handle is not valid for the object"},
    {0x53, "TPM_RC_NEEDS_TEST", "a function needs testing"},
    {0x54, "TPM_RC_NO_RESULT", "internal result unusable"},
    {0x55, "TPM_RC_SENSITIVE", "the sensitive area did not unmarshal after decryption"},
});

// Part 2, table 16, RC_WARN.
constexpr std::array kWarnings = std::to_array<CodeText>({
    {0x01, "TPM_RC_CONTEXT_GAP", "gap for context ID is too large"},
    {0x02, "TPM_RC_OBJECT_MEMORY", "no memory for an object: flush transient objects"},
    {0x03, "TPM_RC_SESSION_MEMORY", "no memory for a session: flush sessions"},
    {0x04, "TPM_RC_MEMORY", "no memory for an object or a session"},
    {0x05, "TPM_RC_SESSION_HANDLES", "no session handles left: flush sessions"},
    {0x06, "TPM_RC_OBJECT_HANDLES", "no object handles left: reboot"},
    {0x07, "TPM_RC_LOCALITY", "bad locality"},
    {0x08, "TPM_RC_YIELDED", "the TPM suspended the command: try again"},
    {0x09, "TPM_RC_CANCELED", "the command was cancelled"},
    {0x0A, "TPM_RC_TESTING", "the TPM is testing itself: try again"},
    {0x20, "TPM_RC_NV_RATE", "NV accesses are rate-limited: try again later"},
    {0x21, "TPM_RC_LOCKOUT", "the TPM is in dictionary-attack lockout"},
    {0x22, "TPM_RC_RETRY", "the TPM was not able to start the command: try again"},
    {0x23, "TPM_RC_NV_UNAVAILABLE", "NV is not accessible now"},
});

template <std::size_t N>
std::string text_of(const std::array<CodeText, N>& table, std::uint32_t code) {
  for (const CodeText& row : table) {
    if (row.code == code) return fmt::format("{} ({})", row.name, row.text);
  }
  return "a code this version does not know";
}

}  // namespace

std::string response_code_text(std::uint32_t code) {
  if (code == 0) return "TPM_RC_SUCCESS";
  if ((code & 0x80U) != 0) {
    const std::uint32_t number = (code >> 8) & 0xFU;
    const std::string text = text_of(kFormatOne, code & 0x3FU);
    if ((code & 0x40U) != 0) return fmt::format("{}, parameter {}", text, number);
    if ((number & 0x8U) != 0) return fmt::format("{}, session {}", text, number & 0x7U);
    return number == 0 ? text : fmt::format("{}, handle {}", text, number);
  }
  if ((code & 0x100U) == 0) return "a TPM 1.2 code";
  if ((code & 0x400U) != 0) return "a vendor's code";
  if ((code & 0x800U) == 0) return text_of(kVersionOne, code & 0x7FU);
  const std::uint32_t warning = code & 0x7FU;
  if (warning >= 0x10 && warning <= 0x16) {
    return fmt::format("TPM_RC_REFERENCE_H{} (handle {} references an object that is not loaded)",
                       warning - 0x10, warning - 0x10 + 1);
  }
  if (warning >= 0x18 && warning <= 0x1E) {
    return fmt::format("TPM_RC_REFERENCE_S{} (session {} is not loaded)", warning - 0x18, warning - 0x18 + 1);
  }
  return text_of(kWarnings, warning);
}

}  // namespace bootseal::tpm

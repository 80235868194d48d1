// TPM 2.0 structures as they travel: commands, responses and the types that several parts share.
// TCG TPM 2.0 Library, Part 1 (18, command structure), Part 2 (Structures), revision 1.59. All integers are
// big endian.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootseal/base/bytes.h"

namespace bootseal::tpm {

using Handle = std::uint32_t;

// TPM_ALG_ID of the hashes (Part 2, 6.3).
enum class Algorithm : std::uint16_t {
  sha1 = 0x0004,
  sha256 = 0x000B,
  sha384 = 0x000C,
  sha512 = 0x000D,
  sm3_256 = 0x0012
};

// "sha256"; the text of Evidence and of the API. The enumerators above only.
std::string_view algorithm_name(Algorithm algorithm);
// invalid_argument for a name that is none of the above.
Result<Algorithm> algorithm_from_name(std::string_view name);
// unsupported for an id that is none of the above.
Result<Algorithm> algorithm_from_id(std::uint16_t id);
// Bytes of a digest.
std::size_t digest_size(Algorithm algorithm);

// Other TPM_ALG_IDs.
inline constexpr std::uint16_t kAlgRsa = 0x0001, kAlgAes = 0x0006, kAlgKeyedHash = 0x0008, kAlgNull = 0x0010,
                               kAlgRsaSsa = 0x0014, kAlgRsaPss = 0x0016, kAlgOaep = 0x0017,
                               kAlgEcdsa = 0x0018, kAlgEcc = 0x0023, kAlgCfb = 0x0043;
// TPM_ECC_CURVE.
inline constexpr std::uint16_t kCurveP256 = 0x0003, kCurveP384 = 0x0004;

// TPMA_OBJECT (Part 2, 8.3).
inline constexpr std::uint32_t kFixedTpm = 1U << 1, kFixedParent = 1U << 4, kSensitiveDataOrigin = 1U << 5,
                               kUserWithAuth = 1U << 6, kAdminWithPolicy = 1U << 7, kNoDa = 1U << 10,
                               kRestricted = 1U << 16, kDecrypt = 1U << 17, kSign = 1U << 18;

// TPMA_NV (Part 2, 13.4). kNvCounter is TPM_NT_COUNTER in its place.
inline constexpr std::uint32_t kNvPlatformWrite = 1U << 0, kNvOwnerWrite = 1U << 1, kNvAuthWrite = 1U << 2,
                               kNvPolicyWrite = 1U << 3, kNvCounter = 1U << 4, kNvWriteDefine = 1U << 13,
                               kNvPlatformRead = 1U << 16, kNvOwnerRead = 1U << 17, kNvAuthRead = 1U << 18,
                               kNvPolicyRead = 1U << 19, kNvNoDa = 1U << 25, kNvWritten = 1U << 29,
                               kNvPlatformCreate = 1U << 30;

inline constexpr unsigned kPcrCount = 24;

struct PcrSelection {
  Algorithm bank = Algorithm::sha256;
  std::uint32_t mask = 0;  // bit n = PCR n, n < 24
  bool operator==(const PcrSelection&) const = default;
};

// TPM_CC of the commands in use (Part 2, 6.5.2).
enum class CommandCode : std::uint32_t {
  evict_control = 0x00000120,
  nv_undefine_space = 0x00000122,
  nv_define_space = 0x0000012A,
  pcr_allocate = 0x0000012B,
  create_primary = 0x00000131,
  nv_increment = 0x00000134,
  nv_write = 0x00000137,
  nv_write_lock = 0x00000138,
  self_test = 0x00000143,
  startup = 0x00000144,
  shutdown = 0x00000145,
  activate_credential = 0x00000147,
  nv_read = 0x0000014E,
  policy_secret = 0x00000151,
  create = 0x00000153,
  load = 0x00000157,
  quote = 0x00000158,
  unseal = 0x0000015E,
  flush_context = 0x00000165,
  nv_read_public = 0x00000169,
  read_public = 0x00000173,
  start_auth_session = 0x00000176,
  get_capability = 0x0000017A,
  get_random = 0x0000017B,
  pcr_read = 0x0000017E,
  policy_pcr = 0x0000017F,
  pcr_extend = 0x00000182,
  policy_get_digest = 0x00000189,
};

// "TPM2_Quote".
std::string_view command_name(CommandCode code);
// The meaning of a TPM_RC in words, with the handle, session or parameter it points at (Part 2, 6.6).
std::string response_code_text(std::uint32_t code);

// TPM_RS_PW: the authorization that is an (empty) password.
inline constexpr Handle kPasswordSession = 0x40000009;

struct Command {
  CommandCode code{};
  std::vector<Handle> handles;
  std::vector<Handle>
      sessions;  // kPasswordSession or a policy session, one for each handle that wants authorization
  Bytes parameters;
  bool returns_handle = false;
};

struct Reply {
  Handle handle = 0;  // when the command returns one
  Bytes parameters;
};

// The whole command with header and authorization area. Sessions get no nonce, no HMAC and end with the
// command.
Bytes marshal_command(const Command& command);
// TPM_RC of a response; corrupt when its header does not fit its size.
Result<std::uint32_t> response_code(ByteSpan response);
// What a successful response carries; the sizes in it must fit the response exactly. Errors: corrupt, or as
// Client says for a response code.
Result<Reply> parse_response(const Command& command, ByteSpan response);

// Appends a TPM2B: 16 bits of size and the bytes, fewer than 65536.
void write_sized(ByteWriter& writer, ByteSpan content);
// Reads a TPM2B of at most `maximum` bytes; corrupt otherwise.
Result<ByteSpan> read_sized(ByteReader& reader, std::size_t maximum, std::string_view field);
// TPML_PCR_SELECTION with one selection of 24 PCRs.
void write_pcr_selection(ByteWriter& writer, PcrSelection selection);
// TPML_PCR_SELECTION of at most 16 selections; corrupt for a bitmap above 24 PCRs or a bank named twice,
// unsupported for an unknown bank.
Result<std::vector<PcrSelection>> read_pcr_selections(ByteReader& reader);

}  // namespace bootseal::tpm

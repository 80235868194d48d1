#include "bootseal/tpm/wire.h"

#include <fmt/format.h>

#include <array>

namespace bootseal::tpm {
namespace {

constexpr std::uint16_t kTagNoSessions = 0x8001, kTagSessions = 0x8002;
constexpr std::size_t kHeaderSize = 10;
constexpr std::size_t kMaximumDigest = 64;
constexpr std::uint32_t kMaximumSelections = 16;
constexpr std::uint8_t kContinueSession = 0x01;

struct AlgorithmRow {
  Algorithm algorithm;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<AlgorithmRow, 5> kAlgorithms = {{
    {Algorithm::sha1, "sha1", 20},
    {Algorithm::sha256, "sha256", 32},
    {Algorithm::sha384, "sha384", 48},
    {Algorithm::sha512, "sha512", 64},
    {Algorithm::sm3_256, "sm3_256", 32},
}};

const AlgorithmRow& row_of(Algorithm algorithm) {
  for (const AlgorithmRow& row : kAlgorithms) {
    if (row.algorithm == algorithm) return row;
  }
  check_failed("a known hash algorithm", __FILE__, __LINE__);
}

// TPM_RC_HANDLE and TPM_RC_REFERENCE_H0…6 mean that the handle is not there; the warnings that ask for
// another try are passing.
ErrorCode error_code_of(std::uint32_t code) {
  if ((code & 0xBFU) == 0x8BU && (code & 0x40U) == 0) return ErrorCode::not_found;
  if (code >= 0x910 && code <= 0x916) return ErrorCode::not_found;
  switch (code) {
    case 0x908:
    case 0x90A:
    case 0x920:
    case 0x922:
    case 0x923:
      return ErrorCode::unavailable;
    default:
      return ErrorCode::conflict;
  }
}

// The authorization area after the parameters of a response: nonce, attributes and HMAC of each session.
Status skip_response_sessions(ByteReader& reader, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    BOOTSEAL_TRY_STATUS(read_sized(reader, kMaximumDigest, "the nonce of a response session"));
    BOOTSEAL_TRY_STATUS(reader.u8("the attributes of a response session"));
    BOOTSEAL_TRY_STATUS(read_sized(reader, kMaximumDigest, "the HMAC of a response session"));
  }
  return {};
}

}  // namespace

std::string_view algorithm_name(Algorithm algorithm) {
  return row_of(algorithm).name;
}

std::size_t digest_size(Algorithm algorithm) {
  return row_of(algorithm).size;
}

Result<Algorithm> algorithm_from_name(std::string_view name) {
  for (const AlgorithmRow& row : kAlgorithms) {
    if (row.name == name) return row.algorithm;
  }
  return fail(ErrorCode::invalid_argument,
              fmt::format("'{}' is no hash algorithm: use sha1, sha256, sha384, sha512 or sm3_256", name));
}

Result<Algorithm> algorithm_from_id(std::uint16_t id) {
  for (const AlgorithmRow& row : kAlgorithms) {
    if (static_cast<std::uint16_t>(row.algorithm) == id) return row.algorithm;
  }
  return fail(ErrorCode::unsupported, fmt::format("hash algorithm 0x{:04x} is not known", id));
}

std::string_view command_name(CommandCode code) {
  switch (code) {
    case CommandCode::evict_control:
      return "TPM2_EvictControl";
    case CommandCode::nv_undefine_space:
      return "TPM2_NV_UndefineSpace";
    case CommandCode::nv_define_space:
      return "TPM2_NV_DefineSpace";
    case CommandCode::pcr_allocate:
      return "TPM2_PCR_Allocate";
    case CommandCode::create_primary:
      return "TPM2_CreatePrimary";
    case CommandCode::nv_increment:
      return "TPM2_NV_Increment";
    case CommandCode::nv_write:
      return "TPM2_NV_Write";
    case CommandCode::nv_write_lock:
      return "TPM2_NV_WriteLock";
    case CommandCode::self_test:
      return "TPM2_SelfTest";
    case CommandCode::startup:
      return "TPM2_Startup";
    case CommandCode::shutdown:
      return "TPM2_Shutdown";
    case CommandCode::activate_credential:
      return "TPM2_ActivateCredential";
    case CommandCode::nv_read:
      return "TPM2_NV_Read";
    case CommandCode::policy_secret:
      return "TPM2_PolicySecret";
    case CommandCode::create:
      return "TPM2_Create";
    case CommandCode::load:
      return "TPM2_Load";
    case CommandCode::quote:
      return "TPM2_Quote";
    case CommandCode::unseal:
      return "TPM2_Unseal";
    case CommandCode::flush_context:
      return "TPM2_FlushContext";
    case CommandCode::nv_read_public:
      return "TPM2_NV_ReadPublic";
    case CommandCode::read_public:
      return "TPM2_ReadPublic";
    case CommandCode::start_auth_session:
      return "TPM2_StartAuthSession";
    case CommandCode::get_capability:
      return "TPM2_GetCapability";
    case CommandCode::get_random:
      return "TPM2_GetRandom";
    case CommandCode::pcr_read:
      return "TPM2_PCR_Read";
    case CommandCode::policy_pcr:
      return "TPM2_PolicyPCR";
    case CommandCode::pcr_extend:
      return "TPM2_PCR_Extend";
    case CommandCode::policy_get_digest:
      return "TPM2_PolicyGetDigest";
  }
  check_failed("a known command", __FILE__, __LINE__);
}

Bytes marshal_command(const Command& command) {
  ByteWriter body;
  for (const Handle handle : command.handles) body.be32(handle);
  if (!command.sessions.empty()) {
    ByteWriter area;
    for (const Handle session : command.sessions) {
      area.be32(session).be16(0).u8(session == kPasswordSession ? kContinueSession : 0).be16(0);
    }
    body.be32(static_cast<std::uint32_t>(area.size())).bytes(area.view());
  }
  body.bytes(command.parameters);
  ByteWriter whole;
  whole.be16(command.sessions.empty() ? kTagNoSessions : kTagSessions)
      .be32(static_cast<std::uint32_t>(kHeaderSize + body.size()))
      .be32(static_cast<std::uint32_t>(command.code))
      .bytes(body.view());
  return whole.take();
}

Result<std::uint32_t> response_code(ByteSpan response) {
  ByteReader reader(response);
  BOOTSEAL_TRY_STATUS(reader.be16("the tag of a TPM response"));
  BOOTSEAL_TRY(const std::uint32_t size, reader.be32("the size of a TPM response"));
  BOOTSEAL_TRY(const std::uint32_t code, reader.be32("the code of a TPM response"));
  if (size != response.size()) {
    return fail(ErrorCode::corrupt,
                fmt::format("a TPM response says it has {} bytes and has {}", size, response.size()));
  }
  return code;
}

Result<Reply> parse_response(const Command& command, ByteSpan response) {
  const std::string_view name = command_name(command.code);
  auto code = response_code(response);
  if (!code) return tl::unexpected(code.error().wrap(name));
  if (*code != 0) {
    return fail(error_code_of(*code),
                fmt::format("{}: the TPM answered 0x{:03x}, {}", name, *code, response_code_text(*code)));
  }
  const std::uint16_t wanted_tag = command.sessions.empty() ? kTagNoSessions : kTagSessions;
  if (const std::uint16_t tag = load_be16(response, 0); tag != wanted_tag) {
    return fail(ErrorCode::corrupt,
                fmt::format("{}: the response has tag 0x{:04x}, not 0x{:04x}", name, tag, wanted_tag));
  }
  ByteReader reader(response.subspan(kHeaderSize));
  Reply reply;
  if (command.returns_handle) {
    BOOTSEAL_TRY(reply.handle, reader.be32("the handle of a TPM response"));
  }
  if (command.sessions.empty()) {
    reply.parameters = to_bytes(reader.rest());
    return reply;
  }
  BOOTSEAL_TRY(const std::uint32_t size, reader.be32("the parameter size of a TPM response"));
  BOOTSEAL_TRY(const ByteSpan parameters, reader.take(size, "the parameters of a TPM response"));
  reply.parameters = to_bytes(parameters);
  BOOTSEAL_TRY_STATUS(skip_response_sessions(reader, command.sessions.size()));
  if (!reader.at_end()) {
    return fail(ErrorCode::corrupt,
                fmt::format("{}: {} bytes too many at the end of the response", name, reader.remaining()));
  }
  return reply;
}

void write_sized(ByteWriter& writer, ByteSpan content) {
  BOOTSEAL_CHECK(content.size() <= 0xFFFF);
  writer.be16(static_cast<std::uint16_t>(content.size())).bytes(content);
}

Result<ByteSpan> read_sized(ByteReader& reader, std::size_t maximum, std::string_view field) {
  BOOTSEAL_TRY(const std::uint16_t size, reader.be16(field));
  if (size > maximum) {
    return fail(ErrorCode::corrupt, fmt::format("{} has {} bytes, more than {}", field, size, maximum));
  }
  return reader.take(size, field);
}

void write_pcr_selection(ByteWriter& writer, PcrSelection selection) {
  writer.be32(1).be16(static_cast<std::uint16_t>(selection.bank)).u8(kPcrCount / 8);
  for (unsigned byte = 0; byte < kPcrCount / 8; ++byte) {
    writer.u8(static_cast<std::uint8_t>((selection.mask >> (8 * byte)) & 0xFFU));
  }
}

Result<std::vector<PcrSelection>> read_pcr_selections(ByteReader& reader) {
  BOOTSEAL_TRY(const std::uint32_t count, reader.be32("the number of PCR selections"));
  if (count > kMaximumSelections) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} PCR selections, more than {}", count, kMaximumSelections));
  }
  std::vector<PcrSelection> selections;
  for (std::uint32_t i = 0; i < count; ++i) {
    BOOTSEAL_TRY(const std::uint16_t bank, reader.be16("the bank of a PCR selection"));
    PcrSelection selection;
    BOOTSEAL_TRY(selection.bank, algorithm_from_id(bank));
    for (const PcrSelection& other : selections) {
      if (other.bank == selection.bank) {
        return fail(ErrorCode::corrupt,
                    fmt::format("bank {} is selected twice", algorithm_name(selection.bank)));
      }
    }
    BOOTSEAL_TRY(const std::uint8_t size, reader.u8("the size of a PCR bitmap"));
    BOOTSEAL_TRY(const ByteSpan bitmap, reader.take(size, "a PCR bitmap"));
    for (std::size_t byte = 0; byte < bitmap.size(); ++byte) {
      const auto bits = std::to_integer<std::uint32_t>(bitmap[byte]);
      if (bits == 0) continue;
      if (byte >= kPcrCount / 8) return fail(ErrorCode::corrupt, "a PCR bitmap selects a PCR above 23");
      selection.mask |= bits << (8 * byte);
    }
    selections.push_back(selection);
  }
  return selections;
}

}  // namespace bootseal::tpm

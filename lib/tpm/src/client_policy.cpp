#include <fmt/format.h>

#include "client_parts.h"

namespace bootseal::tpm {
namespace {

constexpr std::uint8_t kSessionPolicy = 0x01, kSessionTrial = 0x03;
constexpr std::size_t kMinimumNonce = 16;

Bytes sized(ByteSpan content) {
  ByteWriter writer;
  write_sized(writer, content);
  return writer.take();
}

// A keyed-hash object that only its policy opens.
Bytes sealed_public(ByteSpan policy) {
  ByteWriter writer;
  writer.be16(kAlgKeyedHash).be16(id_of(Algorithm::sha256)).be32(kFixedTpm | kFixedParent);
  write_sized(writer, policy);
  writer.be16(kAlgNull);
  write_sized(writer, {});
  return writer.take();
}

}  // namespace

Result<Handle> Client::start_policy_session(bool trial) {
  // No HMAC is computed in these sessions, so the caller's nonce carries no meaning.
  ByteWriter writer;
  writer.be16(kMinimumNonce).fill(kMinimumNonce);
  write_sized(writer, {});
  writer.u8(trial ? kSessionTrial : kSessionPolicy).be16(kAlgNull).be16(id_of(Algorithm::sha256));
  BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::start_auth_session,
                                       .handles = {kNullHierarchy, kNullHierarchy},
                                       .sessions = {},
                                       .parameters = writer.take(),
                                       .returns_handle = true}));
  return reply.handle;
}

Status Client::policy_pcr(Handle session, PcrSelection selection) {
  // An empty digest asks for the values of now.
  ByteWriter writer;
  write_sized(writer, {});
  write_pcr_selection(writer, selection);
  BOOTSEAL_TRY_STATUS(run(
      {.code = CommandCode::policy_pcr, .handles = {session}, .sessions = {}, .parameters = writer.take()}));
  return {};
}

Result<Bytes> Client::pcr_policy_digest(PcrSelection selection) {
  BOOTSEAL_TRY(const Handle session, start_policy_session(/*trial=*/true));
  auto digest = [&]() -> Result<Bytes> {
    BOOTSEAL_TRY_STATUS(policy_pcr(session, selection));
    BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::policy_get_digest, .handles = {session}}));
    return only_sized(reply, kMaximumDigest, CommandCode::policy_get_digest, "the policy digest");
  }();
  const Status flushed = flush_context(session);
  if (digest && !flushed) return tl::unexpected(flushed.error());
  return digest;
}

Result<SealedObject> Client::seal_to_pcrs(Handle parent, ByteSpan data, PcrSelection selection) {
  BOOTSEAL_TRY_STATUS(check_selection(selection));
  if (data.empty() || data.size() > 128) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} bytes cannot be sealed: 1 to 128 can", data.size()));
  }
  BOOTSEAL_TRY(const Bytes policy, pcr_policy_digest(selection));
  BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::create,
                                       .handles = {parent},
                                       .sessions = {kPasswordSession},
                                       .parameters = creation_parameters(data, sealed_public(policy))}));
  ByteReader reader(reply.parameters);
  BOOTSEAL_TRY(const ByteSpan private_part, read_sized(reader, kMaximumPrivate, "the private part"));
  BOOTSEAL_TRY(const ByteSpan public_area, read_sized(reader, kMaximumPublic, "the public area"));
  BOOTSEAL_TRY_STATUS(skip_creation(reader));
  BOOTSEAL_TRY_STATUS(at_end(reader, CommandCode::create));
  return SealedObject{to_bytes(private_part), to_bytes(public_area)};
}

Result<Bytes> Client::unseal_with_pcrs(Handle parent, const SealedObject& object, PcrSelection selection) {
  BOOTSEAL_TRY_STATUS(check_selection(selection));
  if (object.private_part.size() > kMaximumPrivate || object.public_area.size() > kMaximumPublic) {
    return fail(ErrorCode::invalid_argument, "the sealed object is larger than any TPM makes one");
  }
  ByteWriter writer;
  write_sized(writer, object.private_part);
  write_sized(writer, object.public_area);
  BOOTSEAL_TRY(const Reply loaded, run({.code = CommandCode::load,
                                        .handles = {parent},
                                        .sessions = {kPasswordSession},
                                        .parameters = writer.take(),
                                        .returns_handle = true}));
  auto data = [&]() -> Result<Bytes> {
    BOOTSEAL_TRY(const Handle session, start_policy_session(/*trial=*/false));
    auto unsealed = [&]() -> Result<Bytes> {
      BOOTSEAL_TRY_STATUS(policy_pcr(session, selection));
      BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::unseal,
                                           .handles = {loaded.handle},
                                           .sessions = {session},
                                           .parameters = {}}));
      return only_sized(reply, kMaximumSensitive, CommandCode::unseal, "the unsealed data");
    }();
    // A successful command ends the session; after a failure it is still there.
    if (!unsealed) {
      const std::uint32_t code = last_response_code_;
      static_cast<void>(flush_context(session));
      last_response_code_ = code;
    }
    return unsealed;
  }();
  const std::uint32_t code = last_response_code_;
  const Status flushed = flush_context(loaded.handle);
  if (!data) last_response_code_ = code;
  if (data && !flushed) return tl::unexpected(flushed.error());
  return data;
}

Result<Bytes> Client::activate_credential(Handle attestation_key, Handle endorsement_key, ByteSpan credential,
                                          ByteSpan secret) {
  if (credential.size() > kMaximumPublic || secret.size() > kMaximumPublic) {
    return fail(ErrorCode::invalid_argument, "the credential is larger than any TPM takes one");
  }
  BOOTSEAL_TRY(const Handle session, start_policy_session(/*trial=*/false));
  auto recovered = [&]() -> Result<Bytes> {
    ByteWriter policy;
    write_sized(policy, {});
    write_sized(policy, {});
    write_sized(policy, {});
    policy.be32(0);
    BOOTSEAL_TRY_STATUS(run({.code = CommandCode::policy_secret,
                             .handles = {kEndorsement, session},
                             .sessions = {kPasswordSession},
                             .parameters = policy.take()}));
    Bytes parameters = sized(credential);
    append(parameters, sized(secret));
    BOOTSEAL_TRY(const Reply reply, run({.code = CommandCode::activate_credential,
                                         .handles = {attestation_key, endorsement_key},
                                         .sessions = {kPasswordSession, session},
                                         .parameters = std::move(parameters)}));
    return only_sized(reply, kMaximumDigest, CommandCode::activate_credential, "the credential's secret");
  }();
  if (!recovered) {
    const std::uint32_t code = last_response_code_;
    static_cast<void>(flush_context(session));
    last_response_code_ = code;
  }
  return recovered;
}

}  // namespace bootseal::tpm

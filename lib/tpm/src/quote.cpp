#include "bootseal/tpm/quote.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/crypto/secret.h"
#include "bootseal/tpm/hash.h"

namespace bootseal::tpm {
namespace {

constexpr std::uint32_t kGeneratedMagic = 0xFF544347;  // TPM_GENERATED_VALUE
constexpr std::uint16_t kAttestQuote = 0x8018;         // TPM_ST_ATTEST_QUOTE
constexpr std::size_t kMaximumName = 66, kMaximumData = 128, kMaximumDigest = 64, kMaximumRsa = 512,
                      kMaximumEcc = 66;
constexpr std::size_t kMinimumNonce = 16;

std::string selection_text(const PcrSelection& selection) {
  return fmt::format("{}:0x{:06x}", algorithm_name(selection.bank), selection.mask);
}

Status nothing_left(const ByteReader& reader, std::string_view what) {
  if (reader.at_end()) return {};
  return fail(ErrorCode::corrupt, fmt::format("{} bytes behind the end of {}", reader.remaining(), what));
}

std::vector<PcrValue> ascending(std::vector<PcrValue> values) {
  std::sort(values.begin(), values.end(),
            [](const PcrValue& a, const PcrValue& b) { return a.index < b.index; });
  return values;
}

}  // namespace

Result<Attestation> parse_quote(ByteSpan attest) {
  ByteReader reader(attest);
  BOOTSEAL_TRY(const std::uint32_t magic, reader.be32("the magic of an attestation"));
  if (magic != kGeneratedMagic) {
    return fail(ErrorCode::corrupt, fmt::format("magic 0x{:08x}: this was not made inside a TPM", magic));
  }
  BOOTSEAL_TRY(const std::uint16_t type, reader.be16("the type of an attestation"));
  if (type != kAttestQuote) {
    return fail(ErrorCode::corrupt, fmt::format("attestation type 0x{:04x} is no quote", type));
  }
  Attestation quote;
  BOOTSEAL_TRY(const ByteSpan signer, read_sized(reader, kMaximumName, "the qualified signer"));
  quote.qualified_signer = to_bytes(signer);
  BOOTSEAL_TRY(const ByteSpan nonce, read_sized(reader, kMaximumData, "the nonce of a quote"));
  quote.nonce = to_bytes(nonce);
  BOOTSEAL_TRY(quote.clock_ms, reader.be64("the clock of a quote"));
  BOOTSEAL_TRY(quote.reset_count, reader.be32("the reset count"));
  BOOTSEAL_TRY(quote.restart_count, reader.be32("the restart count"));
  BOOTSEAL_TRY(const std::uint8_t safe, reader.u8("the safe flag"));
  if (safe > 1) return fail(ErrorCode::corrupt, fmt::format("the safe flag of a quote is {}", safe));
  quote.safe = safe == 1;
  BOOTSEAL_TRY(quote.firmware_version, reader.be64("the firmware version"));
  BOOTSEAL_TRY(quote.selections, read_pcr_selections(reader));
  BOOTSEAL_TRY(const ByteSpan digest, read_sized(reader, kMaximumDigest, "the PCR digest"));
  quote.pcr_digest = to_bytes(digest);
  BOOTSEAL_TRY_STATUS(nothing_left(reader, "a quote"));
  return quote;
}

Result<Signature> parse_signature(ByteSpan signature) {
  ByteReader reader(signature);
  Signature parsed;
  BOOTSEAL_TRY(parsed.scheme, reader.be16("the scheme of a signature"));
  if (parsed.scheme != kAlgRsaSsa && parsed.scheme != kAlgRsaPss && parsed.scheme != kAlgEcdsa) {
    return fail(ErrorCode::unsupported,
                fmt::format("signature scheme 0x{:04x} is none of RSASSA, RSAPSS and ECDSA", parsed.scheme));
  }
  BOOTSEAL_TRY(const std::uint16_t hash, reader.be16("the hash of a signature"));
  BOOTSEAL_TRY(parsed.hash, algorithm_from_id(hash));
  if (parsed.scheme == kAlgEcdsa) {
    BOOTSEAL_TRY(const ByteSpan r, read_sized(reader, kMaximumEcc, "r of a signature"));
    BOOTSEAL_TRY(const ByteSpan s, read_sized(reader, kMaximumEcc, "s of a signature"));
    parsed.r = to_bytes(r);
    parsed.s = to_bytes(s);
  } else {
    BOOTSEAL_TRY(const ByteSpan rsa, read_sized(reader, kMaximumRsa, "an RSA signature"));
    parsed.rsa = to_bytes(rsa);
  }
  BOOTSEAL_TRY_STATUS(nothing_left(reader, "a signature"));
  return parsed;
}

Bytes marshal_signature(const Signature& signature) {
  ByteWriter writer;
  writer.be16(signature.scheme).be16(static_cast<std::uint16_t>(signature.hash));
  if (signature.scheme == kAlgEcdsa) {
    write_sized(writer, signature.r);
    write_sized(writer, signature.s);
  } else {
    write_sized(writer, signature.rsa);
  }
  return writer.take();
}

Status verify_signature(ByteSpan attest, const Signature& signature, const crypto::PublicKey& key) {
  if (signature.hash == Algorithm::sha1) {
    return fail(ErrorCode::permission_denied,
                "the quote is signed with SHA-1: use a key with SHA-256 or better");
  }
  const bool rsa_key = key.kind() == crypto::KeyKind::rsa;
  if (rsa_key == (signature.scheme == kAlgEcdsa)) {
    return fail(ErrorCode::permission_denied, fmt::format("the signature is not of the kind of the key ({})",
                                                          crypto::key_kind_name(key.kind())));
  }
  if (signature.scheme == kAlgEcdsa) {
    return key.verify(crypto::SignatureScheme::ecdsa, hash_of(signature.hash), attest,
                      crypto::ecdsa_signature_from_numbers(signature.r, signature.s));
  }
  const auto scheme =
      signature.scheme == kAlgRsaPss ? crypto::SignatureScheme::rsa_pss : crypto::SignatureScheme::rsa_pkcs1;
  return key.verify(scheme, hash_of(signature.hash), attest, signature.rsa);
}

Result<Attestation> verify_quote(ByteSpan attest, ByteSpan signature, const crypto::PublicKey& key,
                                 ByteSpan nonce, PcrSelection selection) {
  if (nonce.size() < kMinimumNonce) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("a nonce of {} bytes proves no freshness: use at least {}", nonce.size(), kMinimumNonce));
  }
  BOOTSEAL_TRY(Attestation quote, parse_quote(attest));
  BOOTSEAL_TRY(const Signature parsed, parse_signature(signature));
  if (const Status verified = verify_signature(attest, parsed, key); !verified) {
    return tl::unexpected(verified.error().wrap("the quote's signature"));
  }
  quote.digest_algorithm = parsed.hash;
  if (!crypto::equal_constant_time(quote.nonce, nonce)) {
    return fail(ErrorCode::permission_denied,
                "the quote answers another challenge: its nonce is not the one asked for");
  }
  if (quote.selections != std::vector<PcrSelection>{selection}) {
    std::string found;
    for (const PcrSelection& other : quote.selections)
      found += (found.empty() ? "" : " ") + selection_text(other);
    return fail(ErrorCode::permission_denied,
                fmt::format("the quote is over PCRs {}, and {} were asked for",
                            found.empty() ? "none" : found, selection_text(selection)));
  }
  if (quote.pcr_digest.size() != digest_size(quote.digest_algorithm)) {
    return fail(ErrorCode::corrupt,
                fmt::format("the PCR digest of the quote has {} bytes", quote.pcr_digest.size()));
  }
  return quote;
}

Bytes pcr_digest(Algorithm hash, const std::vector<PcrValue>& values) {
  Bytes joined;
  for (const PcrValue& value : ascending(values)) append(joined, value.digest);
  return crypto::digest(hash_of(hash), joined);
}

Status check_pcr_values(const Attestation& quote, const std::vector<PcrValue>& values) {
  if (quote.selections.size() != 1) {
    return fail(ErrorCode::invalid_argument, "PCR values can be compared with a quote over one bank only");
  }
  const PcrSelection& selection = quote.selections.front();
  std::uint32_t mask = 0;
  for (const PcrValue& value : values) {
    const bool fits = value.index < kPcrCount && (mask >> value.index & 1U) == 0 &&
                      value.digest.size() == digest_size(selection.bank);
    if (!fits) {
      return fail(ErrorCode::invalid_argument, fmt::format("PCR {} is given twice or is no {} value",
                                                           value.index, algorithm_name(selection.bank)));
    }
    mask |= 1U << value.index;
  }
  if (mask != selection.mask) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("values of PCRs 0x{:06x} are given, and the quote is over {}", mask,
                            selection_text(selection)));
  }
  if (pcr_digest(quote.digest_algorithm, values) != quote.pcr_digest) {
    return fail(ErrorCode::permission_denied, "the PCR values are not the ones the TPM signed");
  }
  return {};
}

}  // namespace bootseal::tpm

#include "bootseal/uefi/authenticode.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>

#include "bootseal/crypto/handle.h"
#include "bootseal/uefi/guids.h"
#include "der.h"

namespace bootseal::uefi {
namespace {

using Certificate = crypto::Handle<X509, &X509_free>;
using CertificateStore = crypto::Handle<X509_STORE, &X509_STORE_free>;
using Pkcs7 = crypto::Handle<PKCS7, &PKCS7_free>;
using Bio = crypto::Handle<BIO, &BIO_free>;

void free_signers(STACK_OF(X509) * signers) {
  sk_X509_free(signers);
}
using Signers = crypto::Handle<STACK_OF(X509), &free_signers>;

constexpr std::size_t kWinCertificateHeader = 8;
constexpr std::uint16_t kWinCertPkcs7 = 0x0002, kWinCertEfiGuid = 0x0ef1;
constexpr Guid kCertTypePkcs7 = guid_literal("4aafd29d-68df-49ee-8aa9-347d375665a7");
constexpr Guid kCertX509Sha256 = guid_literal("3bd2a492-96c0-4079-b420-fcf98ef103ed");
constexpr std::size_t kMaximumSignatures = 16, kMaximumSignatureSize = std::size_t{1} << 20;
constexpr std::size_t kMaximumNameSize = 128;

// What OpenSSL left in its queue is of no use to anybody and must not reach the next caller.
struct ClearedErrors {
  ~ClearedErrors() { ERR_clear_error(); }
};

Certificate parse_certificate(ByteSpan der) {
  if (der.size() > static_cast<std::size_t>(std::numeric_limits<long>::max())) return nullptr;
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  Certificate certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (at != reinterpret_cast<const unsigned char*>(der.data()) + der.size()) return nullptr;
  return certificate;
}

Pkcs7 parse_pkcs7(ByteSpan der) {
  // The entry of the certificate table may be padded, so bytes behind the structure are allowed.
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  Pkcs7 pkcs7(d2i_PKCS7(nullptr, &at, static_cast<long>(der.size())));
  if (!pkcs7 || PKCS7_type_is_signed(pkcs7.get()) == 0 || pkcs7->d.sign == nullptr ||
      pkcs7->d.sign->contents == nullptr)
    return nullptr;
  return pkcs7;
}

std::string common_name(const X509_NAME* name) {
  const int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (index < 0) return {};
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
  if (size < 0) return {};
  std::string text(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
  OPENSSL_free(utf8);
  if (text.size() > kMaximumNameSize) {
    std::size_t end = kMaximumNameSize;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
      --end;  // not inside a character
    text.resize(end);
  }
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, '?');
  return text;
}

std::string name_or_placeholder(std::string name) {
  return name.empty() ? "(a certificate without a name)" : name;
}

// SpcIndirectDataContent without its outer tag: exactly what was signed.
Result<ByteSpan> signed_content(const PKCS7& pkcs7) {
  const PKCS7* contents = pkcs7.d.sign->contents;
  const ASN1_TYPE* value = contents->d.other;
  std::array<char, 64> type{};
  OBJ_obj2txt(type.data(), static_cast<int>(type.size()), contents->type, 1);
  if (std::string_view(type.data()) != "1.3.6.1.4.1.311.2.1.4" || value == nullptr ||
      value->type != V_ASN1_SEQUENCE) {
    return fail(ErrorCode::corrupt, "the signature does not sign an Authenticode digest");
  }
  ByteSpan rest{reinterpret_cast<const std::byte*>(value->value.sequence->data),
                static_cast<std::size_t>(value->value.sequence->length)};
  return take_der(rest, kDerSequence, "the Authenticode content");
}

Result<crypto::HashAlgorithm> digest_algorithm(ByteSpan object_identifier) {
  constexpr std::array<std::pair<std::string_view, crypto::HashAlgorithm>, 4> kKnown = {{
      {"608648016503040201", crypto::HashAlgorithm::sha256},
      {"608648016503040202", crypto::HashAlgorithm::sha384},
      {"608648016503040203", crypto::HashAlgorithm::sha512},
      {"2b0e03021a", crypto::HashAlgorithm::sha1},
  }};
  const std::string hex =
      to_hex(object_identifier.first(std::min<std::size_t>(object_identifier.size(), 32)));
  for (const auto& [text, algorithm] : kKnown) {
    if (hex == text) return algorithm;
  }
  return fail(ErrorCode::unsupported, fmt::format("the signature uses the unknown digest algorithm {}", hex));
}

// DigestInfo inside the content: {type and value, {{algorithm}, digest}}.
Status read_embedded_digest(ByteSpan content, ImageSignature& signature) {
  BOOTSEAL_TRY_STATUS(take_der(content, kDerSequence, "the Authenticode data type"));
  BOOTSEAL_TRY(ByteSpan digest_info, take_der(content, kDerSequence, "the Authenticode digest"));
  BOOTSEAL_TRY(ByteSpan algorithm, take_der(digest_info, kDerSequence, "the digest algorithm"));
  BOOTSEAL_TRY(const ByteSpan object_identifier,
               take_der(algorithm, kDerObjectIdentifier, "the digest algorithm"));
  BOOTSEAL_TRY(signature.algorithm, digest_algorithm(object_identifier));
  BOOTSEAL_TRY(const ByteSpan digest, take_der(digest_info, kDerOctetString, "the Authenticode digest"));
  signature.embedded_digest = to_bytes(digest);
  return {};
}

Result<ImageSignature> read_signature(const PeImage& image, ByteSpan der) {
  const ClearedErrors cleared;
  if (der.size() > kMaximumSignatureSize)
    return fail(ErrorCode::corrupt, fmt::format("a signature of {} bytes is too large", der.size()));
  const Pkcs7 pkcs7 = parse_pkcs7(der);
  if (!pkcs7) return fail(ErrorCode::corrupt, "it is no PKCS#7 signature");
  ImageSignature signature;
  signature.pkcs7 = to_bytes(der);
  BOOTSEAL_TRY(const ByteSpan content, signed_content(*pkcs7));
  BOOTSEAL_TRY_STATUS(read_embedded_digest(content, signature));
  signature.digest_matches = image.authenticode_digest(signature.algorithm) == signature.embedded_digest;
  const Signers signers(PKCS7_get0_signers(pkcs7.get(), nullptr, 0));
  if (signers && sk_X509_num(signers.get()) > 0) {
    const X509* signer = sk_X509_value(signers.get(), 0);
    signature.signer = common_name(X509_get_subject_name(signer));
    signature.issuer = common_name(X509_get_issuer_name(signer));
  }
  return signature;
}

// The PKCS#7 inside one WIN_CERTIFICATE; empty for types that firmware passes over.
ByteSpan pkcs7_of(std::uint16_t type, ByteSpan body) {
  if (type == kWinCertPkcs7) return body;
  if (type == kWinCertEfiGuid && body.size() > 16 &&
      std::ranges::equal(body.first(16), kCertTypePkcs7.windows_layout())) {
    return body.subspan(16);
  }
  return {};
}

// True when the signature is good and chains to `anchor`, as firmware sees it.
bool chains_to(const ImageSignature& signature, ByteSpan anchor) {
  const ClearedErrors cleared;
  const Pkcs7 pkcs7 = parse_pkcs7(signature.pkcs7);
  Certificate certificate = parse_certificate(anchor);
  if (!pkcs7 || !certificate) return false;
  const Result<ByteSpan> content = signed_content(*pkcs7);
  if (!content) return false;
  const CertificateStore store(X509_STORE_new());
  BOOTSEAL_CHECK(store != nullptr);
  if (X509_STORE_add_cert(store.get(), certificate.get()) != 1) return false;
  X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME);
  X509_STORE_set_purpose(store.get(), X509_PURPOSE_ANY);
  const Bio data(BIO_new_mem_buf(content->data(), static_cast<int>(content->size())));
  BOOTSEAL_CHECK(data != nullptr);
  return PKCS7_verify(pkcs7.get(), nullptr, store.get(), data.get(), nullptr, PKCS7_BINARY) == 1;
}

// The first certificate of the database that the signature chains to.
std::optional<ByteSpan> find_anchor(const ImageSignature& signature, const SignatureDatabase& database) {
  for (const ByteSpan certificate : certificates_of(database)) {
    if (chains_to(signature, certificate)) return certificate;
  }
  return std::nullopt;
}

// Certificates revoked by the hash of their to-be-signed part (EFI_CERT_X509_SHA256): any certificate the
// signature carries counts. Entries with a revocation time are taken as revoked at any time, since no time
// stamp of ours is trusted.
std::optional<std::string> find_certificate_revoked_by_hash(const ImageSignature& signature,
                                                            const SignatureDatabase& dbx) {
  const ClearedErrors cleared;
  const Pkcs7 pkcs7 = parse_pkcs7(signature.pkcs7);
  if (!pkcs7) return std::nullopt;
  const STACK_OF(X509)* certificates = pkcs7->d.sign->cert;
  for (int i = 0; i < sk_X509_num(certificates); ++i) {
    X509* certificate = sk_X509_value(certificates, i);
    unsigned char* der = nullptr;
    const int size = i2d_re_X509_tbs(certificate, &der);
    if (size <= 0) continue;
    const crypto::Sha256Digest digest =
        crypto::sha256({reinterpret_cast<const std::byte*>(der), static_cast<std::size_t>(size)});
    OPENSSL_free(der);
    const bool revoked = std::ranges::any_of(dbx, [&](const SignatureList& list) {
      return list.type == kCertX509Sha256 &&
             std::ranges::any_of(list.signatures, [&](const Signature& entry) {
               return entry.data.size() >= 32 &&
                      std::ranges::equal(ByteSpan(entry.data).first(32), digest.view());
             });
    });
    if (revoked) return name_or_placeholder(common_name(X509_get_subject_name(certificate)));
  }
  return std::nullopt;
}

std::string name_of(ByteSpan certificate) {
  return name_or_placeholder(certificate_common_name(certificate).value_or(""));
}

SecureBootJudgement judged(SecureBootVerdict verdict, std::string certificate, std::string reason) {
  return {.verdict = verdict, .certificate = std::move(certificate), .reason = std::move(reason)};
}

// A revoked signer condemns the image whatever its other signatures say.
std::optional<SecureBootJudgement> find_revocation(const std::vector<ImageSignature>& signatures,
                                                   const SignatureDatabase& dbx) {
  for (const ImageSignature& signature : signatures) {
    if (!signature.digest_matches) continue;
    const std::optional<ByteSpan> anchor = find_anchor(signature, dbx);
    std::optional<std::string> name =
        anchor ? name_of(*anchor) : find_certificate_revoked_by_hash(signature, dbx);
    if (!name) continue;
    std::string reason = fmt::format("its signature leads to the revoked certificate {}", *name);
    return judged(SecureBootVerdict::refused_signer_revoked, *std::move(name), std::move(reason));
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<ImageSignature>> image_signatures(const PeImage& image) {
  const ByteSpan table = image.certificate_table();
  std::vector<ImageSignature> signatures;
  std::size_t offset = 0;
  while (table.size() - offset >= kWinCertificateHeader) {
    const std::size_t length = load_le32(table, offset);
    const std::uint16_t type = load_le16(table, offset + 6);
    if (length < kWinCertificateHeader || length > table.size() - offset) {
      return fail(
          ErrorCode::corrupt,
          fmt::format("the certificate at offset {} of the certificate table says it has {} bytes, {} remain",
                      offset, length, table.size() - offset));
    }
    const ByteSpan der =
        pkcs7_of(type, table.subspan(offset + kWinCertificateHeader, length - kWinCertificateHeader));
    if (!der.empty()) {
      if (signatures.size() == kMaximumSignatures)
        return fail(ErrorCode::corrupt,
                    fmt::format("the image has more than {} signatures", kMaximumSignatures));
      Result<ImageSignature> signature = read_signature(image, der);
      if (!signature)
        return tl::unexpected(signature.error().wrap(
            fmt::format("the signature at offset {} of the certificate table", offset)));
      signatures.push_back(*std::move(signature));
    }
    offset += std::min((length + 7) & ~std::size_t{7}, table.size() - offset);
  }
  return signatures;
}

std::string_view secure_boot_verdict_name(SecureBootVerdict verdict) {
  constexpr std::array<std::string_view, 7> kNames = {
      "AllowedByCertificate", "AllowedByHash",    "RefusedHashRevoked", "RefusedSignerRevoked",
      "RefusedChanged",       "RefusedUntrusted", "RefusedUnsigned"};
  return kNames[static_cast<std::size_t>(verdict)];
}

Result<SecureBootJudgement> judge_image(const PeImage& image, const SignatureDatabase& db,
                                        const SignatureDatabase& dbx) {
  BOOTSEAL_TRY(const std::vector<ImageSignature> signatures, image_signatures(image));
  const crypto::Sha256Digest digest = image.authenticode_sha256();
  if (auto revocation = find_revocation(signatures, dbx)) return *std::move(revocation);
  if (contains_sha256(dbx, digest)) {
    return judged(SecureBootVerdict::refused_hash_revoked, "",
                  fmt::format("its hash {} is revoked by dbx", digest.to_hex()));
  }
  std::string changed_under;
  for (const ImageSignature& signature : signatures) {
    const auto anchor = find_anchor(signature, db);
    if (!anchor) continue;
    if (signature.digest_matches) {
      std::string name = name_of(*anchor);
      std::string reason = fmt::format("it is signed under {}", name);
      return judged(SecureBootVerdict::allowed_by_certificate, std::move(name), std::move(reason));
    }
    changed_under = name_of(*anchor);
  }
  if (contains_sha256(db, digest)) {
    return judged(SecureBootVerdict::allowed_by_hash, "",
                  fmt::format("its hash {} is in db", digest.to_hex()));
  }
  if (!changed_under.empty()) {
    std::string reason = fmt::format("it was changed after it was signed under {}", changed_under);
    return judged(SecureBootVerdict::refused_changed, std::move(changed_under), std::move(reason));
  }
  if (signatures.empty()) return judged(SecureBootVerdict::refused_unsigned, "", "it carries no signature");
  const std::string& signer = signatures.front().signer;
  return judged(
      SecureBootVerdict::refused_untrusted, "",
      fmt::format("its signer {} is not trusted by db", signer.empty() ? std::string("(unknown)") : signer));
}

Result<std::string> certificate_common_name(ByteSpan der) {
  const ClearedErrors cleared;
  const Certificate certificate = parse_certificate(der);
  if (!certificate) return fail(ErrorCode::corrupt, "the bytes are no X.509 certificate");
  return common_name(X509_get_subject_name(certificate.get()));
}

Result<VendorDatabases> vendor_databases(const PeImage& shim) {
  const std::optional<ByteSpan> section = shim.section(".vendor_cert");
  if (!section) return fail(ErrorCode::not_found, "the image has no .vendor_cert section");
  // shim's cert.S: sizes of the allowed and of the revoked part, then their offsets from the beginning of the
  // section.
  ByteReader reader(*section);
  std::array<std::uint32_t, 4> fields{};
  for (std::uint32_t& field : fields) {
    BOOTSEAL_TRY(field, reader.le32("the header of .vendor_cert"));
  }
  const auto part = [&](std::size_t index) -> Result<ByteSpan> {
    ByteReader at(*section);
    BOOTSEAL_TRY_STATUS(at.skip(fields[index + 2], "an offset in .vendor_cert"));
    return at.take(fields[index], "a part of .vendor_cert");
  };
  VendorDatabases databases;
  BOOTSEAL_TRY(const ByteSpan allowed, part(0));
  BOOTSEAL_TRY(const ByteSpan revoked, part(1));
  if (!allowed.empty() && certificate_common_name(allowed)) {
    databases.db = {x509_list(kShimLock, allowed)};
  } else {
    BOOTSEAL_TRY(databases.db, parse_signature_database(allowed));
  }
  BOOTSEAL_TRY(databases.dbx, parse_signature_database(revoked));
  return databases;
}

}  // namespace bootseal::uefi

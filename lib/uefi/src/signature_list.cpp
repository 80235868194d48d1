#include "bootseal/uefi/signature_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/uefi/guids.h"

namespace bootseal::uefi {
namespace {

constexpr std::size_t kListHeaderSize = 28;
constexpr std::size_t kOwnerSize = 16;
constexpr std::size_t kSha256EntrySize = kOwnerSize + 32;
constexpr std::size_t kMaximumEntries = 65536;
constexpr Guid kCertTypePkcs7 = guid_literal("4aafd29d-68df-49ee-8aa9-347d375665a7");
constexpr std::size_t kTimeSize = 16;
constexpr std::uint16_t kWinCertRevision = 0x0200, kWinCertTypeEfiGuid = 0x0ef1;

Result<SignatureList> parse_list(ByteReader& reader, std::size_t& entries) {
  SignatureList list;
  BOOTSEAL_TRY(const ByteSpan type, reader.take(16, "the type"));
  BOOTSEAL_TRY(const std::uint32_t list_size, reader.le32("the list size"));
  BOOTSEAL_TRY(const std::uint32_t header_size, reader.le32("the header size"));
  BOOTSEAL_TRY(const std::uint32_t signature_size, reader.le32("the signature size"));
  list.type = Guid::from_windows_layout(type.first<16>());
  if (list_size < kListHeaderSize || list_size - kListHeaderSize > reader.remaining()) {
    return fail(ErrorCode::corrupt, fmt::format("the list says it has {} bytes, {} remain", list_size,
                                                reader.remaining() + kListHeaderSize));
  }
  const std::size_t body_size = list_size - kListHeaderSize;
  if (header_size > body_size)
    return fail(ErrorCode::corrupt, fmt::format("a header of {} bytes does not fit", header_size));
  if (signature_size < kOwnerSize)
    return fail(ErrorCode::corrupt,
                fmt::format("signatures of {} bytes have no room for an owner", signature_size));
  if ((body_size - header_size) % signature_size != 0) {
    return fail(ErrorCode::corrupt, fmt::format("{} bytes are no multiple of the signature size {}",
                                                body_size - header_size, signature_size));
  }
  if (list.type == kCertSha256 && signature_size != kSha256EntrySize) {
    return fail(ErrorCode::corrupt,
                fmt::format("SHA-256 signatures have 48 bytes, these have {}", signature_size));
  }
  const std::size_t count = (body_size - header_size) / signature_size;
  entries += count;
  if (entries > kMaximumEntries)
    return fail(ErrorCode::corrupt, fmt::format("more than {} signatures", kMaximumEntries));

  BOOTSEAL_TRY(const ByteSpan header, reader.take(header_size, "the header"));
  list.header = to_bytes(header);
  list.signatures.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    BOOTSEAL_TRY(const ByteSpan entry, reader.take(signature_size, "a signature"));
    list.signatures.push_back({.owner = Guid::from_windows_layout(entry.first<kOwnerSize>()),
                               .data = to_bytes(entry.subspan(kOwnerSize))});
  }
  return list;
}

}  // namespace

Result<SignatureDatabase> parse_signature_database(ByteSpan data) {
  SignatureDatabase database;
  ByteReader reader(data);
  std::size_t entries = 0;
  while (!reader.at_end()) {
    const std::size_t offset = reader.position();
    Result<SignatureList> list = parse_list(reader, entries);
    if (!list)
      return tl::unexpected(list.error().wrap(fmt::format("the signature list at offset {}", offset)));
    if (!list->signatures.empty()) database.push_back(*std::move(list));
  }
  return database;
}

Bytes serialize_signature_database(const SignatureDatabase& database) {
  ByteWriter writer;
  for (const SignatureList& list : database) {
    BOOTSEAL_CHECK(!list.signatures.empty());
    const std::size_t data_size = list.signatures.front().data.size();
    const std::size_t signature_size = kOwnerSize + data_size;
    writer.bytes(list.type.windows_layout());
    writer.le32(static_cast<std::uint32_t>(kListHeaderSize + list.header.size() +
                                           list.signatures.size() * signature_size));
    writer.le32(static_cast<std::uint32_t>(list.header.size()))
        .le32(static_cast<std::uint32_t>(signature_size))
        .bytes(list.header);
    for (const Signature& signature : list.signatures) {
      BOOTSEAL_CHECK(signature.data.size() == data_size);
      writer.bytes(signature.owner.windows_layout()).bytes(signature.data);
    }
  }
  return writer.take();
}

SignatureList x509_list(const Guid& owner, ByteSpan certificate_der) {
  return {
      .type = kCertX509, .header = {}, .signatures = {{.owner = owner, .data = to_bytes(certificate_der)}}};
}

SignatureList sha256_list(const Guid& owner, const std::vector<crypto::Sha256Digest>& digests) {
  SignatureList list{.type = kCertSha256, .header = {}, .signatures = {}};
  for (const crypto::Sha256Digest& digest : digests)
    list.signatures.push_back({.owner = owner, .data = to_bytes(digest.view())});
  return list;
}

std::vector<ByteSpan> certificates_of(const SignatureDatabase& database) {
  std::vector<ByteSpan> certificates;
  for (const SignatureList& list : database) {
    if (list.type != kCertX509) continue;
    for (const Signature& signature : list.signatures) certificates.emplace_back(signature.data);
  }
  return certificates;
}

bool contains_sha256(const SignatureDatabase& database, const crypto::Sha256Digest& digest) {
  return std::ranges::any_of(database, [&](const SignatureList& list) {
    return list.type == kCertSha256 && std::ranges::any_of(list.signatures, [&](const Signature& signature) {
             return std::ranges::equal(signature.data, digest.view());
           });
  });
}

std::size_t authentication_header_size(ByteSpan data) {
  // EFI_TIME, then WIN_CERTIFICATE_UEFI_GUID {u32 length, u16 revision, u16 type, GUID, PKCS#7}.
  ByteReader reader(data);
  const auto time = reader.take(kTimeSize, "time");
  const auto length = reader.le32("length");
  const auto revision = reader.le16("revision");
  const auto type = reader.le16("type");
  const auto certificate_type = reader.take(16, "certificate type");
  if (!time || !length || !revision || !type || !certificate_type) return 0;
  if (*revision != kWinCertRevision || *type != kWinCertTypeEfiGuid) return 0;
  if (!std::ranges::equal(*certificate_type, kCertTypePkcs7.windows_layout())) return 0;
  if (*length < 24 || *length > data.size() - kTimeSize) return 0;
  return kTimeSize + *length;
}

}  // namespace bootseal::uefi

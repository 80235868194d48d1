#include "state_envelope.h"

#include <fmt/format.h>

#include <optional>

#include "swtpm_cipher.h"

namespace bootseal::guest {
namespace {

constexpr std::uint8_t kVersion = 2;  // 1 is read too
constexpr std::uint8_t kLowestReader = 1;
constexpr std::uint16_t kHeadSize = 10;
constexpr std::uint16_t kFlagEncrypted = 0x1;
constexpr std::uint16_t kFlagMigrationEncrypted = 0x2;
constexpr std::uint16_t kFlagMigrationData = 0x4;

// The tags and the flag of one layer of the envelope.
struct Layer {
  std::string_view name;
  std::uint16_t plain;
  std::uint16_t encrypted;
  std::uint16_t vector;
  std::uint16_t flag_256_bits;
};
constexpr Layer kFileLayer{"state key (--key)", 1, 2, 6, 0x8};
constexpr Layer kMigrationLayer{"migration key (--migration-key)", 4, 5, 7, 0x10};
constexpr std::uint16_t kTagHmac = 3;

// The first item with this tag; nullopt when the items end without it.
Result<std::optional<ByteSpan>> find_item(ByteSpan items, std::uint16_t wanted) {
  ByteReader reader(items);
  while (!reader.at_end()) {
    BOOTSEAL_TRY(const std::uint16_t tag, reader.be16("the tag of a TPM state item"));
    BOOTSEAL_TRY(const std::uint32_t length, reader.be32("the length of a TPM state item"));
    BOOTSEAL_TRY(const ByteSpan data, reader.take(length, "the data of a TPM state item"));
    if (tag == wanted) return data;
  }
  return std::nullopt;
}

Result<ByteSpan> need_item(ByteSpan items, std::uint16_t wanted, std::string_view what) {
  BOOTSEAL_TRY(const std::optional<ByteSpan> item, find_item(items, wanted));
  if (!item) return fail(ErrorCode::corrupt, fmt::format("the TPM state blob holds no {}", what));
  return *item;
}

void put_item(ByteWriter& writer, std::uint16_t tag, ByteSpan data) {
  writer.be16(tag).be32(static_cast<std::uint32_t>(data.size())).bytes(data);
}

// The items of one layer around `content`; adds to `flags` what the layer wants.
Bytes wrap_layer(const Layer& layer, ByteSpan content, const crypto::Secret* key, std::uint16_t& flags) {
  ByteWriter items;
  if (key == nullptr) {
    put_item(items, layer.plain, content);
    return items.take();
  }
  const SwtpmCiphertext sealed = swtpm_encrypt(key->view(), content);
  put_item(items, layer.encrypted, sealed.data);
  put_item(items, kTagHmac, sealed.hmac);
  put_item(items, layer.vector, sealed.initialization_vector);
  if (key->size() == kSwtpmKey256) flags = static_cast<std::uint16_t>(flags | layer.flag_256_bits);
  return items.take();
}

tl::unexpected<Error> no_key(const Layer& layer) {
  return fail(ErrorCode::not_found,
              fmt::format("the TPM state is encrypted, and no {} is given; give the one it was "
                          "written with",
                          layer.name));
}

Result<Bytes> open_layer(const Layer& layer, ByteSpan items, const crypto::Secret* key, std::uint16_t flags) {
  if (key == nullptr) return no_key(layer);
  const std::size_t wanted = (flags & layer.flag_256_bits) != 0 ? kSwtpmKey256 : kSwtpmKey128;
  if (key->size() != wanted) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the TPM state is encrypted with a key of {} bits, the given {} has {}",
                            wanted * 8, layer.name, key->size() * 8));
  }
  BOOTSEAL_TRY(const ByteSpan hmac, need_item(items, kTagHmac, "HMAC"));
  BOOTSEAL_TRY(const ByteSpan data, need_item(items, layer.encrypted, "encrypted data"));
  BOOTSEAL_TRY(const std::optional<ByteSpan> vector, find_item(items, layer.vector));
  return swtpm_decrypt(key->view(), data, hmac, vector.value_or(ByteSpan()));
}

struct Opened {
  std::uint8_t version = 0;
  std::uint16_t flags = 0;
  ByteSpan items;
};

Result<Opened> read_head(ByteSpan envelope) {
  ByteReader reader(envelope);
  BOOTSEAL_TRY(const std::uint8_t version, reader.u8("the version of a TPM state blob"));
  BOOTSEAL_TRY(const std::uint8_t lowest_reader, reader.u8("the lowest reader version of a TPM state blob"));
  BOOTSEAL_TRY(const std::uint16_t head_size, reader.be16("the head size of a TPM state blob"));
  BOOTSEAL_TRY(const std::uint16_t flags, reader.be16("the flags of a TPM state blob"));
  BOOTSEAL_TRY(const std::uint32_t total, reader.be32("the total length of a TPM state blob"));
  if (head_size < kHeadSize || head_size > envelope.size() || total != envelope.size()) {
    return fail(ErrorCode::corrupt,
                fmt::format("a TPM state blob of {} bytes says that its head has {} bytes and the whole {}",
                            envelope.size(), head_size, total));
  }
  if (lowest_reader > kVersion) {
    return fail(ErrorCode::unsupported,
                fmt::format("the TPM state blob needs a reader of version {}, this one has version {}",
                            lowest_reader, kVersion));
  }
  BOOTSEAL_TRY_STATUS(reader.skip(head_size - kHeadSize, "the rest of the head of a TPM state blob"));
  return Opened{version, flags, reader.rest()};
}

// One layer of a blob of the first releases, which had a head and no items.
Result<Bytes> open_version1_layer(const Layer& layer, ByteSpan data, const crypto::Secret* key) {
  if (key == nullptr) return no_key(layer);
  return swtpm_decrypt_version1(key->view(), data);
}

Result<Bytes> unwrap_version1(const Opened& opened, const StateKeys& keys) {
  Bytes state = to_bytes(opened.items);
  if ((opened.flags & kFlagMigrationEncrypted) != 0) {
    BOOTSEAL_TRY(state, open_version1_layer(kMigrationLayer, state, keys.migration));
  }
  if ((opened.flags & kFlagEncrypted) != 0) {
    BOOTSEAL_TRY(state, open_version1_layer(kFileLayer, state, keys.file));
  }
  return state;
}

Result<Bytes> open_file_layer(ByteSpan items, const crypto::Secret* key, std::uint16_t flags) {
  if ((flags & kFlagEncrypted) != 0) return open_layer(kFileLayer, items, key, flags);
  BOOTSEAL_TRY(const ByteSpan state, need_item(items, kFileLayer.plain, "plain data"));
  return to_bytes(state);
}

}  // namespace

Bytes wrap_state(ByteSpan state, const StateKeys& keys) {
  std::uint16_t flags = kFlagMigrationData;
  if (keys.file != nullptr) flags |= kFlagEncrypted;
  if (keys.migration != nullptr) flags |= kFlagMigrationEncrypted;
  Bytes inner = wrap_layer(kFileLayer, state, keys.file, flags);
  Bytes outer = wrap_layer(kMigrationLayer, inner, keys.migration, flags);
  ByteWriter envelope;
  envelope.u8(kVersion).u8(kLowestReader).be16(kHeadSize).be16(flags);
  envelope.be32(static_cast<std::uint32_t>(kHeadSize + outer.size())).bytes(outer);
  crypto::wipe(inner);
  crypto::wipe(outer);
  return envelope.take();
}

Result<Bytes> unwrap_state(ByteSpan envelope, const StateKeys& keys) {
  BOOTSEAL_TRY(const Opened opened, read_head(envelope));
  if (opened.version == 1) return unwrap_version1(opened, keys);
  if ((opened.flags & kFlagMigrationEncrypted) != 0) {
    BOOTSEAL_TRY(Bytes inner, open_layer(kMigrationLayer, opened.items, keys.migration, opened.flags));
    Result<Bytes> state = open_file_layer(inner, keys.file, opened.flags);
    crypto::wipe(inner);
    return state;
  }
  BOOTSEAL_TRY(const std::optional<ByteSpan> migration, find_item(opened.items, kMigrationLayer.plain));
  return open_file_layer(migration.value_or(opened.items), keys.file, opened.flags);
}

Result<Bytes> unwrap_state_file(ByteSpan file, const crypto::Secret* key) {
  const Result<Opened> opened = read_head(file);
  if (!opened && opened.error().code != ErrorCode::corrupt) return tl::unexpected(opened.error());
  if (!opened) {  // no head: written by the first releases
    if (key != nullptr) return swtpm_decrypt_version1(key->view(), file);
    return to_bytes(file);
  }
  const bool encrypted = (opened->flags & kFlagEncrypted) != 0;
  if (key != nullptr && !encrypted) {
    return fail(ErrorCode::permission_denied,
                "the TPM state is not encrypted, and a key is given; leave the key out to take it as it is");
  }
  if (opened->version == 1) return unwrap_version1(*opened, {.file = key});
  return open_file_layer(opened->items, key, opened->flags);
}

}  // namespace bootseal::guest

#include "state_envelope.h"

#include <fmt/format.h>

#include <optional>

namespace bootseal::guest {
namespace {

constexpr std::uint8_t kVersion = 2;
constexpr std::uint8_t kLowestReader = 1;
constexpr std::uint16_t kHeadSize = 10;
constexpr std::uint16_t kFlagEncrypted = 0x1;
constexpr std::uint16_t kFlagMigrationEncrypted = 0x2;
constexpr std::uint16_t kFlagMigrationData = 0x4;

constexpr std::uint16_t kTagData = 1;
constexpr std::uint16_t kTagMigrationData = 4;
constexpr std::size_t kItemHeadSize = 6;

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

}  // namespace

Bytes wrap_state(ByteSpan state) {
  const std::size_t inner = kItemHeadSize + state.size();
  const std::size_t total = kHeadSize + kItemHeadSize + inner;
  ByteWriter envelope;
  envelope.u8(kVersion).u8(kLowestReader).be16(kHeadSize).be16(kFlagMigrationData);
  envelope.be32(static_cast<std::uint32_t>(total));
  envelope.be16(kTagMigrationData).be32(static_cast<std::uint32_t>(inner));
  envelope.be16(kTagData).be32(static_cast<std::uint32_t>(state.size())).bytes(state);
  return envelope.take();
}

Result<ByteSpan> unwrap_state(ByteSpan envelope) {
  ByteReader reader(envelope);
  BOOTSEAL_TRY_STATUS(reader.skip(1, "the version of a TPM state blob"));
  BOOTSEAL_TRY(const std::uint8_t lowest_reader, reader.u8("the lowest reader version of a TPM state blob"));
  if (lowest_reader > kVersion) {
    return fail(ErrorCode::unsupported,
                fmt::format("the TPM state blob needs a reader of version {}, this one has version {}",
                            lowest_reader, kVersion));
  }
  BOOTSEAL_TRY(const std::uint16_t head_size, reader.be16("the head size of a TPM state blob"));
  BOOTSEAL_TRY(const std::uint16_t flags, reader.be16("the flags of a TPM state blob"));
  BOOTSEAL_TRY(const std::uint32_t total, reader.be32("the total length of a TPM state blob"));
  if (head_size < kHeadSize || head_size > envelope.size() || total != envelope.size()) {
    return fail(ErrorCode::corrupt,
                fmt::format("a TPM state blob of {} bytes says that its head has {} bytes and the whole {}",
                            envelope.size(), head_size, total));
  }
  if ((flags & (kFlagEncrypted | kFlagMigrationEncrypted)) != 0) {
    return fail(ErrorCode::permission_denied,
                "the TPM state blob is encrypted with a key that is not here; send it without a file key and "
                "without a migration key");
  }
  BOOTSEAL_TRY_STATUS(reader.skip(head_size - kHeadSize, "the rest of the head of a TPM state blob"));
  ByteSpan items = reader.rest();
  BOOTSEAL_TRY(const std::optional<ByteSpan> migration, find_item(items, kTagMigrationData));
  if (migration) items = *migration;
  BOOTSEAL_TRY(const std::optional<ByteSpan> state, find_item(items, kTagData));
  if (!state) return fail(ErrorCode::corrupt, "the TPM state blob holds no plain data");
  return *state;
}

}  // namespace bootseal::guest

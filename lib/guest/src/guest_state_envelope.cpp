#include "guest_state_envelope.h"

#include <fmt/format.h>

#include <algorithm>

namespace bootseal::guest {
namespace {

constexpr std::string_view kMagic = "BSEALGST";
constexpr std::uint16_t kFormatVersion = 1;
static_assert(kEnvelopeSize == kMagic.size() + sizeof(kFormatVersion) + sizeof(BlobKind) + 1 +
                                   sizeof(std::uint32_t) + sizeof(Guid) + sizeof(Generation));

}  // namespace

Bytes put_in_envelope(const BlobEnvelope& envelope, ByteSpan payload) {
  BOOTSEAL_CHECK(payload.size() <= UINT32_MAX);
  Bytes bytes(kEnvelopeSize + payload.size());
  const MutableByteSpan target(bytes);
  std::ranges::copy(as_bytes(kMagic), target.begin());
  store_le16(target, 8, kFormatVersion);
  target[10] = static_cast<std::byte>(envelope.kind);
  store_le32(target, 12, static_cast<std::uint32_t>(payload.size()));
  std::ranges::copy(envelope.vm.guid.bytes, target.subspan(16).begin());
  store_le64(target, 32, envelope.generation.value);
  std::ranges::copy(payload, target.subspan(kEnvelopeSize).begin());
  return bytes;
}

Result<OpenedEnvelope> open_envelope(ByteSpan bytes) {
  ByteReader reader(bytes);
  BOOTSEAL_TRY(const ByteSpan magic, reader.take(kMagic.size(), "envelope magic"));
  if (as_text(magic) != kMagic)
    return fail(ErrorCode::corrupt, "it does not begin with an envelope of Bootseal");
  BOOTSEAL_TRY(const std::uint16_t version, reader.le16("envelope version"));
  if (version != kFormatVersion) {
    return fail(ErrorCode::unsupported,
                fmt::format("its envelope has format version {}, this version of Bootseal reads {}; use the "
                            "version that wrote it or a later one",
                            version, kFormatVersion));
  }
  BOOTSEAL_TRY(const std::uint8_t kind, reader.u8("envelope kind"));
  if (kind < static_cast<std::uint8_t>(BlobKind::tpm_permanent) ||
      kind > static_cast<std::uint8_t>(BlobKind::tpm12_saved_state)) {
    return fail(ErrorCode::corrupt, fmt::format("its envelope is of the unknown kind {}", kind));
  }
  BOOTSEAL_TRY(const std::uint8_t reserved, reader.u8("reserved byte of the envelope"));
  if (reserved != 0) return fail(ErrorCode::corrupt, "the reserved byte of its envelope is not zero");
  BOOTSEAL_TRY(const std::uint32_t size, reader.le32("payload size"));
  BOOTSEAL_TRY(const ByteSpan vm, reader.take(sizeof(Guid), "VM id"));
  OpenedEnvelope opened{.envelope = {.kind = static_cast<BlobKind>(kind), .vm = {}, .generation = {}},
                        .payload = {}};
  std::ranges::copy(vm, opened.envelope.vm.guid.bytes.begin());
  BOOTSEAL_TRY(opened.envelope.generation.value, reader.le64("generation"));
  if (opened.envelope.generation.value == 0)
    return fail(ErrorCode::corrupt, "its envelope has the generation 0");
  if (reader.remaining() != size) {
    return fail(ErrorCode::corrupt,
                fmt::format("its envelope names {} bytes and {} follow", size, reader.remaining()));
  }
  opened.payload = reader.rest();
  return opened;
}

}  // namespace bootseal::guest

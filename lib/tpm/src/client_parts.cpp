#include "client_parts.h"

#include <fmt/format.h>

namespace bootseal::tpm {

std::uint16_t id_of(Algorithm algorithm) {
  return static_cast<std::uint16_t>(algorithm);
}

Status at_end(const ByteReader& reader, CommandCode code) {
  if (reader.at_end()) return {};
  return fail(ErrorCode::corrupt,
              fmt::format("{}: {} bytes too many in the response", command_name(code), reader.remaining()));
}

// The part of a response parameter area that is one TPM2B and nothing else.
Result<Bytes> only_sized(const Reply& reply, std::size_t maximum, CommandCode code, std::string_view field) {
  ByteReader reader(reply.parameters);
  BOOTSEAL_TRY(const ByteSpan content, read_sized(reader, maximum, field));
  BOOTSEAL_TRY_STATUS(at_end(reader, code));
  return to_bytes(content);
}

// creationData, creationHash and creationTicket of Create and CreatePrimary.
Status skip_creation(ByteReader& reader) {
  BOOTSEAL_TRY_STATUS(read_sized(reader, kMaximumCreationData, "the creation data"));
  BOOTSEAL_TRY_STATUS(read_sized(reader, kMaximumDigest, "the creation hash"));
  BOOTSEAL_TRY_STATUS(reader.be16("the tag of the creation ticket"));
  BOOTSEAL_TRY_STATUS(reader.be32("the hierarchy of the creation ticket"));
  BOOTSEAL_TRY_STATUS(read_sized(reader, kMaximumDigest, "the creation ticket"));
  return {};
}

// inSensitive (empty authorization), inPublic, no outside info, no creation PCRs.
Bytes creation_parameters(ByteSpan data, ByteSpan public_area) {
  ByteWriter sensitive;
  write_sized(sensitive, {});
  write_sized(sensitive, data);
  ByteWriter writer;
  write_sized(writer, sensitive.view());
  write_sized(writer, public_area);
  write_sized(writer, {});
  writer.be32(0);
  return writer.take();
}

Status check_selection(PcrSelection selection) {
  if (selection.mask != 0 && selection.mask < (1U << kPcrCount)) return {};
  return fail(ErrorCode::invalid_argument, "a PCR selection names at least one PCR, all below 24");
}

}  // namespace bootseal::tpm

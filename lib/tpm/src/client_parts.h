// Pieces of commands and responses that several commands share. Included by the client's sources only.
#pragma once

#include "bootseal/tpm/client.h"

namespace bootseal::tpm {

inline constexpr std::size_t kMaximumPublic = 1024, kMaximumPrivate = 2048, kMaximumName = 66,
                             kMaximumDigest = 64, kMaximumCreationData = 1024, kMaximumAttest = 2048,
                             kMaximumSensitive = 256;

std::uint16_t id_of(Algorithm algorithm);
// corrupt when something is left.
Status at_end(const ByteReader& reader, CommandCode code);
// Response parameters that are one TPM2B and nothing else.
Result<Bytes> only_sized(const Reply& reply, std::size_t maximum, CommandCode code, std::string_view field);
// creationData, creationHash and creationTicket of Create and CreatePrimary.
Status skip_creation(ByteReader& reader);
// inSensitive (empty authorization), inPublic, no outside info, no creation PCRs.
Bytes creation_parameters(ByteSpan data, ByteSpan public_area);
// invalid_argument for an empty selection or PCRs above 23.
Status check_selection(PcrSelection selection);

}  // namespace bootseal::tpm

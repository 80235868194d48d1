// Fields that several parts of a manifest have.
#pragma once

#include "bootseal/crypto/digest.h"
#include "bootseal/json/json.h"

namespace bootseal::gallery {

// 64 hex digits; invalid_argument with the path of the field.
inline Result<crypto::Sha256Digest> read_digest(json::Reader& reader, std::string_view field) {
  BOOTSEAL_TRY(const std::string hex, reader.string(field));
  const auto digest = crypto::Sha256Digest::parse(hex);
  if (!digest) return reader.problem(field, digest.error().message);
  return *digest;
}

}  // namespace bootseal::gallery

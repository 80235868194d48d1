// TPMT_PUBLIC of a key: what parses is written back as the same bytes, and its key is one or is refused.
#include "bootseal/tpm/credential.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::tpm;
  const ByteSpan bytes = std::as_bytes(std::span(data, size));
  static_cast<void>(object_name(bytes));
  const auto area = parse_public(bytes);
  if (!area) return 0;
  BOOTSEAL_CHECK(marshal_public(*area) == to_bytes(bytes));
  static_cast<void>(check_attestation_key(*area));
  if (const auto key = key_of(*area)) BOOTSEAL_CHECK(crypto::PublicKey::from_der(key->der()).has_value());
  static_cast<void>(make_credential(bytes, Bytes(34), Bytes(16)));
  return 0;
}

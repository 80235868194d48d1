// TPMS_ATTEST and TPMT_SIGNATURE from a guest, the attestation behind the first two bytes (its size).
#include "bootseal/tpm/quote.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  using namespace bootseal::tpm;
  // The P-256 generator point: a valid key whose signature nobody makes by chance.
  static const auto key = crypto::PublicKey::from_point(
      crypto::KeyKind::ec_p256, *from_hex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
      *from_hex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"));
  BOOTSEAL_CHECK(key.has_value());
  ByteReader reader(std::as_bytes(std::span(data, size)));
  const auto attest = read_sized(reader, size, "the attestation");
  if (!attest) return 0;
  if (const auto quote = parse_quote(*attest)) {
    BOOTSEAL_CHECK(quote->nonce.size() <= 128 && quote->selections.size() <= 16);
    static_cast<void>(check_pcr_values(*quote, {{0, Bytes(32)}}));
  }
  if (const auto signature = parse_signature(reader.rest())) {
    BOOTSEAL_CHECK(marshal_signature(*signature) == to_bytes(reader.rest()));
  }
  BOOTSEAL_CHECK(!verify_quote(*attest, reader.rest(), *key, Bytes(16), {Algorithm::sha256, 1}));
  return 0;
}

// Tokens from anybody: parsed or refused; what parses keeps its parts, and nothing verifies that was not
// signed.
#include "bootseal/crypto/jws.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  static const crypto::PrivateKey key = *crypto::PrivateKey::generate(crypto::KeyKind::ec_p256);
  const auto jws = crypto::Jws::parse({reinterpret_cast<const char*>(data), size});
  if (!jws) {
    BOOTSEAL_CHECK(jws.error().code == ErrorCode::invalid_argument);
    return 0;
  }
  BOOTSEAL_CHECK(jws->signing_input.size() < size && !jws->algorithm.empty());
  using enum crypto::JwsAlgorithm;
  BOOTSEAL_CHECK(!jws->verify(key.public_key(), {es256, rs256, ps256}));
  return 0;
}

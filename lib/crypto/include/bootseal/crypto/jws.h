// Signed JSON: JWS in its compact form (RFC 7515) with the algorithms of RFC 7518 that Azure's clients and
// services use, and public keys as JWK (RFC 7517). Tokens of a site, client assertions and attestation
// tokens are all made and read here.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "bootseal/crypto/key.h"
#include "bootseal/json/json.h"

namespace bootseal::crypto {

enum class JwsAlgorithm : std::uint8_t { es256, rs256, ps256 };
std::string_view jws_name(JwsAlgorithm algorithm);  // "RS256"

inline constexpr std::size_t kMaximumJwsBytes = 16384;

// A token as it was sent: read, and not believed yet.
struct Jws {
  json::Object header;
  std::string algorithm;  // of the header
  std::string key_id;     // `kid` of the header; empty when it has none
  json::Object payload;
  std::string signing_input;
  Bytes signature;

  // Three base64url parts of at most kMaximumJwsBytes together, header and payload JSON objects, `alg` a
  // text, no `crit` (we know no extension); invalid_argument otherwise.
  static Result<Jws> parse(std::string_view compact);
  // Success only when the signature is `key`'s, by an algorithm that is in `accepted` and goes with the key;
  // permission_denied otherwise. `alg` of the header chooses among `accepted` and nothing else: "none" never
  // verifies.
  [[nodiscard]] Status verify(const PublicKey& key, std::initializer_list<JwsAlgorithm> accepted) const;
};

// header.payload.signature; `alg` is added to the header. invalid_argument when the algorithm does not go
// with the key.
Result<std::string> sign_jws(const PrivateKey& key, JwsAlgorithm algorithm, json::Object header,
                             const json::Object& payload);

// {"kty","n","e"} or {"kty","crv","x","y"}.
json::Object to_jwk(const PublicKey& key);
// RFC 7638: base64url of the SHA-256 of the key's members in their fixed form; a name for the key.
std::string jwk_thumbprint(const PublicKey& key);

}  // namespace bootseal::crypto

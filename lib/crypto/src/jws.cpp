#include "bootseal/crypto/jws.h"

#include <fmt/format.h>

#include <algorithm>

namespace bootseal::crypto {
namespace {

constexpr std::size_t kEs256Number = 32;  // bytes of r and of s, RFC 7518 3.4
constexpr json::Limits kLimits{kMaximumJwsBytes, 16};

struct Row {
  JwsAlgorithm algorithm;
  std::string_view name;
  KeyKind kind;
  SignatureScheme scheme;
};
constexpr Row kRows[] = {
    {JwsAlgorithm::es256, "ES256", KeyKind::ec_p256, SignatureScheme::ecdsa},
    {JwsAlgorithm::rs256, "RS256", KeyKind::rsa, SignatureScheme::rsa_pkcs1},
    {JwsAlgorithm::ps256, "PS256", KeyKind::rsa, SignatureScheme::rsa_pss},
};

const Row& row_of(JwsAlgorithm algorithm) {
  return *std::find_if(std::begin(kRows), std::end(kRows),
                       [&](const Row& row) { return row.algorithm == algorithm; });
}

Result<json::Object> object_part(std::string_view text, std::string_view name) {
  auto bytes = from_base64url(text);
  if (!bytes) return fail(ErrorCode::invalid_argument, fmt::format("the token's {} is no base64url", name));
  auto value = json::parse(as_text(*bytes), kLimits);
  if (!value) return fail(ErrorCode::invalid_argument, fmt::format("the token's {} is no JSON", name));
  if (!value->is_object())
    return fail(ErrorCode::invalid_argument, fmt::format("the token's {} is no JSON object", name));
  return std::move(value->get_object());
}

std::string text_member(const json::Object& object, std::string_view name) {
  const json::Value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

std::string_view jws_name(JwsAlgorithm algorithm) {
  return row_of(algorithm).name;
}

Result<Jws> Jws::parse(std::string_view compact) {
  if (compact.size() > kMaximumJwsBytes)
    return fail(ErrorCode::invalid_argument,
                fmt::format("a token of more than {} bytes is not accepted", kMaximumJwsBytes));
  const std::size_t first = compact.find('.');
  const std::size_t second = first == std::string_view::npos ? first : compact.find('.', first + 1);
  if (second == std::string_view::npos || compact.find('.', second + 1) != std::string_view::npos)
    return fail(ErrorCode::invalid_argument, "a token has three parts, separated by '.'");
  Jws jws;
  BOOTSEAL_TRY(jws.header, object_part(compact.substr(0, first), "header"));
  BOOTSEAL_TRY(jws.payload, object_part(compact.substr(first + 1, second - first - 1), "payload"));
  auto signature = from_base64url(compact.substr(second + 1));
  if (!signature) return fail(ErrorCode::invalid_argument, "the token's signature is no base64url");
  jws.signature = *std::move(signature);
  jws.signing_input = compact.substr(0, second);
  jws.algorithm = text_member(jws.header, "alg");
  jws.key_id = text_member(jws.header, "kid");
  if (jws.algorithm.empty()) return fail(ErrorCode::invalid_argument, "the token's header has no 'alg'");
  if (jws.header.contains("crit"))
    return fail(ErrorCode::invalid_argument, "the token's header asks for extensions ('crit')");
  return jws;
}

Status Jws::verify(const PublicKey& key, std::initializer_list<JwsAlgorithm> accepted) const {
  for (const JwsAlgorithm one : accepted) {
    const Row& row = row_of(one);
    if (row.name != algorithm || row.kind != key.kind()) continue;
    if (row.scheme != SignatureScheme::ecdsa)
      return key.verify(row.scheme, HashAlgorithm::sha256, as_bytes(signing_input), signature);
    if (signature.size() != 2 * kEs256Number)
      return fail(ErrorCode::permission_denied, "an ES256 signature has 64 bytes");
    const ByteSpan numbers(signature);
    return key.verify(row.scheme, HashAlgorithm::sha256, as_bytes(signing_input),
                      ecdsa_signature_from_numbers(numbers.first(kEs256Number), numbers.last(kEs256Number)));
  }
  return fail(ErrorCode::permission_denied,
              fmt::format("the algorithm '{}' is not accepted here with this key", algorithm.substr(0, 32)));
}

Result<std::string> sign_jws(const PrivateKey& key, JwsAlgorithm algorithm, json::Object header,
                             const json::Object& payload) {
  const Row& row = row_of(algorithm);
  header["alg"] = row.name;
  std::string token = to_base64url(as_bytes(json::serialize(header))) + "." +
                      to_base64url(as_bytes(json::serialize(payload)));
  if (row.kind != key.kind())
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} does not go with a key of kind {}", row.name, key_kind_name(key.kind())));
  BOOTSEAL_TRY(Bytes signature, key.sign(row.scheme, HashAlgorithm::sha256, as_bytes(token)));
  if (row.scheme == SignatureScheme::ecdsa) {
    BOOTSEAL_TRY(signature, ecdsa_numbers_from_signature(signature, kEs256Number));
  }
  return token + "." + to_base64url(signature);
}

json::Object to_jwk(const PublicKey& key) {
  const auto [first, second] = key.numbers();
  if (key.kind() == KeyKind::rsa)
    return {{"kty", "RSA"}, {"n", to_base64url(first)}, {"e", to_base64url(second)}};
  return {{"kty", "EC"},
          {"crv", key.kind() == KeyKind::ec_p256 ? "P-256" : "P-384"},
          {"x", to_base64url(first)},
          {"y", to_base64url(second)}};
}

std::string jwk_thumbprint(const PublicKey& key) {
  const json::Object jwk = to_jwk(key);
  json::Object sorted;  // the required members in the order of their names
  for (const char* name : {"crv", "e", "kty", "n", "x", "y"}) {
    if (const json::Value* value = jwk.if_contains(name)) sorted[name] = *value;
  }
  return to_base64url(sha256(as_bytes(json::serialize(sorted))).view());
}

}  // namespace bootseal::crypto
